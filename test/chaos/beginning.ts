import { setTimeout as sleep } from 'node:timers/promises'
import type { FailpointName } from '../../src/failpoints.ts'
import { followerCommand } from '../support/follower.ts'
import { loadTables, look } from '../support/load.ts'
import { query, script, value } from '../support/sql.ts'
import { waitUntil } from '../support/wait.ts'
import { Daemon } from './daemon.ts'
import { type Fault, faults } from './faults.ts'
import { measures } from './truth.ts'
import { type Beginning, freshDatabase, type Unfollowed, type World } from './world.ts'

/** Beside the load's tables: one whose rows come in many parts, those of the checker, and a schema that is too large for one transaction. */
const more = `
CREATE TABLE bulk (id int PRIMARY KEY, t text);
CREATE TABLE secret (id serial PRIMARY KEY, value text NOT NULL);
CREATE TABLE probe (id serial PRIMARY KEY);
CREATE SCHEMA many;
DO $$ BEGIN
  FOR i IN 1..600 LOOP EXECUTE format('CREATE DOMAIN many.d%s AS int CHECK (VALUE > %s)', i, i); END LOOP;
END $$`

/** Of `bulk`, which nobody changes. */
export const bulkRows = 20_000

/** How a follow begins: with a schema that follower makes by itself, in steps, or with one that is there. In turn. */
const ways = [
  ['--copy', 'all', '--pg-dump', 'none'],
  ['--copy', 'data'],
] as const
const jobs = ['--copy-jobs', '2', '--copy-split', '64kB']

interface Place {
  readonly name: FailpointName
  /** How often it is met at most before the follower dies there. */
  readonly most?: number
  /** Of a schema that follower makes. */
  readonly ofSchema?: true
}

/** Where the follower dies in its first starts, in the order in which it comes there. */
const places: readonly Place[] = [
  { name: 'start.captured' },
  { name: 'start.progress' },
  { name: 'start.slot' },
  { name: 'copy.schema', ofSchema: true },
  // Parts of the schema.
  { name: 'copy.step', most: 2, ofSchema: true },
  { name: 'copy.table', most: 12 },
  { name: 'copy.begun' },
  { name: 'copy.before-commit', most: 12 },
  { name: 'copy.committed', most: 12 },
  { name: 'copy.done' },
  { name: 'copy.behind' },
  { name: 'copy.caught-up' },
  // Indexes.
  { name: 'copy.step', most: 4, ofSchema: true },
]

/** No table waits any more, nor is behind the others, in the snapshot of the same look. */
const ready = `EXISTS (SELECT FROM follower.copied_table) AND NOT EXISTS (SELECT FROM follower.copied_table WHERE state <> 'copied' OR behind)`
const finished = `${ready} AND NOT EXISTS (SELECT FROM follower.copy_step)`

/** The load's look; no row while tables are still to be copied, since each of them may stand for another moment. */
export const lookOnceReady = `SELECT l.* FROM (${look}) l WHERE ${ready}`

/**
 * Tables by themselves: what is there of each that is called copied, and the place that it is said to stand for (CopiedTable). Whether it had
 * that there is for the upstream's decoder to say.
 */
export const lookAtCopied = `
SELECT NULL AS wrong, ARRAY[]::int[] AS grows, count(*) FILTER (WHERE t.state <> 'copied')::int AS waiting,
       json_agg(json_build_object('name', t.name, 'lsn', CASE WHEN t.behind THEN t.lsn ELSE p.lsn END, 'measure', n.measure))
         FILTER (WHERE t.state = 'copied') AS copied
  FROM follower.copied_table t
  JOIN follower.progress p ON p.name = t.follow
  JOIN (${measures}) n (name, measure) ON t.schema = 'public' AND n.name = t.name
HAVING count(*) > 0`

/** An upstream with data, and a load that writes before the follower's first start, and all the time. */
export const withData: Beginning = {
  async prepare({ upstream }) {
    await script(
      upstream,
      `${more}; INSERT INTO bulk SELECT i, repeat(md5(i::text), 4) FROM generate_series(1, ${bulkRows}) i`,
    )
  },
  begin,
}

/** A downstream with nothing of a follow, and with empty tables or none; then the first start. */
async function begin(world: Unfollowed): Promise<Daemon> {
  const { load, down, upstream, downstream } = world
  // What is made between this and the slot would be missing downstream.
  await load.holdSchema()
  await script(
    upstream,
    `DO $$ DECLARE it record; BEGIN
       FOR it IN SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname ~ '^(thing|copy)_' LOOP
         EXECUTE format('DROP TABLE %I CASCADE', it.relname);
       END LOOP;
       FOR it IN SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typname ~ '^mood_' LOOP
         EXECUTE format('DROP TYPE %I', it.typname);
       END LOOP; END $$`,
  )
  load.forgetSchema()
  await freshDatabase(down)
  const way = ways[(world.seed + world.beginnings++) % ways.length]!
  world.follow = { ...world.follow, args: [...world.args, ...way, ...jobs] }
  if (!makesSchema(world))
    await script(downstream, `${loadTables}; ${more}; TRUNCATE account, ledger, hot, cold, scratch, document`)
  void waitUntil(() => value(downstream, `SELECT lsn FROM follower.progress WHERE name = 'shop'`), {
    what: 'the first position',
    timeout: 240_000,
  })
    .catch(() => {})
    .then(() => load.releaseSchema())
  return new Daemon(world.follow)
}

function makesSchema({ follow }: Unfollowed): boolean {
  return follow.args?.includes('all') === true
}

/** Takes the follow away, and begins anew. */
export async function beginAnew(world: World): Promise<void> {
  const { daemon, load, upstream, downstream } = world
  await load.hold()
  await daemon.stop()
  const { code, stderr } = await followerCommand([
    ...['cleanup', '--yes', '--name', 'shop', '--upstream', upstream, '--downstream', downstream],
  ])
  if (code !== 0) throw new Error(`cleanup ended with ${code}: ${stderr}`)
  load.release()
  world.daemon = await begin(world)
}

/**
 * Kills at some failpoints, one start after the other, each maybe with another accident at the same time, for as long as
 * something is left of the copy. Resolves to what happened.
 */
export async function killsWhileCopying(
  world: World,
  met: (name: string, met: boolean) => void,
): Promise<string[]> {
  const { chance } = world
  const happened: string[] = []
  const others = faults.filter((fault) => fault.group !== 'process' && (fault.possible?.(world) ?? true))
  const possible = places.filter((place) => makesSchema(world) || !place.ofSchema)
  // Parts of the schema each time that there are some.
  const always = possible.filter((place) => place.name === 'copy.step').slice(0, 1)
  const chosen = new Set([...chance.shuffled(possible).slice(0, 3 + chance.below(3)), ...always])
  for (const place of possible.filter((it) => chosen.has(it))) {
    const other: Fault | undefined = chance.below(2) === 0 ? chance.one(others) : undefined
    const [killed] = await Promise.all([
      killAt(world, place, met),
      other && sleep(chance.below(800)).then(() => other.strike(world)),
    ])
    happened.push(killed, ...(other ? [`${other.kind} while copying`] : []))
    if (await isFinished(world)) break
  }
  return happened
}

async function killAt(
  world: World,
  { name, most = 1 }: Place,
  tell: (name: string, met: boolean) => void,
): Promise<string> {
  const { daemon, downstream } = world
  const before = daemon.followers.length
  const first = daemon.ended()
  daemon.arm(name, 'kill9', 1 + world.chance.below(most))
  await first
  let over = false
  let given = false
  const ended = daemon.ended().then(() => {
    over = true
  })
  const giveUp = Date.now() + 20_000
  while (!over) {
    await Promise.race([ended, sleep(200)])
    // All may be copied before it comes to that.
    if (!over && (Date.now() > giveUp || (await isFinished(world)))) {
      given = true
      daemon.current.child.kill('SIGKILL')
      await ended
    }
  }
  const met = daemon.followers.slice(before).some((it) => it.output.includes(`failpoint ${name} kill9`))
  // Where there was nothing left to do it could not be met; where another accident ended it, neither.
  if (met || (given && Date.now() > giveUp)) tell(name, met)
  if (!met) return 'SIGKILL while copying'
  if (name !== 'copy.step') return `kill at ${name}`
  // What it died at is still to be made.
  const wave = 'SELECT (SELECT wave FROM follower.copy_step ORDER BY number LIMIT 1)'
  return `kill at ${name} (${(await value(downstream, wave).catch(() => null)) ?? 'unknown'})`
}

async function isFinished({ downstream }: World): Promise<boolean> {
  return (await value(downstream, `SELECT ${finished}`).catch(() => 'f')) === 't'
}

/** Waits until nothing is left of the copy. Says what is, at either end. */
export async function leftOver(world: World): Promise<string[]> {
  const { upstream, downstream } = world
  await waitUntil(() => isFinished(world), { what: 'the end of the copy', timeout: 120_000 }).catch(() => {})
  const left = await query(
    downstream,
    `SELECT name, state, behind::text FROM follower.copied_table WHERE state <> 'copied' OR behind
     UNION ALL SELECT label, wave, NULL FROM follower.copy_step`,
  )
  const slots = await query(
    upstream,
    `SELECT slot_name FROM pg_replication_slots WHERE slot_name NOT IN ('shop', 'judge')`,
  )
  return [...left, ...slots].map((row) => `left of the copy: ${JSON.stringify(row)}`)
}

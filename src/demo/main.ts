import { mkdtempSync, rmSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { temporaryRoot } from './binaries.ts'
import { type Cluster, exitOnSignals, startCluster } from './cluster.ts'
import { compare } from './compare.ts'
import { Daemon } from './daemon.ts'
import { formatDifference } from './difference.ts'
import { Ends } from './ends.ts'
import { bankRows, bankSchema, Load, rowsBefore, schemaChanges, sumsAgree } from './load.ts'
import { bytes, count, done, failed, note, say, show } from './screen.ts'

/**
 * `npm run demo`: two throw-away servers, one of them with a database that is in use, a follower that copies it, work and schema changes
 * that go on, the follower killed in the middle, and the proof that the other has the same. Exits 0 only where both ends are equal.
 *
 * `npm run demo -- --keep` leaves servers and follower running. FOLLOWER_DEMO_PLANT=1 changes one row downstream
 * before the comparison, which must then fail: the test of the demo itself. FOLLOWER_DEMO_SECONDS: how long it works.
 */
const keep = process.argv.includes('--keep')
const seconds = Number(process.env.FOLLOWER_DEMO_SECONDS ?? 20)
const writers = 4
/** Schema and rows; without a pg_dump, which the embedded PostgreSQL does not have. */
const args = ['--copy', 'all']

exitOnSignals()
const dir = mkdtempSync(path.join(temporaryRoot(), 'follower-demo-'))
let kept = false
process.once('exit', () => {
  if (!kept) rmSync(dir, { recursive: true, force: true })
})

try {
  process.exitCode = (await demo()) ? 0 : 1
} catch (error) {
  failed(error instanceof Error ? error.message : String(error))
  process.exitCode = 1
}
// Whatever still runs ends with the process: see the `exit` handlers.
process.exit()

async function demo(): Promise<boolean> {
  const [upstream, downstream] = await Promise.all([startCluster(), startCluster()])
  await Promise.all([upstream, downstream].map(createDatabase))
  const major = Math.trunc(upstream.version / 10000)
  const ends = await Ends.open(upstream.conninfo('bank'), downstream.conninfo('bank'))
  await ends.upstream.query(`${bankSchema}; ${bankRows}`)
  done(
    `a bank with ${count(rowsBefore)} rows and an empty database on PostgreSQL ${major}, ports ${upstream.port} and ${downstream.port}`,
  )

  const load = new Load(upstream.conninfo('bank'), writers)
  note(`upstream: ${writers} writers begin, and do not stop`)
  const daemon = new Daemon(
    upstream.conninfo('bank'),
    downstream.conninfo('bank'),
    path.join(dir, 'follower.log'),
    args,
  )
  const unlessItFails = async <T>(work: Promise<T>): Promise<T> =>
    Promise.race([work, daemon.failure, load.ended.then(() => work)])
  daemon.start()
  await unlessItFails(copy(ends, load))
  done('follower start: streaming what has changed since')

  await unlessItFails(work(ends, daemon, load))
  const until = await ends.position()
  await unlessItFails(ends.caughtUp(until))
  done(
    `${count(load.transactions)} transactions with ${count(load.rows)} rows by ${writers} writers; downstream has caught up with ${until}`,
  )

  if (process.env.FOLLOWER_DEMO_PLANT === '1')
    await ends.downstream.query('UPDATE accounts SET balance = balance + 1 WHERE id = 1')
  const equal = await prove(ends)
  await ends.close()
  if (keep) {
    leaveRunning(upstream, downstream, daemon)
    return equal
  }
  const exit = await daemon.stop('SIGTERM')
  if (exit !== 0) failed(`follower ended with ${exit} after SIGTERM, not with 0`)
  await Promise.all([upstream.destroy(), downstream.destroy()])
  return equal && exit === 0
}

async function createDatabase(cluster: Cluster): Promise<void> {
  await Ends.run(cluster.conninfo(), 'CREATE DATABASE bank')
}

/** Shows the initial copy until the stream begins. */
async function copy(ends: Ends, load: Load): Promise<void> {
  let over = false
  const streaming = ends.streaming().finally(() => {
    over = true
  })
  const rate = (rows: number, seconds: number): string => `${count(Math.round(rows / seconds))} rows a second`
  while (!over) {
    const it = await ends.copied()
    if (it && it.seconds > 0)
      show(
        `  copying: ${it.copied} of ${it.tables} tables · ${count(it.rows)} rows · ${rate(it.rows, it.seconds)} · ${count(load.transactions)} transactions meanwhile`,
      )
    await Promise.race([sleep(50), streaming])
  }
  await streaming
  const it = await ends.copied()
  if (!it || it.copied < it.tables || it.rows < rowsBefore)
    throw new Error('the copy brought not all there was')
  done(
    `follower start ${args.join(' ')}: ${it.tables} tables with ${count(it.rows)} rows copied in ${it.seconds.toFixed(1)} s (${rate(it.rows, it.seconds)})`,
  )
}

/** The load, with schema changes at their times, and the follower killed and started again in the middle. */
async function work(ends: Ends, daemon: Daemon, load: Load): Promise<void> {
  const started = Date.now()
  const share = (): number => (Date.now() - started) / 1000 / seconds
  const changes = [...schemaChanges]
  const kills = [
    { at: 0.4, act: async () => note(`SIGKILL to the follower: ${await daemon.stop('SIGKILL')}`) },
    {
      at: 0.5,
      act: async () => {
        daemon.start()
        note('follower start, again')
      },
    },
  ]
  while (share() < 1) {
    if (share() >= (changes[0]?.at ?? 2)) {
      const change = changes.shift()!
      await load.change(ends.upstream, change)
      note(`upstream: ${change.what}`)
    }
    if (share() >= (kills[0]?.at ?? 2)) await kills.shift()!.act()
    const lag = await ends.lag()
    show(
      `  ${count(load.transactions)} transactions · ${count(load.rows)} rows · downstream behind by ${bytes(lag)}`,
    )
    await Promise.race([sleep(100), load.ended])
  }
  await load.stop()
}

async function prove(ends: Ends): Promise<boolean> {
  const { differences, objects, tables, rows } = await compare(...ends.conninfos)
  for (const difference of differences.slice(0, 10)) failed(formatDifference(difference))
  const { rows: sums } = await ends.downstream.query<{ agree: boolean }>(sumsAgree)
  const agree = sums[0]?.agree === true
  if (!agree) failed('downstream, the balances are not the sum of the movements')
  // Equal because nothing was there would prove nothing.
  const empty = objects < 20 || tables < 4 || rows < rowsBefore
  if (empty) failed(`only ${objects} objects, ${tables} tables and ${rows} rows were there to compare`)
  const equal = differences.length === 0 && agree && !empty
  if (equal)
    done(
      `both ends are equal: ${count(objects)} objects of the schema, ${count(rows)} rows in ${tables} tables; no transaction was lost or came twice`,
    )
  else failed(`the ends differ in ${differences.length} places`)
  return equal
}

function leaveRunning(upstream: Cluster, downstream: Cluster, daemon: Daemon): void {
  say(`
Left running, as you asked:
  upstream     ${upstream.conninfo('bank')}
  downstream   ${downstream.conninfo('bank')}
  follower     process ${daemon.pid}, log ${path.join(dir, 'follower.log')}
To see how far it is:
  node dist/cli.js status --upstream ${upstream.conninfo('bank')} --downstream ${downstream.conninfo('bank')}
To stop and remove everything:
  kill ${daemon.pid}; sleep 2; kill -INT ${upstream.pid} ${downstream.pid}; sleep 2; rm -r ${upstream.dir} ${downstream.dir} ${dir}`)
  kept = true
  daemon.release()
  upstream.release()
  downstream.release()
}

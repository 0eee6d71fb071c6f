import { readFileSync } from 'node:fs'
import { compareDatabases } from '../support/comparator.ts'
import { activity } from '../support/kill.ts'
import { Poll, query, value } from '../support/sql.ts'
import { waitUntil } from '../support/wait.ts'
import { type Decoded, measured } from './truth.ts'
import type { World } from './world.ts'

/** One entry of the ledger: which writer's transaction, and its number. */
type Entry = readonly [writer: number, n: number]

/** Takes what was committed upstream since the last time, in the order of the commits, from PostgreSQL's own decoder. */
export async function committed(world: World): Promise<Decoded[]> {
  const rows = await query(
    world.upstream,
    `SELECT lsn, left(data, 100) AS data FROM pg_logical_slot_get_changes('judge', NULL, NULL, 'include-xids', '0')
      WHERE data LIKE 'COMMIT%' OR data ~ '^table public\\.(${measured.join('|')}): '`,
  )
  return rows.map(({ lsn, data }) => ({ lsn: lsn!, data: data! }))
}

/** Pure: the entries of the ledger among them. */
export function entriesOf(lines: readonly Decoded[]): Entry[] {
  return lines
    .filter(({ data }) => data.startsWith('table public.ledger: INSERT'))
    .map(({ data }) => {
      const found = /writer\[integer\]:(\d+) n\[integer\]:(\d+)/.exec(data)
      return [Number(found?.[1]), Number(found?.[2])]
    })
}

/** What a reader saw in one snapshot: how many entries, and the highest number of each writer. */
export interface Look {
  readonly entries: number
  readonly highest: readonly number[]
  /** Whether less may be there than before: the server was away, and was asked to flush later than at once. */
  readonly mayForget?: boolean
}

/** Reads along in the order of the commits: everything that is seen has to be a beginning of it. Pure but for its place. */
export class Order {
  private highest: number[] = []
  private waiting: Entry[] = []
  /** How many of those waiting were seen. */
  private at = 0
  /** What was there before those that wait. */
  private before: { readonly entries: number; readonly highest: readonly number[] } = {
    entries: 0,
    highest: [],
  }

  /** Entries that were seen to be there. */
  get seen(): number {
    return this.before.entries + this.at
  }

  /** Takes what was committed next. What was seen of the former ones is there for good. */
  add(entries: readonly Entry[]): void {
    this.before = { entries: this.seen, highest: [...this.highest] }
    this.waiting = [...this.waiting.slice(this.at), ...entries]
    this.at = 0
  }

  /** Takes looks in the order of time. Says what is wrong with the first that is wrong. */
  check(looks: readonly Look[]): string | undefined {
    for (const look of looks) {
      if (look.mayForget && look.entries < this.seen) this.begin()
      while (this.seen < look.entries) {
        const entry = this.waiting[this.at]
        if (!entry) return `${look.entries} entries are there, and ${this.seen} were committed`
        this.highest[entry[0]] = entry[1]
        this.at++
      }
      if (look.entries < this.seen) return `${look.entries} entries are there, after there were ${this.seen}`
      const wrong = look.highest.findIndex((n, writer) => n !== (this.highest[writer] ?? 0))
      if (wrong >= 0)
        return `of the first ${look.entries} commits the last of writer ${wrong} is ${this.highest[wrong]}, and ${look.highest[wrong]} is there`
    }
    return undefined
  }

  private begin(): void {
    this.highest = [...this.before.highest]
    this.at = 0
  }
}

/** While nobody writes: waits until everything is there, and compares all there is. Says what is wrong. */
export async function quietPoint(world: World): Promise<string[]> {
  const { upstream, downstream } = world
  await caughtUp(world, 240_000)
  const wrong: string[] = []
  const note = (what: string, ok: boolean): void => {
    if (!ok) wrong.push(what)
  }
  const ledger = `SELECT count(*) AS entries, count(DISTINCT (writer, n)) AS different, count(*) FILTER (WHERE what <> 'done') AS undone FROM ledger`
  const [up, down] = [(await query(upstream, ledger))[0]!, (await query(downstream, ledger))[0]!]
  note(`entries twice: ${JSON.stringify(down)}`, down.entries === down.different && down.undone === '0')
  note(
    `ledgers differ: ${JSON.stringify(up)}, ${JSON.stringify(down)}`,
    JSON.stringify(up) === JSON.stringify(down),
  )
  for (const difference of await compareDatabases(upstream, downstream))
    wrong.push(JSON.stringify(difference))
  // P3: the slot is not beyond the progress, the progress not beyond the upstream's WAL.
  const progress = await value(downstream, `SELECT lsn FROM follower.progress WHERE name = 'shop'`)
  const right = await value(
    upstream,
    `SELECT confirmed_flush_lsn <= $1::pg_lsn AND $1::pg_lsn <= pg_current_wal_flush_lsn() FROM pg_replication_slots WHERE slot_name = 'shop'`,
    [progress],
  )
  note(`positions: progress ${progress}`, right === 't')
  return wrong
}

/** Waits until a row that is written now is there downstream, and with it everything before. */
export async function caughtUp(world: World, timeout: number): Promise<void> {
  const id = await waitUntil(() => value(world.upstream, 'INSERT INTO probe DEFAULT VALUES RETURNING id'), {
    what: 'the upstream to take a row',
    timeout,
  })
  const poll = new Poll(world.downstream)
  await waitUntil(
    async () => {
      if (world.daemon.failures.length > 0) return true
      return (await poll.value('SELECT count(*) FROM probe WHERE id = $1', [id])) === '1'
    },
    { what: `row ${id} downstream`, timeout, interval: 20 },
  )
    .catch(async (error: Error) => {
      throw new Error(`${error.message}\n${await scene(world)}`)
    })
    .finally(() => poll.end())
}

/** What can be said of a follow that does not go on. */
async function scene({ daemon, up, upstream, down, downstream }: World): Promise<string> {
  const { current, followers } = daemon
  const parts = [
    `follower ${current.pid}, ${current.running ? 'running' : 'ended'}, the last of ${followers.length}:`,
    current.output.slice(-6000),
    ...['status', 'wchan'].map((file) => read(`/proc/${current.pid}/${file}`)),
  ]
  for (const [end, cluster, database] of [
    ['upstream', up, upstream],
    ['downstream', down, downstream],
  ] as const)
    parts.push(
      `${end}:`,
      JSON.stringify(await activity(database).catch(String), null, 1),
      read(cluster.logFile).slice(-3000),
    )
  return parts.join('\n')
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    return String(error)
  }
}

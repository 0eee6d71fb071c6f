import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import type { FailpointName } from '../../src/failpoints.ts'
import { compareDatabases } from './comparator.ts'
import { type Follower, runFollower } from './follower.ts'
import type { Load } from './load.ts'
import type { Databases } from './servers.ts'
import { query, value } from './sql.ts'
import { Patience, waitUntil } from './wait.ts'

/** What is the same for all starts of one follow. */
export interface Follow extends Pick<Databases, 'upstream' | 'downstream' | 'name'> {
  readonly args?: readonly string[]
}

/** `follower start`, armed or not. */
export function start(follow: Follow, failpoint?: string, more: readonly string[] = []): Follower {
  const { upstream, downstream, name } = follow
  return runFollower(
    [
      'start',
      '--upstream',
      upstream,
      '--downstream',
      downstream,
      '--name',
      name,
      ...(follow.args ?? []),
      ...more,
    ],
    { env: { FOLLOWER_FAILPOINT: failpoint } },
  )
}

/** Waits for the follower to kill itself at that failpoint, and for nothing else. */
export async function killed(follower: Follower, name: FailpointName, follow: Follow): Promise<void> {
  let sessions = ''
  const patience = new Patience(60_000)
  const timer = setInterval(async () => {
    if (!patience.isOver) return
    clearInterval(timer)
    for (const end of [follow.upstream, follow.downstream])
      sessions += `\n${JSON.stringify(await activity(end).catch(String), null, 1)}`
    follower.child.kill('SIGABRT')
  }, 200)
  const exit = await follower.exit
  clearInterval(timer)
  expect(exit.signal, `${name}:\n${follower.output}${sessions}`).toBe('SIGKILL')
  expect(hits(follower, name), follower.output).toBe(1)
}

/** What everybody does in a database and waits for. */
export function activity(conninfo: string) {
  return query(
    conninfo,
    `SELECT pid, application_name, backend_type, state, wait_event_type, wait_event, pg_blocking_pids(pid) AS blocked_by,
            now() - state_change AS since, left(query, 300) AS query
       FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`,
  )
}

/** How often it died at that failpoint, from the line that the failpoint writes. */
export function hits(follower: Follower, name: FailpointName, action = 'kill9'): number {
  return follower.stderr.filter((line) => line.startsWith(`failpoint ${name} ${action} hit `)).length
}

/** How many transactions the load knows to be committed and the downstream has not. */
export async function behind(follow: Follow, load: Load): Promise<number> {
  const committed = load.committed
  return committed - Number(await value(follow.downstream, 'SELECT count(*) FROM ledger'))
}

/**
 * P3 after a death: what the upstream was told lies not beyond what the downstream holds, and that not beyond the
 * upstream's own flushed WAL. Each pair is read in the order in which a healthy one could not look wrong.
 */
export async function checkPositions(follow: Follow): Promise<void> {
  const slot = await waitUntil(
    async () =>
      (
        await query(
          follow.upstream,
          'SELECT confirmed_flush_lsn AS lsn FROM pg_replication_slots WHERE slot_name = $1 AND NOT active',
          [follow.name],
        )
      )[0],
    { what: 'the slot to be free' },
  )
  const progress = await value(follow.downstream, 'SELECT lsn FROM follower.progress WHERE name = $1', [
    follow.name,
  ])
  const flushed = await value(follow.upstream, 'SELECT pg_current_wal_flush_lsn()')
  const right = await value(follow.upstream, 'SELECT $1::pg_lsn <= $2::pg_lsn AND $2::pg_lsn <= $3::pg_lsn', [
    slot.lsn,
    progress,
    flushed,
  ])
  expect(right, `slot ${slot.lsn} <= progress ${progress} <= upstream ${flushed}`).toBe('t')
}

/** One more start, which ends once the downstream has everything. */
export async function catchUp(follow: Follow): Promise<void> {
  const last = start(follow, undefined, ['--until', 'now'])
  expect(await last.exit, last.output).toMatchObject({ code: 0 })
  await checkPositions(follow)
}

/** Catches up, and compares both ends: every entry once, every balance, all the rest. */
export async function expectEqual(follow: Follow, load: Load): Promise<void> {
  await load.stop()
  await catchUp(follow)
  const [up, down] = [await ledger(follow.upstream), await ledger(follow.downstream)]
  expect(Number(up.entries)).toBeGreaterThanOrEqual(load.committed)
  expect(up.entries).toBe(up.different)
  expect(down).toEqual(up)
  expect(await compareDatabases(follow.upstream, follow.downstream)).toEqual([])
}

async function ledger(conninfo: string) {
  const rows = await query(
    conninfo,
    `SELECT count(*) AS entries, count(DISTINCT (writer, n)) AS different,
            count(*) FILTER (WHERE what <> 'done') AS undone, (SELECT sum(balance) FROM account) AS sum FROM ledger`,
  )
  return rows[0]!
}

/** Runs a follower again and again until told to stop; it may die of SIGKILL or of an end that is down. */
export class Restarter {
  /** The one that runs now. */
  current: Follower
  readonly #follow: Follow
  readonly #running: Promise<void>
  #stopped = false
  #failure: Error | undefined

  constructor(follow: Follow) {
    this.#follow = follow
    this.current = start(follow)
    this.#running = this.#run()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.current.stop()
    await this.#running
    if (this.#failure) throw this.#failure
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const { code, signal } = await this.current.exit
      // 4 and 5: an end that can't be reached is told at once by a start.
      const expected = signal === 'SIGKILL' || code === 4 || code === 5 || this.#stopped
      if (!expected) {
        this.#failure = new Error(`the follower ended with ${code ?? signal}:\n${this.current.output}`)
        return
      }
      if (this.#stopped) return
      if (code !== null) await sleep(100)
      this.current = start(this.#follow)
    }
  }
}

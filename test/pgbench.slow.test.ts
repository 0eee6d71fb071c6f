import { execFile } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { cleanUp } from './support/cleanup.ts'
import { compareDatabases } from './support/comparator.ts'
import { catchUp, Restarter, start } from './support/kill.ts'
import { random, seed } from './support/random.ts'
import { Reader } from './support/reader.ts'
import { available, type Databases, databases, type Pair, program } from './support/servers.ts'
import { client, query, value } from './support/sql.ts'

const pgbench = program('pgbench')
const seconds = Number(process.env.FOLLOWER_PGBENCH_SECONDS ?? 12)
const kills = 20

/** How many transactions there were, and the four sums that each of them keeps equal. */
const sums = `
SELECT (SELECT count(*)::int FROM pgbench_history) AS transactions,
       (SELECT coalesce(sum(delta), 0) FROM pgbench_history) AS history,
       (SELECT coalesce(sum(abalance), 0) FROM pgbench_accounts) AS accounts,
       (SELECT coalesce(sum(bbalance), 0) FROM pgbench_branches) AS branches,
       (SELECT coalesce(sum(tbalance), 0) FROM pgbench_tellers) AS tellers`

/** For the Reader. */
const look = `
SELECT CASE WHEN (accounts, branches, tellers) <> (history, history, history) THEN sums::text END AS wrong,
       ARRAY[transactions] AS grows
FROM (${sums}) sums`

const pairs: readonly Pair[] = ['15', '15-18', '18']

describe.each(pairs)('pgbench against the upstream of %s', (pair) => {
  const has = pgbench && available(pair)
  test.skipIf(!has)('arrives exactly once', { timeout: 300_000 + 10_000 * seconds }, async () => {
    const number = seed(`pgbench, ${pair}`)
    const follow = await databases(pair)
    const first = start(follow)
    await first.ready()
    // pgbench makes its tables, twice, and they come like the rest.
    const reader = new Reader(follow.downstream, look, { mayLack: true })
    await run(follow.upstream, ['--initialize'])
    // Once more, over tables that are there: they are dropped; rows come from the server instead of COPY.
    await run(follow.upstream, ['--initialize', '--init-steps=dtGvpf'])
    expect(await first.stop(), first.output).toMatchObject({ code: 0 })
    await catchUp(follow)

    const follower = new Restarter(follow)
    const bench = run(follow.upstream, ['--client=4', `--time=${seconds}`, `--random-seed=${number}`])
    const during = await killWhile(bench, follower, follow, number)
    const processed = Number(/actually processed: (\d+)/.exec(await bench)?.[1])
    const lag = await behind(follow)
    await follower.stop()
    await catchUp(follow)
    await reader.stop()

    const [up] = await query(follow.upstream, sums)
    const { transactions, history } = up!
    expect(up).toEqual({ transactions, history, accounts: history, branches: history, tellers: history })
    expect(Number(transactions)).toBe(processed)
    expect(await query(follow.downstream, sums)).toEqual([up])
    expect(await compareDatabases(follow.upstream, follow.downstream)).toEqual([])
    expect(reader.looks).toBeGreaterThan(kills)
    console.info(
      `${pair}: ${processed} transactions, ${kills} kills (${during} while pgbench ran), then ${lag} behind, ` +
        `${reader.looks} looks: equal`,
    )
  })
})

/** Its report; throws with what it says on stderr. */
async function run(conninfo: string, args: readonly string[]): Promise<string> {
  const running = promisify(execFile)(pgbench!, [...args, conninfo], { env: { LC_ALL: 'C' } })
  cleanUp(() => running.child.kill())
  return (await running).stdout
}

/**
 * Kills the follower, again and again: each time a random moment after the one that lives then has applied something,
 * or has nothing left to apply. Returns how many of the kills came while pgbench ran.
 */
async function killWhile(bench: Promise<string>, follower: Restarter, follow: Databases, number: number) {
  const chance = random(number)
  const downstream = await client(follow.downstream)
  const applied = async () => (await downstream.query('SELECT lsn FROM follower.progress')).rows[0].lsn
  let running = true
  const ended = () => {
    running = false
  }
  bench.then(ended, ended)
  let during = 0
  for (let n = 0; n < kills; n++) {
    const before = await applied()
    await follower.current.until(
      async () => (await applied()) !== before || (!running && (await behind(follow)) === 0),
      'transactions applied',
      60_000,
    )
    await sleep(chance.below((seconds * 500) / kills))
    if (running) during++
    const exit = await follower.current.kill9()
    expect(exit.signal, follower.current.output).toBe('SIGKILL')
  }
  return during
}

async function behind({ upstream, downstream }: Databases): Promise<number> {
  const count = async (end: string) => Number(await value(end, 'SELECT count(*) FROM pgbench_history'))
  return (await count(upstream)) - (await count(downstream))
}

import { expect } from 'vitest'
import { type FailpointName, failpointNames } from '../../src/failpoints.ts'
import type { Follower } from './follower.ts'
import { behind, checkPositions, expectEqual, type Follow, killed, start } from './kill.ts'
import { startLoad } from './load.ts'
import { random, seed } from './random.ts'
import { databases, type Pair } from './servers.ts'
import { query, script } from './sql.ts'

const atFirstStart: readonly FailpointName[] = ['start.captured', 'start.progress', 'start.slot']

/** Those of a copy, of pulling, and of what is applied while it arrives, have tests of their own. */
export const whileFollowing = failpointNames.filter((name) => !/^(copy|pull|arriving)\./.test(name))

/** Of which hit to die at the most; more would mean to wait for long. */
const latest: Partial<Record<FailpointName, number>> = {
  'connect.upstream': 4,
  'connect.downstream': 4,
  'stream.received': 40,
  // The second comes 10 s after the first: nobody waits for it.
  'progress.keepalive': 1,
  'ddl.before': 3,
  'ddl.replayed': 3,
  'ddl.checked': 3,
  'shutdown.draining': 1,
  'pull.copied': 1,
  'pull.window': 40,
  'pull.advance': 1,
  'pull.switch': 1,
}

/** Of a load, in ms: also a slow machine has nothing left to apply now and then. */
export const quiet = 3000

/** What became of a run. */
export interface Kills {
  readonly counts: ReadonlyMap<FailpointName, number>
  /** Share of the kills, those at first starts aside, that met a follower with committed transactions still to apply. */
  readonly behind: number
}

/**
 * Kills the follower at each of these failpoints that often, under load, starting it again each time; checks the positions
 * after each death, and in the end that both ends are equal.
 */
export async function killEverywhere(
  pair: Pair,
  times: number,
  where: readonly FailpointName[] = whileFollowing,
): Promise<Kills> {
  const number = seed(`kill at ${where.length} failpoints ${times} times, ${pair}`)
  const chance = random(number)
  const counts = new Map<FailpointName, number>()
  const count = (name: FailpointName): void => void counts.set(name, (counts.get(name) ?? 0) + 1)

  // What dies at its first start has to be new each time. Its load is not followed: rows would have to be copied.
  let follow!: Follow
  const beginning = atFirstStart.filter((name) => where.includes(name))
  for (let i = 0; i < (beginning.length > 0 ? times : 1); i++) {
    follow = { ...(await databases(pair)), args: ['--tables', 'public.*'] }
    const elsewhere = await startLoad(follow.upstream, { seed: number + i, schema: 'elsewhere', writers: 2 })
    for (const name of chance.shuffled(beginning)) {
      const it = start(follow, `${name}:kill9:1`)
      await killed(it, name, follow)
      count(name)
    }
    await elsewhere.stop()
    await script(follow.upstream, 'DROP SCHEMA elsewhere CASCADE')
  }

  const first = start(follow)
  await first.ready({ slot: follow.name })
  await first.kill9()
  const load = await startLoad(follow.upstream, { seed: number })
  const tables = start(follow, undefined, ['--until', 'now'])
  expect(await tables.exit, tables.output).toMatchObject({ code: 0 })
  const names = where.filter((name) => !atFirstStart.includes(name))
  let late = 0
  let all = 0
  for (const name of chance.shuffled(names.flatMap((name) => Array.from({ length: times }, () => name)))) {
    const n = chance.below(latest[name] ?? 8) + 1
    // The row moves by a keepalive while nothing is unapplied.
    if (name === 'progress.keepalive') load.pause = quiet
    const began = performance.now()
    const it = start(follow, `${name}:kill9:${n}`)
    await provoke(it, name, n, follow)
    await killed(it, name, follow)
    const left = await behind(follow, load)
    console.info(
      `killed at ${name}, hit ${n}: ${left} transactions behind, ${Math.round(performance.now() - began)} ms`,
    )
    await checkPositions(follow)
    count(name)
    // A follower that dies after a few commits never catches up with a load that does not care.
    load.pause = left > 200 ? 300 : 20
    all++
    if (left > 0) late++
  }
  await expectEqual(follow, load)
  return { counts, behind: late / all }
}

/** Makes happen what does not happen under load alone. */
async function provoke(it: Follower, name: FailpointName, n: number, follow: Follow): Promise<void> {
  if (name === 'shutdown.draining') {
    // Where each session begins by pulling, the slot becomes active only in the end.
    if (process.env.FOLLOWER_PULL_FROM) await it.line(/following /)
    else await it.ready({ slot: follow.name })
    it.child.kill('SIGTERM')
  }
  // Two connections to either end for each session: a third one is a second session's.
  if (name.startsWith('connect.') && n > 2) {
    await it.ready({ slot: follow.name })
    await query(
      follow.upstream,
      'SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1',
      [follow.name],
    )
  }
}

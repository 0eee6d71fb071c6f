import { expect, test } from 'vitest'
import type { FailpointName } from '../src/failpoints.ts'
import { behind, expectEqual, type Follow, hits, start } from './support/kill.ts'
import { quiet } from './support/kill-everywhere.ts'
import { type Load, startLoad } from './support/load.ts'
import { random, seed } from './support/random.ts'
import { databases } from './support/servers.ts'
import { query, value } from './support/sql.ts'

const points: readonly FailpointName[] = [
  'connect.upstream',
  'connect.downstream',
  'stream.received',
  'apply.begin',
  'apply.mid-batch',
  'apply.before-commit',
  'apply.commit-sent',
  'apply.committed',
  'progress.acknowledge',
  'progress.acknowledged',
  'progress.keepalive',
  'ddl.before',
  'ddl.replayed',
  'ddl.checked',
]

async function underLoad(
  what: string,
  each: (follow: Follow, load: Load, name: FailpointName) => Promise<void>,
  chosen: readonly FailpointName[],
): Promise<void> {
  const number = seed(what)
  const follow: Follow = await databases()
  const first = start(follow)
  await first.ready({ slot: follow.name })
  const load = await startLoad(follow.upstream, { seed: number, writers: 2, pause: 40 })
  await first.until(() => applied(follow), 'the first rows')
  await first.stop()
  for (const name of random(number).shuffled(chosen)) {
    // A follower that does not keep up never has what was committed when it was asked.
    const pause = (await behind(follow, load)) > 200 ? 300 : 40
    load.pause = name === 'progress.keepalive' ? quiet : pause
    await each(follow, load, name)
  }
  await expectEqual(follow, load)
}

/** How many transactions of the load the downstream has. */
async function applied(follow: Follow): Promise<number> {
  return Number(await value(follow.downstream, 'SELECT count(*) FROM ledger').catch(() => 0))
}

/** Failpoints of a connection are armed for the second session; a first one that fails is an error of the start. */
async function reconnect(follow: Follow): Promise<void> {
  await query(
    follow.upstream,
    'SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1',
    [follow.name],
  )
}

test(
  'a connection that is cut at any failpoint is made again by the same process',
  { timeout: 240_000 },
  () =>
    underLoad(
      'drop',
      async (follow, load, name) => {
        const connecting = name.startsWith('connect.')
        const it = start(follow, `${name}:drop:${connecting ? 3 : 1}`)
        if (connecting) {
          await it.ready({ slot: follow.name })
          await reconnect(follow)
        }
        await it.line(new RegExp(`failpoint ${name} drop`))
        const committed = load.committed
        await it.until(
          async () => (await applied(follow)) >= committed,
          `${name}: what was committed before`,
          60_000,
        )
        expect(await it.stop(), `${name}:\n${it.output}`).toEqual({ code: 0, signal: null })
      },
      points,
    ),
)

test('an internal error ends the process with exit 1, and the next one goes on', { timeout: 120_000 }, () =>
  underLoad(
    'throw',
    async (follow, _load, name) => {
      const it = start(follow, `${name}:throw:1`)
      expect(await it.exit, `${name}:\n${it.output}`).toEqual({ code: 1, signal: null })
      expect(hits(it, name, 'throw')).toBe(1)
    },
    points.filter((name) => !name.startsWith('connect.')),
  ),
)

test('a process that hangs can be killed, and the next one goes on', { timeout: 120_000 }, () =>
  underLoad(
    'hang',
    async (follow, _load, name) => {
      const it = start(follow, `${name}:hang:1`)
      await it.line(new RegExp(`failpoint ${name} hang`))
      await it.kill9()
    },
    ['stream.received', 'apply.mid-batch', 'apply.commit-sent', 'ddl.replayed', 'progress.keepalive'],
  ),
)

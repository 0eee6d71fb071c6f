import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import type { StopMode } from '../../src/demo/cluster.ts'
import { expectEqual, type Follow, Restarter, start } from './kill.ts'
import { look, startLoad } from './load.ts'
import { random, seed } from './random.ts'
import { Reader } from './reader.ts'
import { cluster, inDatabase } from './servers.ts'
import { script } from './sql.ts'

export interface Accidents {
  readonly majors: readonly [15 | 18, 15 | 18]
  /** SIGKILLs of the follower. */
  readonly kills: number
  /** Crashes of either server. */
  readonly crashes: number
}

/**
 * Under load, kills the follower and crashes the servers at random, each coming back at once. A reader downstream
 * watches; afterwards both ends are equal.
 */
export async function killAtRandom({ majors, kills, crashes }: Accidents): Promise<void> {
  const number = seed(`${kills} kills, ${crashes} crashes of either server, ${majors.join(' to ')}`)
  const chance = random(number)
  // Crashes that forget nothing need fsync.
  const settings = { fsync: 'on' }
  const [up, down] = await Promise.all(majors.map((major) => cluster({ major, settings })))
  for (const server of [up!, down!]) await script(server.conninfo(), 'CREATE DATABASE shop')
  const follow: Follow = {
    upstream: inDatabase(up!.conninfo(), 'shop'),
    downstream: inDatabase(down!.conninfo(), 'shop'),
    name: 'shop',
  }
  const first = start(follow)
  await first.ready()
  await first.stop()
  const load = await startLoad(follow.upstream, { seed: number })
  const tables = start(follow, undefined, ['--until', 'now'])
  expect(await tables.exit, tables.output).toMatchObject({ code: 0 })

  const reader = new Reader(follow.downstream, look)
  const follower = new Restarter(follow)
  const repeat = (what: string, times: number) => Array.from({ length: times }, () => what)
  const accidents = chance.shuffled([
    ...repeat('kill', kills),
    ...repeat('upstream', crashes),
    ...repeat('downstream', crashes),
  ])
  for (const accident of accidents) {
    await sleep(chance.below(1500))
    const mode: StopMode = chance.one(['immediate', 'kill'])
    if (accident === 'kill') follower.current.child.kill('SIGKILL')
    else await (accident === 'upstream' ? up! : down!).restart(mode)
  }
  await follower.stop()
  await expectEqual(follow, load)
  await reader.stop()
  expect(reader.looks).toBeGreaterThan(accidents.length)
}

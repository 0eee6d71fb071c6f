import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { FailpointName } from '../src/failpoints.ts'
import { killEverywhere } from './support/kill-everywhere.ts'
import { pulling } from './support/pull.ts'
import { available, type Pair } from './support/servers.ts'

const times = 4

/** Where pulling is different, and where what was pulled is applied. */
const where: readonly FailpointName[] = [
  ...(['pull.copied', 'pull.window', 'pull.advance', 'pull.switch'] as const),
  ...(['apply.begin', 'apply.mid-batch', 'apply.before-commit', 'apply.commit-sent'] as const),
  ...(['apply.committed', 'progress.acknowledge', 'stream.received', 'shutdown.draining'] as const),
]

const env = pulling(200)
beforeAll(() => void Object.assign(process.env, env))
afterAll(() => {
  for (const name of Object.keys(env)) delete process.env[name]
})

describe.each((['18', '15-18'] satisfies Pair[]).filter(available))(
  'a follower that is killed while it pulls, %s',
  (pair) => {
    test('loses nothing and applies nothing twice', { timeout: 900_000 }, async () => {
      const { counts } = await killEverywhere(pair, times, where)
      expect(Object.fromEntries(counts)).toEqual(Object.fromEntries(where.map((name) => [name, times])))
    })
  },
)

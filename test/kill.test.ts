import { describe, expect, test } from 'vitest'
import { killEverywhere, whileFollowing } from './support/kill-everywhere.ts'
import { available } from './support/servers.ts'

describe.skipIf(!available('18'))('a follower that is killed at every failpoint under load', () => {
  test('loses nothing and applies nothing twice', { timeout: 240_000 }, async () => {
    const { counts, behind } = await killEverywhere('18', 1)
    expect(Object.fromEntries(counts)).toEqual(Object.fromEntries(whileFollowing.map((name) => [name, 1])))
    expect(behind).toBeGreaterThan(0.7)
  })
})

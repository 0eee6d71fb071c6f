import { describe, expect, test } from 'vitest'
import { killEverywhere, whileFollowing } from './support/kill-everywhere.ts'
import { available } from './support/servers.ts'

const times = 5

describe.skipIf(!available('15-18'))('a follower that is killed at every failpoint, often', () => {
  test('loses nothing and applies nothing twice', { timeout: 900_000 }, async () => {
    const { counts, behind } = await killEverywhere('15-18', times)
    expect(Object.fromEntries(counts)).toEqual(
      Object.fromEntries(whileFollowing.map((name) => [name, times])),
    )
    expect(behind).toBeGreaterThan(0.7)
  })
})

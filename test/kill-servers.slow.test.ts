import { describe, test } from 'vitest'
import { killAtRandom } from './support/kill-servers.ts'
import { available } from './support/servers.ts'

describe('many kills of the follower and crashes of both servers', () => {
  test('from 18 to 18', { timeout: 400_000 }, () => killAtRandom({ majors: [18, 18], kills: 6, crashes: 1 }))

  test.skipIf(!available('15-18'))('from 15 to 18', { timeout: 400_000 }, () =>
    killAtRandom({ majors: [15, 18], kills: 20, crashes: 5 }),
  )
})

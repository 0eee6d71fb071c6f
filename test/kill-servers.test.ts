import { test } from 'vitest'
import { killAtRandom } from './support/kill-servers.ts'

test(
  'kills of the follower and crashes of both servers lose nothing, show nothing twice, take nothing back',
  {
    timeout: 180_000,
  },
  () => killAtRandom({ majors: [18, 18], kills: 6, crashes: 1 }),
)

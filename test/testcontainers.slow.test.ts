import { expect, test } from 'vitest'
import { engine } from './support/docker.ts'
import { runFollower } from './support/follower.ts'
import { query, statements, value } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

test.skipIf(!engine())('follows between two servers of testcontainers', { timeout: 300_000 }, async () => {
  const { postgresContainer } = await import('./support/containers.ts')
  const [upstream, downstream] = await Promise.all([postgresContainer(), postgresContainer()])
  const it = runFollower(['start'], {
    env: { FOLLOWER_UPSTREAM: upstream, FOLLOWER_DOWNSTREAM: downstream },
  })
  await it.ready({ upstream })
  await statements(upstream, [
    'CREATE TABLE t (id int PRIMARY KEY, v text)',
    "INSERT INTO t SELECT n, repeat('x', n) FROM generate_series(1, 1000) n",
    'ALTER TABLE t ADD COLUMN w int',
    'UPDATE t SET w = id',
    'CREATE TABLE done ()',
  ])
  const done = () => value(downstream, "SELECT to_regclass('done') IS NOT NULL")
  await waitUntil(async () => (await done()) === 't', { timeout: 60_000 })
  const rows = (conninfo: string) => query(conninfo, 'SELECT * FROM t ORDER BY id')
  expect(await rows(downstream)).toEqual(await rows(upstream))
  expect((await it.stop()).code).toBe(0)
})

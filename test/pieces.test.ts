import { expect, test } from 'vitest'
import { follow } from './support/follow.ts'
import { script, value } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

test('of a large batch the server has the first rows while the next are put together', async () => {
  const f = await follow({
    before: [
      'CREATE TABLE t(a int PRIMARY KEY, b int)',
      'INSERT INTO t SELECT i, i FROM generate_series(1, 10000) i',
    ],
    // Before anything is asked for that would send what is still held.
    env: { FOLLOWER_FAILPOINT: 'apply.mid-batch:hang' },
  })
  await script(f.upstream, 'DELETE FROM t WHERE a <= 3000')
  await f.follower.line(/failpoint apply.mid-batch hang/)
  const deletes = `SELECT count(*) FROM pg_locks l JOIN pg_stat_activity USING (pid)
    WHERE l.relation = 't'::regclass AND l.mode = 'RowExclusiveLock' AND l.granted`
  await waitUntil(async () => (await value(f.downstream, deletes)) === '1', {
    what: 'the DELETE of the first rows',
  })
  await f.follower.kill9()
  f.start()
  await f.settle()
  expect(await value(f.downstream, 'SELECT count(*) FROM t')).toBe('7000')
})

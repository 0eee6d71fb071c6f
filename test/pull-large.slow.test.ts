import { expect, test } from 'vitest'
import { compareDatabases } from './support/comparator.ts'
import { log } from './support/failure.ts'
import { follow } from './support/follow.ts'
import { drain, nothingLeft, pulled } from './support/pull.ts'
import { script, statements, value } from './support/sql.ts'

test('a backlog that begins with a large transaction is streamed, and one that does not is pulled', {
  timeout: 120_000,
}, async () => {
  const f = await follow({ before: ['CREATE TABLE t (id int PRIMARY KEY, a text)'] })
  await script(f.upstream, `ALTER DATABASE ${f.name} SET logical_decoding_work_mem = '64kB'`)
  const large = (from: number): string =>
    `INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(${from}, ${from + 5000}) i`
  const why = (): boolean =>
    log(f.follower).some(({ msg }) => msg === 'the backlog is streamed: it begins with a large transaction')
  await drain(f, [large(1), 'DELETE FROM t WHERE id = 1'])
  expect([why(), pulled(f.follower)]).toEqual([true, undefined])
  await nothingLeft(f)
  await drain(f, ['INSERT INTO t VALUES (-1)', large(10_000)])
  expect([why(), pulled(f.follower) !== undefined]).toEqual([false, true])
  await drain(f, [large(20_000)], ['--streaming', 'off'])
  expect([why(), pulled(f.follower) !== undefined]).toEqual([false, true])
  // Its slot is a copy, which the look has not moved.
  await statements(f.upstream, ['DELETE FROM t WHERE id = -1'])
  await drain(f, [large(30_000)])
  expect(why()).toBe(false)
  expect(await value(f.downstream, 'SELECT count(*) FROM t')).toBe('20003')
  expect(await compareDatabases(f.upstream, f.downstream)).toEqual([])
})

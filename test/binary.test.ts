import { expect, test } from 'vitest'
import { TextWanted } from '../src/apply/text-wanted.ts'
import type { FollowSettings } from '../src/model/follow.ts'
import type { TargetTable } from '../src/model/target.ts'
import { whyText } from '../src/plan/binary.ts'
import { Values } from '../src/session/values.ts'
import { follow } from './support/follow.ts'
import { query, statements } from './support/sql.ts'

const types = [
  `CREATE SCHEMA "an Other"; CREATE TYPE "an Other".mood AS ENUM ('sad', 'it''s')`,
  'CREATE DOMAIN small AS int CHECK (value < 10); CREATE DOMAIN feeling AS "an Other".mood',
  'CREATE DOMAIN numbers AS int[]',
  `CREATE TABLE t (id small PRIMARY KEY, m "an Other".mood, f feeling, n numbers, x numeric, "at" timestamptz, j jsonb, v text)`,
]

test('enums, domains and built-in types come in binary; a type that does not makes all come as text', async () => {
  const f = await follow({ before: types })
  await statements(f.upstream, [
    `INSERT INTO t VALUES (1, 'sad', 'it''s', '{1,NULL}', 1.50, '2026-01-01', '{"a": 1}', NULL), (2, NULL, NULL, NULL, 'NaN', 'infinity', 'null', '')`,
    `INSERT INTO t SELECT i, 'sad', 'sad', ARRAY[i], i, now(), to_jsonb(i), repeat('x', i * 1000) FROM generate_series(3, 9) i`,
    `UPDATE t SET v = v || '!', m = 'it''s' WHERE id % 2 = 0; DELETE FROM t WHERE id IN (3, 4); UPDATE t SET id = 0 WHERE id = 9`,
    'CREATE TABLE none ()',
    'INSERT INTO none DEFAULT VALUES',
    // Enough to be copied.
    `INSERT INTO t SELECT -i, 'sad', NULL, CASE WHEN i % 3 > 0 THEN ARRAY[i] END, i, NULL, NULL, CASE WHEN i % 2 > 0 THEN repeat('x', i % 100 * 1000) END FROM generate_series(1, 500) i`,
    'INSERT INTO none SELECT FROM generate_series(1, 200)',
  ])
  await f.settle()
  const rows = 'SELECT t::text FROM t ORDER BY id'
  expect(await query(f.downstream, rows)).toEqual(await query(f.upstream, rows))
  expect(await query(f.downstream, 'SELECT count(*) FROM none')).toEqual([{ count: '201' }])
  expect(f.follower.output).not.toContain('as text')
  expect(f.follower.output).not.toContain('rolled back')

  await statements(f.upstream, [
    'CREATE TYPE pair AS (a int, m "an Other".mood)',
    `BEGIN; INSERT INTO t VALUES (4, 'sad'); CREATE TABLE p (id int PRIMARY KEY, p pair, m "an Other".mood[]); INSERT INTO p VALUES (1, '(1,sad)', '{sad,NULL}'); COMMIT`,
    `INSERT INTO p VALUES (2, NULL, '{}'); UPDATE p SET p = '(,"it''s")' WHERE id = 1`,
  ])
  await f.settle()
  const pairs = 'SELECT p::text FROM p ORDER BY id'
  expect(await query(f.downstream, pairs)).toEqual(await query(f.upstream, pairs))
  expect(await query(f.downstream, rows)).toEqual(await query(f.upstream, rows))
  expect(f.follower.output).toMatch(/the type of public\.p\.p is not the same in binary/)
  expect(await f.stop()).toBe(0)
})

test('a column of another type downstream takes its value as text', async () => {
  const f = await follow({
    before: ['CREATE TABLE t (id int PRIMARY KEY, n int)', 'CREATE TABLE u (at timestamp PRIMARY KEY)'],
    downstreamOnly: ['ALTER TABLE t ALTER n TYPE real', 'ALTER TABLE u ALTER at TYPE text'],
  })
  await f.run('INSERT INTO t VALUES (1, -1)')
  await f.run("INSERT INTO u VALUES ('2026-01-02 03:04:05')")
  expect(await query(f.downstream, 'SELECT * FROM t, u')).toEqual([
    { id: '1', n: '-1', at: '2026-01-02 03:04:05' },
  ])
  expect(await f.stop()).toBe(0)
})

test('intervals that may be infinite are no values for an older server', () => {
  const column = { name: 'i', key: false, typeOid: 1186, typeModifier: -1 }
  const relation = { oid: 1, schema: 's', name: 't', identity: 'd', columns: [column] } as const
  const binary = { oid: 1186, name: 'pg_catalog.interval' }
  const target = { columns: new Map([['i', { binary }]]) } as unknown as TargetTable
  const why = (upstream: number, downstream: number) => whyText(relation, target, { upstream, downstream })
  expect(why(180_000, 150_000)).toContain('s.t.i')
  expect([why(170_001, 170_000), why(160_000, 150_000), why(150_000, 180_000)]).toEqual([
    undefined,
    undefined,
    undefined,
  ])
})

test('what fails is told with its key', async () => {
  const f = await follow({
    before: ['CREATE TABLE t (id int PRIMARY KEY, "key" uuid UNIQUE)'],
    args: ['--on-conflict', 'insert_exists=skip'],
    downstreamOnly: [`INSERT INTO t VALUES (258, '00000000-0000-0000-0000-000000000258')`],
  })
  await statements(f.upstream, [
    'INSERT INTO t VALUES (257, NULL)',
    'INSERT INTO t VALUES (258, NULL)',
    'INSERT INTO t VALUES (259, NULL)',
  ])
  await f.settle()
  expect(await query(f.downstream, 'SELECT id FROM t ORDER BY id')).toEqual(
    ['257', '258', '259'].map((id) => ({ id })),
  )
  expect(f.follower.output).toMatch(/"key":"\(id\)=\(258\)"/)
  expect(await f.stop()).toBe(0)
})

test('binary is asked for again once what had failed is applied, later each time', () => {
  const values = new Values({ plugin: 'pgoutput', binary: true } as FollowSettings)
  expect(values.binary).toBe(true)
  values.want(new TextWanted('', 7n), 0)
  expect(values.binary).toBe(false)
  expect(values.mayReturn(7n, 9_999)).toBe(false)
  expect(values.mayReturn(6n, 10_000)).toBe(false)
  expect(values.mayReturn(7n, 10_000)).toBe(true)
  expect([values.binary, values.mayReturn(7n, 10_001)]).toEqual([true, false])
  values.want(new TextWanted('', 9n), 20_000)
  expect(values.mayReturn(9n, 39_999)).toBe(false)
  expect(values.mayReturn(9n, 40_000)).toBe(true)
  for (let i = 0; i < 10; i++) values.want(new TextWanted('', 9n), 50_000)
  expect(values.mayReturn(9n, 649_999)).toBe(false)
  expect(values.mayReturn(9n, 650_000)).toBe(true)
  values.want(new TextWanted('', 9n), 3_000_000)
  expect(values.mayReturn(9n, 3_010_000)).toBe(true)
  values.want(new TextWanted('a type'), 3_020_000)
  expect(values.mayReturn(9n, Number.MAX_VALUE)).toBe(false)
  expect(new Values({ plugin: 'wal2json', binary: true } as FollowSettings).binary).toBe(false)
  expect(new Values({ plugin: 'pgoutput', binary: false } as FollowSettings).binary).toBe(false)
})

import { expect, test } from 'vitest'
import { compareDatabases } from './support/comparator.ts'
import { follow } from './support/follow.ts'
import { available, type Pair } from './support/servers.ts'
import { query, statements, value } from './support/sql.ts'

const slow = process.env.FOLLOWER_SLOW === '1'
const pairs = (slow ? (['18', '15-18', '18-15', '14-17', '17-14'] as Pair[]) : (['18'] as Pair[])).filter(
  available,
)

/** One table for each way in which rows travel. */
const schema = [
  "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a int, b mood); CREATE DOMAIN positive AS int CHECK (VALUE > 0)",
  'CREATE TABLE plain (id int PRIMARY KEY, t text, b bytea, n numeric, f float8, ts timestamptz, j jsonb, a int[], m mood, p positive)',
  'CREATE TABLE as_text (id int PRIMARY KEY, c regclass, d pair, moods mood[], x xml, money money)',
  'CREATE TABLE computed (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED)',
  'CREATE TABLE parted (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)',
  "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')",
  'CREATE TABLE parted_2 PARTITION OF parted DEFAULT',
  'CREATE TABLE family (id int PRIMARY KEY, parent int REFERENCES family)',
  'CREATE TABLE child (more text) INHERITS (plain)',
  'ALTER TABLE child REPLICA IDENTITY FULL',
  'CREATE TABLE "Odd ""names""" (id int PRIMARY KEY, "a b" text, "drop" int)',
  'ALTER TABLE "Odd ""names""" DROP COLUMN "drop"',
  'CREATE TABLE nothing ()',
]

const rows = [
  `INSERT INTO plain SELECT i, CASE WHEN i % 3 = 0 THEN NULL ELSE E'zeile\\t\\\\N ' || i END, decode(md5(i::text), 'hex'), i / 7.0,
     random(), now(), jsonb_build_object('i', i), ARRAY[i, NULL], 'ok', i FROM generate_series(1, 5000) i`,
  "INSERT INTO as_text SELECT i, 'plain'::regclass, ROW(i, 'sad')::pair, '{ok,NULL}'::mood[], '<a/>'::xml, i::money FROM generate_series(1, 100) i",
  'INSERT INTO computed (a) SELECT i FROM generate_series(1, 100) i',
  "INSERT INTO parted SELECT i, date '2020-06-01' + i FROM generate_series(1, 500) i",
  'INSERT INTO family VALUES (1, 2), (2, 1), (3, 3)',
  'INSERT INTO child (id, more) VALUES (1, NULL), (2, repeat(md5(random()::text), 3000))',
  `INSERT INTO "Odd ""names""" VALUES (1, E'\\\\.')`,
  'INSERT INTO nothing SELECT FROM generate_series(1, 3)',
]

test.each(pairs)('rows that are there are copied, and what changes follows, %s', async (pair) => {
  const it = await follow({
    pair,
    before: schema,
    upstreamOnly: [...rows, 'ALTER TABLE nothing REPLICA IDENTITY FULL'],
    downstreamOnly: ['ALTER TABLE nothing REPLICA IDENTITY FULL'],
    args: ['--copy', 'data', '--copy-split', '64kB', '--copy-jobs', '3'],
  })
  await it.run(
    "UPDATE plain SET t = 'later' WHERE id = 1; DELETE FROM family WHERE id = 3; INSERT INTO computed (a) VALUES (1); ALTER TABLE parted ADD c int DEFAULT 5",
  )
  expect(await compareDatabases(it.upstream, it.downstream)).toEqual([])
  const state = await query(
    it.downstream,
    "SELECT name, rows FROM follower.copied_table WHERE state = 'copied' AND name IN ('plain', 'nothing', 'settled') ORDER BY name",
  )
  expect(state).toEqual([
    { name: 'nothing', rows: '3' },
    { name: 'plain', rows: '5000' },
    { name: 'settled', rows: '0' },
  ])
  expect(it.follower.output).toMatch(/copied 10 tables, 57\d\d rows/)
  expect(await it.stop()).toBe(0)
  // A second start copies nothing.
  it.start(['--copy', 'data'])
  await it.run('DELETE FROM plain WHERE id = 2')
  expect(await value(it.downstream, 'SELECT count(*) FROM ONLY plain')).toBe('4999')
})

test('filters, column lists and roots of publications', async () => {
  const it = await follow({
    before: schema,
    upstreamOnly: [
      ...rows,
      `CREATE PUBLICATION parts FOR TABLE plain (id, t) WHERE (id <= 10), family WHERE (id > 1)`,
      'CREATE PUBLICATION roots FOR TABLE parted WHERE (id < 400) WITH (publish_via_partition_root)',
    ],
    // The root downstream is a table.
    downstreamOnly: ['DROP TABLE parted', 'CREATE TABLE parted (id int, at date, PRIMARY KEY (id, at))'],
    args: ['--copy', 'data', '--ddl', 'off', '--publication', 'parts,roots'],
  })
  await it.follower.ready()
  expect(await value(it.downstream, 'SELECT count(*) || max(id)::text || count(n) FROM ONLY plain')).toBe(
    '10100',
  )
  expect(await value(it.downstream, 'SELECT string_agg(id::text, $1) FROM family', [','])).toBe('2,3')
  expect(await value(it.downstream, 'SELECT count(*) FROM parted')).toBe('399')
  expect(await value(it.downstream, 'SELECT count(*) FROM computed')).toBe('0')
  await statements(it.upstream, ["INSERT INTO parted VALUES (0, '2030-01-01')"])
  await expect.poll(() => value(it.downstream, 'SELECT count(*) FROM parted')).toBe('400')
})

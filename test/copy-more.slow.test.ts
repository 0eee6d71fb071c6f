import { describe, expect, test } from 'vitest'
import { compareDatabases } from './support/comparator.ts'
import { type Follow, start } from './support/kill.ts'
import { available, cluster, databases, inDatabase, type Pair } from './support/servers.ts'
import { query, script, statements, value } from './support/sql.ts'
import { kinds, userTypes } from './support/types.ts'

async function once(follow: Follow, more: readonly string[] = []) {
  const it = start(follow, undefined, [...more, '--until', 'now'])
  return { exit: await it.exit, output: it.output }
}

describe.each((['18', '18-15', '15-18'] as Pair[]).filter(available))('values of every type, %s', (pair) => {
  test('arrive as the same bytes', { timeout: 60_000 }, async () => {
    const all = await databases(pair)
    const known = kinds(pair === '18' ? 18 : 15, [])
    const tables = known.map(
      ({ type }, i) => `CREATE TABLE t${i} (n int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v ${type})`,
    )
    const filled = known.flatMap(({ values }, i) => [
      ...values.map((each) => `INSERT INTO t${i} (v) VALUES (${each})`),
      `INSERT INTO t${i} (v) VALUES (NULL)`,
    ])
    await script(all.upstream, [...userTypes, ...tables, ...filled].join(';\n'))
    // Types that are made later have other OIDs.
    await script(
      all.downstream,
      [`CREATE TYPE first AS (a int)`, ...userTypes, ...tables, 'DROP TYPE first'].join(';\n'),
    )
    const { exit, output } = await once({
      ...all,
      args: ['--copy', 'data', '--copy-split', '8kB', '--no-identity', 'full'],
    })
    expect(exit, output).toMatchObject({ code: 0 })
    const text = known.map((_, i) => `SELECT '${i}' AS kind, n, v::text AS v FROM t${i}`).join(' UNION ALL ')
    const session = "SET extra_float_digits = 3; SET intervalstyle = 'postgres'; SET bytea_output = 'hex'"
    for (const end of [all.upstream, all.downstream]) await script(end, session)
    const [up, down] = await Promise.all(
      [all.upstream, all.downstream].map((end) => query(end, `${text} ORDER BY 1, 2`)),
    )
    expect(up!.length).toBeGreaterThan(200)
    expect(down).toEqual(up)
  })
})

test('without --copy: rows into empty tables, and nothing where some hold rows', async () => {
  const all = await databases('18')
  const tables = 'CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)'
  await script(all.upstream, `${tables}; INSERT INTO a VALUES (1); INSERT INTO b VALUES (1)`)
  await script(all.downstream, `${tables}; INSERT INTO b VALUES (1)`)
  const refused = await once(all)
  expect(refused.exit).toMatchObject({ code: 6 })
  expect(refused.output).toContain('FLW-120')
  await script(all.downstream, 'TRUNCATE b')
  const copied = await once(all)
  expect(copied.exit, copied.output).toMatchObject({ code: 0 })
  expect(await compareDatabases(all.upstream, all.downstream)).toEqual([])
})

test('without --copy: all into an empty database, or the pg_dump that is missing', async () => {
  const pair: Pair = available('15') ? '15' : '18'
  const all = await databases(pair)
  await script(all.upstream, 'CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)')
  const refused = await once(all, ['--pg-dump', '/nowhere/pg_dump'])
  expect(refused.exit).toMatchObject({ code: 6 })
  expect(refused.output).toMatch(/FLW-124.*needs pg_dump of PostgreSQL/)
  expect(
    await value(all.upstream, 'SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1', [all.name]),
  ).toBe('0')
  if (pair === '18') return
  const copied = await once(all)
  expect(copied.exit, copied.output).toMatchObject({ code: 0 })
  expect(await compareDatabases(all.upstream, all.downstream)).toEqual([])
})

test('a slot that the user made: all that was written since is there, once', async () => {
  const all = await databases('18')
  const table = 'CREATE TABLE a (id int PRIMARY KEY)'
  await script(all.upstream, table)
  await script(all.downstream, table)
  const slot = `${all.name}_mine`
  await query(all.upstream, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", [slot])
  await statements(all.upstream, [
    'INSERT INTO a SELECT generate_series(1, 10)',
    'DELETE FROM a WHERE id = 3',
  ])
  const { exit, output } = await once({ ...all, args: ['--slot', slot, '--copy', 'data'] })
  expect(exit, output).toMatchObject({ code: 0 })
  expect(await compareDatabases(all.upstream, all.downstream)).toEqual([])
})

test('what the copy may not read is named, and no table is called ready that is not', async () => {
  const all = await databases('18')
  const tables = 'CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY, t text)'
  await script(all.upstream, `${tables}; INSERT INTO a VALUES (1); INSERT INTO b VALUES (1, 'x'), (2, NULL)`)
  await script(all.downstream, `${tables}; ALTER TABLE b ALTER t SET NOT NULL`)
  const { exit, output } = await once({ ...all, args: ['--copy', 'data'] })
  expect(exit).toMatchObject({ code: 8 })
  expect(output).toMatch(/FLW-350.*the copy of public.b stopped downstream: null value in column/)
  expect(output).not.toContain('Failing row')
  expect(await value(all.downstream, "SELECT state FROM follower.copied_table WHERE name = 'b'")).toBe(
    'waiting',
  )
  await script(all.downstream, 'ALTER TABLE b ALTER t DROP NOT NULL')
  expect((await once(all)).exit).toMatchObject({ code: 0 })
  expect(await compareDatabases(all.upstream, all.downstream)).toEqual([])
})

test.skipIf(!available('15'))('a thousand empty tables', { timeout: 120_000 }, async () => {
  const [up, down] = await Promise.all(
    [1, 2].map(() => cluster({ major: 15, settings: { max_locks_per_transaction: '1024', fsync: 'off' } })),
  )
  for (const server of [up!, down!]) await script(server.conninfo(), 'CREATE DATABASE many')
  const upstream = inDatabase(up!.conninfo(), 'many')
  const downstream = inDatabase(down!.conninfo(), 'many')
  await script(
    upstream,
    "DO $$ BEGIN FOR i IN 1..1000 LOOP EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, t text)', i); END LOOP; END $$",
  )
  await script(upstream, 'INSERT INTO t77 VALUES (1)')
  const { exit, output } = await once({ upstream, downstream, name: 'many' })
  expect(exit, output).toMatchObject({ code: 0 })
  const count =
    "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE c.relname ~ '^t\\d+$'"
  expect(await value(downstream, count)).toBe('1000')
  expect(await value(downstream, 'SELECT id FROM t77')).toBe('1')
})

import { expect, onTestFinished, test } from 'vitest'
import { type Follow, start } from './support/kill.ts'
import { databases } from './support/servers.ts'
import { client, query, statements, value } from './support/sql.ts'

/** The planner's rows, and whether statistics of columns are there. */
const statistics = `SELECT relname, reltuples::int AS rows, EXISTS (SELECT FROM pg_stats s WHERE s.tablename = c.relname) AS columns
  FROM pg_class c WHERE relname IN ('busy', 'free') ORDER BY 1`

test('copied tables are analyzed beside the stream, and by the next start where that was killed', async () => {
  const made = await databases()
  const tables = ['busy', 'free', 'empty'].map(
    (name) => `CREATE TABLE ${name} (id int PRIMARY KEY) WITH (autovacuum_enabled = off)`,
  )
  await statements(made.downstream, tables)
  await statements(made.upstream, [
    ...tables,
    'INSERT INTO busy SELECT generate_series(1, 500); INSERT INTO free SELECT generate_series(1, 300)',
  ])
  const follow: Follow = { ...made, args: ['--copy', 'data', '--copy-jobs', '1'] }
  const other = await client(made.downstream)
  onTestFinished(() => other.end())
  // What ANALYZE waits for, and rows do not.
  await other.query('BEGIN; LOCK TABLE busy IN SHARE UPDATE EXCLUSIVE MODE')
  const first = start(follow)
  await first.ready()
  const due = () =>
    query(made.downstream, 'SELECT name, analyze_due AS due FROM follower.copied_table ORDER BY 1')
  // The largest one comes first, and then again after the others.
  await expect.poll(due).toEqual([
    { name: 'busy', due: 't' },
    { name: 'empty', due: 'f' },
    { name: 'free', due: 'f' },
  ])
  await statements(made.upstream, ['DELETE FROM busy WHERE id = 1'])
  await expect.poll(() => value(made.downstream, 'SELECT count(*) FROM busy')).toBe('499')
  first.child.kill('SIGKILL')
  await first.exit
  await other.query('ROLLBACK')
  const second = start(follow, undefined, ['--until', 'now'])
  expect(await second.exit, second.output).toMatchObject({ code: 0 })
  expect(second.output).toMatch(/gathered statistics of 1 tables/)
  expect((await due()).map(({ due }) => due)).toEqual(['f', 'f', 'f'])
  expect(await query(made.downstream, statistics)).toEqual([
    { relname: 'busy', rows: '499', columns: 't' },
    { relname: 'free', rows: '300', columns: 't' },
  ])
})

test('one that can’t be analyzed is named, and no value of its rows; the others are analyzed all the same', async () => {
  const made = await databases()
  const tables = [
    'CREATE TABLE odd (id int PRIMARY KEY, v text)',
    // Evaluated by nothing but ANALYZE.
    'CREATE STATISTICS odd_number ON (v::int), id FROM odd',
    'CREATE TABLE even (id int PRIMARY KEY)',
  ]
  await statements(made.downstream, tables)
  await statements(made.upstream, [
    ...tables,
    "INSERT INTO odd SELECT g, 'canary' FROM generate_series(1, 50) g; INSERT INTO even SELECT generate_series(1, 20)",
  ])
  const it = start({ ...made, args: ['--copy', 'data', '--until', 'now', '--copy-jobs', '1'] })
  expect(await it.exit, it.output).toMatchObject({ code: 0 })
  expect(it.output).toMatch(/ANALYZE of public\.odd downstream failed: SQLSTATE 22P02/)
  expect(it.output).toMatch(/gathered statistics of 1 tables/)
  expect(it.output).not.toMatch(/canary/)
  expect(await value(made.downstream, "SELECT reltuples FROM pg_class WHERE relname = 'even'")).toBe('20')
  expect(await value(made.downstream, 'SELECT count(*) FROM follower.copied_table WHERE analyze_due')).toBe(
    '0',
  )
})

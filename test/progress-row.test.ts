import { expect, test } from 'vitest'
import { follow } from './support/follow.ts'
import { client, query, script, statements, value } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

const table = 'CREATE TABLE t (a int PRIMARY KEY)'

test('a transaction that stays open downstream makes no commit look through those before it', async () => {
  const f = await follow({ before: [table] })
  await f.run('INSERT INTO t VALUES (1)')
  // The planner knows how small it is.
  await script(f.downstream, 'VACUUM ANALYZE follower.progress')
  const old = await client(f.downstream)
  // With a number of its own, so that nothing that was written since can be removed.
  await old.query('BEGIN; SELECT pg_current_xact_id()')
  for (let round = 1; round <= 10; round++)
    await f.run(
      `DO $$BEGIN FOR i IN 1..100 LOOP INSERT INTO t VALUES (${round * 100} + i); COMMIT; PERFORM pg_sleep(0.002); END LOOP; END$$`,
    )
  const counts = `SELECT n_tup_upd::int AS written, seq_scan::int AS scans, idx_scan::int AS by_index
    FROM pg_stat_user_tables WHERE relid = 'follower.progress'::regclass`
  const row = await waitUntil(async () => {
    const [found] = await query(f.downstream, counts)
    return Number(found?.written) > 200 && found
  })
  expect(Number(row.scans)).toBeLessThan(20)
  expect(row.by_index).toBeNull()
  await old.query('COMMIT')
  expect(await f.stop()).toBe(0)
})

test('a start finds the row of an earlier version, with a key, and goes on from it', async () => {
  const f = await follow({ before: [table] })
  await f.run('INSERT INTO t VALUES (1)')
  expect(await f.stop()).toBe(0)
  await statements(f.downstream, [
    'ALTER TABLE follower.progress ADD PRIMARY KEY (name)',
    'ALTER TABLE follower.copied_table ADD FOREIGN KEY (follow) REFERENCES follower.progress ON DELETE CASCADE',
    `COMMENT ON TABLE follower.progress IS 'another version'`,
  ])
  f.start()
  await f.run('INSERT INTO t VALUES (2)')
  expect(await f.both('SELECT a FROM t ORDER BY a')).toEqual([
    '[{"a":"1"},{"a":"2"}]',
    '[{"a":"1"},{"a":"2"}]',
  ])
  expect(await value(f.downstream, 'SELECT count(*) FROM follower.progress')).toBe('1')
  expect(
    await query(
      f.downstream,
      "SELECT conname FROM pg_constraint WHERE confrelid = 'follower.progress'::regclass",
    ),
  ).toEqual([])
  expect(await f.stop()).toBe(0)
})

test('what was noted of the copies goes with the row, also where somebody deletes that alone', async () => {
  const f = await follow({
    before: [table],
    upstreamOnly: ['INSERT INTO t VALUES (1)'],
    args: ['--copy', 'data'],
  })
  await f.settle()
  const noted = () => value(f.downstream, 'SELECT count(*) FROM follower.copied_table')
  expect(Number(await noted())).toBeGreaterThan(0)
  expect(await f.stop()).toBe(0)
  await script(f.downstream, 'DELETE FROM follower.progress; TRUNCATE t, settled')
  await query(f.upstream, 'SELECT pg_drop_replication_slot($1)', [f.name])
  f.start(['--copy', 'none'])
  await f.follower.ready({ slot: f.name })
  expect(await noted()).toBe('0')
  expect(await f.stop()).toBe(0)
})

test('a downstream whose tables are all published goes on', async () => {
  const f = await follow({
    before: [table],
    downstreamOnly: ['CREATE PUBLICATION everything FOR ALL TABLES'],
  })
  await f.run('INSERT INTO t VALUES (1)')
  expect(await value(f.downstream, 'SELECT count(*) FROM t')).toBe('1')
  expect(await f.stop()).toBe(0)
})

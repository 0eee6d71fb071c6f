import { beforeAll, describe, expect, it } from 'vitest'
import { type Following, follow } from '../support/follow.ts'
import { type Judged, judged } from '../support/judged.ts'
import { rights } from '../support/rights.ts'
import { client, query, script, statements, value } from '../support/sql.ts'

const insert = (from: number, to: number, columns = 'a, b', values = 'g, md5(g::text)'): string =>
  `INSERT INTO t(${columns}) SELECT ${values} FROM generate_series(${from}, ${to}) g`

describe.each(rights)('transactions of %s', (_, pair, least) => {
  let f: Judged
  beforeAll(async () => {
    f = await judged({ pair, least })
    // Of the walsenders, which take it at their next start, or by the signal.
    await statements(f.upstream, [`ALTER DATABASE ${f.name} SET logical_decoding_work_mem = '64kB'`])
    await f.stop()
    f.start()
    await f.follower.ready({ upstream: f.upstream, slot: f.name })
  })
  const table = async (): Promise<void> => {
    await f.everywhere('DROP TABLE IF EXISTS t; CREATE TABLE t(a int PRIMARY KEY, b text)')
    await f.run(`INSERT INTO t VALUES (1, 'foo'), (2, 'bar')`)
  }

  it('scenario 7: large transactions that overlap come whole, in the order of their commits', async () => {
    await table()
    await f.below(`ALTER TABLE t ADD c timestamptz DEFAULT now(), ADD d bigint DEFAULT 999`)
    const first = await client(f.upstream)
    await first.query(
      `BEGIN; ${insert(3, 5000)}; UPDATE t SET b = md5(b) WHERE mod(a, 2) = 0; DELETE FROM t WHERE mod(a, 3) = 0`,
    )
    await script(f.upstream, `BEGIN; ${insert(5001, 9999)}; DELETE FROM t WHERE a > 5000; COMMIT`)
    await first.query('COMMIT')
    expect(
      await f.alike(
        'SELECT count(*), count(c) AS c, count(d = 999) AS d, sum(hashtext(b)) IS NOT NULL AS b FROM t',
      ),
    ).toEqual([{ count: '3334', c: '3334', d: '3334', b: 't' }])
    expect(await f.alike('SELECT a, b FROM t ORDER BY a')).toEqual(
      await query(f.upstream, 'SELECT a, b FROM t ORDER BY a'),
    )
    await f.below(`UPDATE t SET b = 'local', d = 7`)
    await f.run(`UPDATE t SET b = md5(a::text)`)
    expect(await f.alike('SELECT count(*), count(d = 7) AS d FROM t WHERE b = md5(a::text)')).toEqual([
      { count: '3334', d: '3334' },
    ])
  })

  it('scenario 8: what was rolled back to a savepoint does not come', async () => {
    await table()
    await f.run(
      `BEGIN; ${insert(3, 500)}; SAVEPOINT s1; ${insert(501, 1000)}; SAVEPOINT s2; ${insert(1001, 1500)}; SAVEPOINT s3; ${insert(1501, 2000)};
       ROLLBACK TO s2; ${insert(2001, 2500)}; ROLLBACK TO s1; ${insert(2501, 3000)}; SAVEPOINT s4; ${insert(3001, 3500)}; SAVEPOINT s5; ${insert(3501, 4000)}; COMMIT`,
    )
    expect(await f.alike('SELECT count(*) FROM t')).toEqual([{ count: '2000' }])
    await f.run(
      `BEGIN; ${insert(4001, 4500)}; SAVEPOINT s1; ${insert(5001, 5500)}; SAVEPOINT s2; ${insert(6001, 6500)}; SAVEPOINT s3; ${insert(7001, 7500)};
       RELEASE s2; ${insert(8001, 8500)}; ROLLBACK TO s1; COMMIT`,
    )
    expect(await f.alike('SELECT count(*) FROM t')).toEqual([{ count: '2500' }])
    await f.run(
      `BEGIN; ${insert(8501, 9000)}; SAVEPOINT s1; ${insert(9001, 9500)}; SAVEPOINT s2; ${insert(9501, 10000)}; ROLLBACK`,
    )
    expect(await f.alike('SELECT count(*) FROM t')).toEqual([{ count: '2500' }])
    await f.run(
      `DO $$ BEGIN FOR i IN 1..300 LOOP BEGIN INSERT INTO t VALUES (20000 + i); IF i % 3 = 0 THEN RAISE 'no'; END IF; EXCEPTION WHEN raise_exception THEN NULL; END; END LOOP; END $$`,
    )
    expect(await f.alike('SELECT count(*) FROM t')).toEqual([{ count: '2700' }])
  })

  it('scenario 8: columns that a savepoint took back are taken back', async () => {
    await table()
    await f.below('ALTER TABLE t ADD c int, ADD d int, ADD e int')
    await f.run(
      `BEGIN; ${insert(3, 500)}; ALTER TABLE t ADD c int; SAVEPOINT s1; ${insert(501, 1000, 'a, b, c', 'g, md5(g::text), -g')};
       ALTER TABLE t ADD d int; SAVEPOINT s2; ${insert(1001, 1500, 'a, b, c, d', 'g, md5(g::text), -g, g')}; ALTER TABLE t ADD e int;
       SAVEPOINT s3; ${insert(1501, 2000, 'a, b, c, d, e', 'g, md5(g::text), -g, g, g')}; ALTER TABLE t DROP c; ROLLBACK TO s1;
       ${insert(501, 1000, 'a, b, c', 'g, md5(g::text), g')}; COMMIT`,
    )
    expect(await f.alike('SELECT count(*), count(c) AS c, count(d) AS d, min(c) FROM t')).toEqual([
      { count: '1000', c: '500', d: '0', min: '501' },
    ])
  })

  it('scenario 9, without schema changes followed: columns grow within transactions, and are there by hand', async () => {
    await table()
    await f.below('ALTER TABLE t ADD c int, ADD d int, ADD e int, ADD f int')
    await scenario9(f)
    expect(
      await f.alike('SELECT count(*), count(c) AS c, count(d) AS d, count(e) AS e, count(f) AS f FROM t'),
    ).toEqual([{ count: '5005', c: '5002', d: '4005', e: '3004', f: '5' }])
  })

  it('messages of others, empty transactions and what is rolled back change nothing and hold nothing up', async () => {
    await table()
    await statements(f.upstream, [
      `SELECT pg_logical_emit_message(false, 'other', 'now'), pg_logical_emit_message(true, 'other', 'within')`,
      `BEGIN; SELECT pg_logical_emit_message(false, 'follower.ddl', 'x'), pg_logical_emit_message(false, '', ''); INSERT INTO t VALUES (3); ROLLBACK`,
      'BEGIN; COMMIT',
      'SELECT txid_current()',
      'DELETE FROM t WHERE false; TRUNCATE settled; INSERT INTO settled VALUES (0)',
      `BEGIN; INSERT INTO t VALUES (4); SELECT pg_logical_emit_message(true, 'other', repeat('x', 100000)); INSERT INTO t VALUES (5); COMMIT`,
    ])
    expect((await f.alike('SELECT a FROM t ORDER BY a')).map((row) => row.a)).toEqual(['1', '2', '4', '5'])
  })

  // The last one: the follower that it starts ends with it.
  it('prepared transactions are applied at COMMIT PREPARED, and not at all at ROLLBACK PREPARED', async () => {
    await table()
    await statements(f.upstream, [
      `BEGIN; INSERT INTO t VALUES (10, 'p'); SAVEPOINT s; INSERT INTO t VALUES (11, 'p'); ROLLBACK TO s; UPDATE t SET b = 'p' WHERE a = 1; PREPARE TRANSACTION 'one ${f.name}'`,
      `BEGIN; INSERT INTO t VALUES (20, 'gone'); PREPARE TRANSACTION 'two ${f.name}'`,
    ])
    await f.run(`INSERT INTO t VALUES (12, 'meanwhile')`)
    expect(await f.alike('SELECT count(*) FROM t')).toEqual([{ count: '3' }])
    await f.stop()
    f.start()
    await statements(f.upstream, [`COMMIT PREPARED 'one ${f.name}'`, `ROLLBACK PREPARED 'two ${f.name}'`])
    expect(await f.alike('SELECT * FROM t ORDER BY a')).toEqual([
      { a: '1', b: 'p' },
      { a: '2', b: 'bar' },
      { a: '10', b: 'p' },
      { a: '12', b: 'meanwhile' },
    ])
    expect(
      await value(f.downstream, 'SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()'),
    ).toBe('0')
  })
})

describe.each(rights)('schema changes within transactions of %s', (_, pair, least) => {
  it('scenarios 8 and 9, followed: savepoints take columns back, and large transactions bring them', async () => {
    const f = await follow({ pair, least, before: [`CREATE TABLE t(a int PRIMARY KEY, b text)`] })
    await f.run(`INSERT INTO t VALUES (1, 'foo'), (2, 'bar')`)
    await scenario9(f)
    const [up, down] = await f.both('SELECT * FROM t ORDER BY a')
    expect(down).toBe(up)
    expect(
      await query(
        f.downstream,
        'SELECT count(*), count(c) AS c, count(d) AS d, count(e) AS e, count(f) AS f FROM t',
      ),
    ).toEqual([{ count: '5005', c: '5002', d: '4005', e: '3004', f: '5' }])
    await f.run(
      `BEGIN; ALTER TABLE t ADD x int; SAVEPOINT s; INSERT INTO t(a, x) VALUES (6000, 1); ALTER TABLE t ADD y int; INSERT INTO t(a, y) VALUES (6001, 1);
       ALTER TABLE t DROP x; ROLLBACK TO s; INSERT INTO t(a, x) VALUES (6001, 7); COMMIT`,
    )
    expect(await query(f.downstream, 'SELECT a, x FROM t WHERE x IS NOT NULL')).toEqual([
      { a: '6001', x: '7' },
    ])
    await expect(query(f.downstream, 'SELECT y FROM t')).rejects.toThrow('"y" does not exist')
  })

  it('scenario 11: rows go by the name of their time, and the schemas are equal in the end', async () => {
    const f = await follow({ pair, least })
    await f.run('CREATE SCHEMA sch1; CREATE TABLE sch1.t1(a int PRIMARY KEY)')
    await f.run(
      `BEGIN; INSERT INTO sch1.t1 VALUES (1); ALTER SCHEMA sch1 RENAME TO sch2; CREATE SCHEMA sch1; CREATE TABLE sch1.t1(a int PRIMARY KEY);
       INSERT INTO sch1.t1 VALUES (2); INSERT INTO sch2.t1 VALUES (3); COMMIT`,
    )
    const text =
      'SELECT array(SELECT a FROM sch1.t1 ORDER BY a) AS sch1, array(SELECT a FROM sch2.t1 ORDER BY a) AS sch2'
    expect(await query(f.downstream, text)).toEqual([{ sch1: '{2}', sch2: '{1,3}' }])
  })
})

/** Columns come before, within and after savepoints, small and large. */
async function scenario9(f: Following): Promise<void> {
  await f.run(
    `BEGIN; ${insert(3, 3)}; ALTER TABLE t ADD c int; SAVEPOINT s1; ${insert(4, 4, 'a, b, c', 'g, md5(g::text), -g')}; COMMIT`,
  )
  await f.run(
    `BEGIN; ${insert(5, 1000, 'a, b, c', 'g, md5(g::text), -g')}; ALTER TABLE t ADD d int; SAVEPOINT s1;
     ${insert(1001, 2000, 'a, b, c, d', 'g, md5(g::text), -g, 2 * g')}; COMMIT`,
  )
  await f.run(
    `BEGIN; ${insert(2001, 2001, 'a, b, c, d', 'g, md5(g::text), -g, 2 * g')}; ALTER TABLE t ADD e int; SAVEPOINT s1;
     ${insert(2002, 2002, 'a, b, c, d, e', 'g, md5(g::text), -g, 2 * g, -3 * g')}; COMMIT`,
  )
  expect(
    await query(f.downstream, 'SELECT count(*), count(c) AS c, count(d) AS d, count(e) AS e FROM t'),
  ).toEqual([{ count: '2002', c: '1999', d: '1002', e: '1' }])
  await f.run(
    `BEGIN; ${insert(2003, 5000, 'a, b, c, d, e', 'g, md5(g::text), -g, 2 * g, -3 * g')}; ALTER TABLE t ADD f int; COMMIT`,
  )
  await f.run(insert(5001, 5005, 'a, b, c, d, e, f', 'g, md5(g::text), -g, 2 * g, -3 * g, 4 * g'))
}

import { beforeAll, describe, expect, it } from 'vitest'
import { type Judged, judged } from '../support/judged.ts'
import { rights } from '../support/rights.ts'
import { available } from '../support/servers.ts'
import { script, value } from '../support/sql.ts'
import { waitUntil } from '../support/wait.ts'

describe.skipIf(!available('18')).each(rights)('identity of %s', (_, pair, least) => {
  let f: Judged
  beforeAll(async () => {
    f = await judged({ pair, least })
  })

  it('scenario 1: under FULL each of two equal rows changes once, and a missing row is passed over', async () => {
    await f.everywhere('CREATE TABLE tab_full(a int); ALTER TABLE tab_full REPLICA IDENTITY FULL')
    await f.run('INSERT INTO tab_full SELECT g FROM generate_series(1, 10) g, generate_series(1, 2)')
    await f.run('UPDATE tab_full SET a = a * a')
    const seen = 'SELECT count(*), min(a), max(a) FROM tab_full'
    expect(await f.alike(seen)).toEqual([{ count: '20', min: '1', max: '100' }])
    await f.below('DELETE FROM tab_full WHERE ctid = (SELECT min(ctid) FROM tab_full WHERE a = 25)')
    await f.run('UPDATE tab_full SET a = a + 1 WHERE a = 25')
    expect(await f.alike(`${seen} WHERE a IN (25, 26)`)).toEqual([{ count: '1', min: '26', max: '26' }])
    expect(f.follower.output).toContain('update_missing')
  })

  it('scenario 2: a TOASTed value that was not sent stays, also where the key changes', async () => {
    await f.everywhere('CREATE TABLE toasted(a int PRIMARY KEY, b text, c numeric)')
    await f.run(`INSERT INTO toasted VALUES (1, 'foo', 1.1), (2, 'bar', 2.2)`)
    await f.run(`UPDATE toasted SET b = repeat('xyzzy', 100000) WHERE a = 2`)
    await f.run('UPDATE toasted SET c = 3.3 WHERE a = 2')
    await f.run('UPDATE toasted SET c = 4.4, a = 3 WHERE a = 2')
    expect(await f.alike('SELECT a, length(b), c FROM toasted ORDER BY a')).toEqual([
      { a: '1', length: '3', c: '1.1' },
      { a: '3', length: '500000', c: '4.4' },
    ])
  })

  it('scenario 11: a row is found by the identity of its time', async () => {
    await f.everywhere(
      `CREATE TABLE two_keys(a int NOT NULL, b int NOT NULL); CREATE UNIQUE INDEX two_a ON two_keys(a);
       CREATE UNIQUE INDEX two_b ON two_keys(b); ALTER TABLE two_keys REPLICA IDENTITY USING INDEX two_a`,
    )
    await f.run('INSERT INTO two_keys VALUES (1, 1), (2, 2)')
    await f.everywhere('ALTER TABLE two_keys REPLICA IDENTITY USING INDEX two_b')
    await f.run('UPDATE two_keys SET a = -a WHERE a = 1; DELETE FROM two_keys WHERE a = 2')
    expect(await f.alike('SELECT * FROM two_keys')).toEqual([{ a: '-1', b: '1' }])
  })

  it('a row is found by the identity of its time, though the downstream has changed in between', async () => {
    await f.everywhere('CREATE TABLE moving(a int PRIMARY KEY, b int NOT NULL UNIQUE, c text)')
    await f.run(`INSERT INTO moving VALUES (1, 10, 'x'), (2, 20, 'y'), (3, 30, 'z')`)
    for (const identity of ['FULL', 'USING INDEX moving_b_key', 'DEFAULT']) {
      await f.everywhere(`ALTER TABLE moving REPLICA IDENTITY ${identity}`)
      await f.run(`UPDATE moving SET c = c || '${identity[0]}'; UPDATE moving SET a = a + 100 WHERE b = 10`)
    }
    await script(
      f.upstream,
      'ALTER TABLE moving REPLICA IDENTITY FULL; UPDATE moving SET c = NULL WHERE b = 30',
    )
    await f.run('ALTER TABLE moving REPLICA IDENTITY DEFAULT; DELETE FROM moving WHERE b = 20')
    expect(await f.alike('SELECT * FROM moving ORDER BY b')).toEqual([
      { a: '301', b: '10', c: 'xFUD' },
      { a: '3', b: '30', c: null },
    ])
  })

  it('keys of an index with INCLUDE, FULL beside a primary key, a table without columns, equal texts', async () => {
    await f.everywhere(
      `CREATE TABLE including(a int, b int, c text, PRIMARY KEY (a) INCLUDE (b));
       CREATE TABLE full_pk(a int PRIMARY KEY, b text); ALTER TABLE full_pk REPLICA IDENTITY FULL;
       CREATE TABLE bare(); ALTER TABLE bare REPLICA IDENTITY FULL;
       CREATE TABLE texts(t text); ALTER TABLE texts REPLICA IDENTITY FULL`,
    )
    await f.run(
      `INSERT INTO including SELECT g, g, 'x' FROM generate_series(1, 9) g; INSERT INTO full_pk VALUES (1, NULL), (2, 'b'), (3, 'c');
       INSERT INTO bare DEFAULT VALUES; INSERT INTO bare DEFAULT VALUES; INSERT INTO bare DEFAULT VALUES;
       INSERT INTO texts SELECT 'foo' FROM generate_series(1, 4); INSERT INTO texts VALUES (NULL), (NULL), ('')`,
    )
    await f.run(
      `UPDATE including SET b = -b; UPDATE including SET a = a + 100 WHERE a > 5; DELETE FROM including WHERE a < 3;
       UPDATE full_pk SET b = 'n' WHERE a = 1; UPDATE full_pk SET a = 4 WHERE a = 2; DELETE FROM full_pk WHERE a = 3;
       DELETE FROM bare WHERE ctid = (SELECT min(ctid) FROM bare);
       UPDATE texts SET t = 'bar' WHERE ctid = (SELECT min(ctid) FROM texts WHERE t = 'foo');
       DELETE FROM texts WHERE ctid = (SELECT min(ctid) FROM texts WHERE t IS NULL); UPDATE texts SET t = '0' WHERE t = ''`,
    )
    expect(await f.alike('SELECT * FROM including ORDER BY a')).toHaveLength(7)
    expect(await f.alike('SELECT * FROM full_pk ORDER BY a')).toEqual([
      { a: '1', b: 'n' },
      { a: '4', b: 'b' },
    ])
    expect(await f.alike('SELECT count(*) FROM bare')).toEqual([{ count: '2' }])
    expect(await f.alike('SELECT t, count(*) FROM texts GROUP BY 1 ORDER BY 1')).toEqual([
      { t: '0', count: '1' },
      { t: 'bar', count: '1' },
      { t: 'foo', count: '3' },
      { t: null, count: '1' },
    ])
  })

  it('under NOTHING rows come, and the upstream refuses what names no row', async () => {
    await f.everywhere(
      'CREATE TABLE nothing(a int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING',
    )
    await f.run('INSERT INTO nothing VALUES (1), (2)')
    await expect(script(f.upstream, 'UPDATE nothing SET a = 3')).rejects.toThrow('replica identity')
    await f.run('TRUNCATE nothing; INSERT INTO nothing VALUES (4)')
    expect(await f.alike('SELECT a FROM nothing')).toEqual([{ a: '4' }])
  })

  it('fast defaults under FULL: rows that are older than a column are found by its default', async () => {
    await f.everywhere('CREATE TABLE fast(a int); ALTER TABLE fast REPLICA IDENTITY FULL')
    await f.run('INSERT INTO fast VALUES (1), (2), (3)')
    await f.everywhere(
      `ALTER TABLE fast ADD b bool DEFAULT false NOT NULL, ADD c text DEFAULT 'x', ADD d int`,
    )
    await f.run(
      `INSERT INTO fast VALUES (4, true, 'y', 4); UPDATE fast SET b = true WHERE a = 2; DELETE FROM fast WHERE a = 3`,
    )
    await f.everywhere(`ALTER TABLE fast ALTER c SET DEFAULT 'z', ALTER b DROP DEFAULT`)
    await f.run(`UPDATE fast SET d = 1 WHERE a IN (1, 4)`)
    expect(await f.alike('SELECT * FROM fast ORDER BY a')).toEqual([
      { a: '1', b: 'f', c: 'x', d: '1' },
      { a: '2', b: 't', c: 'x', d: null },
      { a: '4', b: 't', c: 'y', d: '1' },
    ])
  })

  it('dropped columns do not spoil the match under FULL', async () => {
    await f.everywhere(
      `CREATE TABLE dropped(x int, a int, y text, b text); ALTER TABLE dropped DROP y; ALTER TABLE dropped REPLICA IDENTITY FULL`,
    )
    await f.run(`INSERT INTO dropped VALUES (1, 1, 'a'), (1, 1, 'a'), (2, NULL, NULL)`)
    await f.everywhere('ALTER TABLE dropped DROP x, ADD e int')
    await f.run(
      `UPDATE dropped SET a = 5 WHERE ctid = (SELECT min(ctid) FROM dropped WHERE a = 1); UPDATE dropped SET b = 'n' WHERE a IS NULL`,
    )
    await f.run('DELETE FROM dropped WHERE a = 1')
    expect(await f.alike('SELECT * FROM dropped ORDER BY a')).toEqual([
      { a: '5', b: 'a', e: null },
      { a: null, b: 'n', e: null },
    ])
  })

  it('uses an index of the downstream under FULL', async () => {
    await f.everywhere(
      'CREATE TABLE full_index(a int, b text); ALTER TABLE full_index REPLICA IDENTITY FULL; INSERT INTO full_index SELECT 1 WHERE false',
    )
    await f.below('CREATE INDEX full_index_a ON full_index(a)')
    await f.run(
      `INSERT INTO full_index SELECT g, 'x' FROM generate_series(1, 5000) g; INSERT INTO full_index VALUES (NULL, NULL)`,
    )
    await script(f.downstream, 'ANALYZE full_index')
    await f.run(
      `UPDATE full_index SET b = 'y' WHERE a % 500 = 0; UPDATE full_index SET b = 'n' WHERE a IS NULL; DELETE FROM full_index WHERE a < 3`,
    )
    expect(await f.alike('SELECT * FROM full_index ORDER BY a')).toHaveLength(4999)
    const scanned = `SELECT idx_scan > 0 FROM pg_stat_user_indexes WHERE indexrelname = 'full_index_a'`
    // Before 15 a server tells others what it has counted now and then.
    await waitUntil(async () => (await value(f.downstream, scanned)) === 't', { what: 'a scan of the index' })
  })
})

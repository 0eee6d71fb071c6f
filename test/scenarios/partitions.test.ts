import { beforeAll, describe, expect, it } from 'vitest'
import { type Judged, judged, refresh } from '../support/judged.ts'
import { firing, rights } from '../support/rights.ts'
import { query, script } from '../support/sql.ts'

describe.each(rights)('partitions of %s', (_, pair, least) => {
  let f: Judged
  beforeAll(async () => {
    f = await judged({ pair, least })
  })

  it('scenario 10: rows are routed through other partitions downstream, and move between them', async () => {
    await f.below(
      `CREATE TABLE tab1(a int PRIMARY KEY, b text, c text) PARTITION BY LIST (a);
       CREATE TABLE tab1_1(b text, c text DEFAULT 'own of 1', a int NOT NULL); ALTER TABLE tab1 ATTACH PARTITION tab1_1 FOR VALUES IN (1, 2, 3);
       CREATE TABLE tab1_2 PARTITION OF tab1 (c DEFAULT 'own of 2') FOR VALUES IN (4, 5, 6) PARTITION BY LIST (a);
       CREATE TABLE tab1_2_1(c text DEFAULT 'own of 5', b text, a int NOT NULL); ALTER TABLE tab1_2 ATTACH PARTITION tab1_2_1 FOR VALUES IN (5);
       CREATE TABLE tab1_2_2 PARTITION OF tab1_2 FOR VALUES IN (4, 6);
       CREATE TABLE tab1_def PARTITION OF tab1 (c DEFAULT 'own of the rest') DEFAULT;
       CREATE TABLE fired(n serial, what text);
       CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         INSERT INTO public.fired(what) VALUES (concat_ws(' ', tg_name, tg_when, tg_op, tg_relname, OLD.a, NEW.a)); RETURN coalesce(NEW, OLD); END $$;
       CREATE TRIGGER before BEFORE INSERT OR DELETE ON tab1_2_2 FOR EACH ROW EXECUTE FUNCTION fire();
       CREATE TRIGGER after AFTER INSERT OR UPDATE OR DELETE ON tab1_2_1 FOR EACH ROW EXECUTE FUNCTION fire();
       ALTER TABLE tab1_2_2 ENABLE ${firing(least)} TRIGGER before; ALTER TABLE tab1_2_1 ENABLE ALWAYS TRIGGER after`,
    )
    await f.upstreamOnly(
      `CREATE TABLE tab1(a int PRIMARY KEY, b text) PARTITION BY LIST (a); CREATE TABLE tab1_1(b text, a int NOT NULL);
       ALTER TABLE tab1 ATTACH PARTITION tab1_1 FOR VALUES IN (1, 2, 3);
       CREATE TABLE tab1_2 PARTITION OF tab1 FOR VALUES IN (4, 5, 6); CREATE TABLE tab1_def PARTITION OF tab1 DEFAULT`,
    )
    await f.run('INSERT INTO tab1 VALUES (1), (3), (5), (0)')
    const rows = 'SELECT tableoid::regclass::text AS leaf, a, c FROM tab1 ORDER BY a'
    expect(await f.alike(rows)).toEqual([
      { leaf: 'tab1_def', a: '0', c: 'own of the rest' },
      { leaf: 'tab1_1', a: '1', c: 'own of 1' },
      { leaf: 'tab1_1', a: '3', c: 'own of 1' },
      { leaf: 'tab1_2_1', a: '5', c: 'own of 2' },
    ])
    for (const [from, to] of [
      [1, 2],
      [5, 6],
      [6, 4],
      [4, 6],
      [0, 1],
      [1, 4],
    ])
      await f.run(`UPDATE tab1 SET a = ${to} WHERE a = ${from}`)
    expect((await f.alike(rows)).map((row) => `${row.leaf} ${row.a}`)).toEqual([
      'tab1_1 2',
      'tab1_1 3',
      'tab1_2_2 4',
      'tab1_2_2 6',
    ])
    expect((await f.alike('SELECT what FROM fired ORDER BY n')).length).toBeGreaterThan(3)

    await f.run('DELETE FROM tab1; INSERT INTO tab1 VALUES (1), (2), (5)')
    await f.below('DELETE FROM tab1 WHERE a = 2')
    await f.run(
      'UPDATE tab1 SET b = 1 WHERE a = 2; DELETE FROM tab1 WHERE a = 2; INSERT INTO tab1 VALUES (2)',
    )
    await f.run('TRUNCATE tab1_2')
    expect((await f.alike(rows)).map((row) => row.a)).toEqual(['1', '2'])
    await f.run('TRUNCATE tab1')
    expect(await f.alike(rows)).toEqual([])
  })

  it('scenario 10: a partition that is detached, changed and attached again downstream', async () => {
    await f.everywhere(
      `CREATE TABLE tab5(a int PRIMARY KEY, b int); CREATE TABLE again(a int PRIMARY KEY, b int)`,
    )
    await f.below(
      `DROP TABLE tab5; CREATE TABLE tab5(a int NOT NULL, b int) PARTITION BY LIST (a); CREATE TABLE tab5_1 PARTITION OF tab5 DEFAULT;
       CREATE UNIQUE INDEX tab5_a ON tab5(a); ALTER TABLE tab5 REPLICA IDENTITY USING INDEX tab5_a; ALTER TABLE tab5_1 REPLICA IDENTITY USING INDEX tab5_1_a_idx`,
    )
    await refresh(f.judge)
    await f.run('INSERT INTO tab5 VALUES (1, 1); UPDATE tab5 SET a = 2 WHERE a = 1')
    expect(await f.alike('SELECT a, b FROM tab5')).toEqual([{ a: '2', b: '1' }])
    await f.below(
      `ALTER TABLE tab5 DETACH PARTITION tab5_1; ALTER TABLE tab5_1 DROP COLUMN b; ALTER TABLE tab5_1 ADD COLUMN b int;
       ALTER TABLE tab5 ATTACH PARTITION tab5_1 DEFAULT`,
    )
    await f.run('UPDATE tab5 SET a = 3 WHERE a = 2')
    expect(await f.alike('SELECT a, b FROM tab5')).toEqual([{ a: '3', b: '1' }])
    await f.upstreamOnly(
      'ALTER TABLE tab5 DROP COLUMN b, ADD COLUMN c int; ALTER TABLE tab5 ADD COLUMN b int',
    )
    await f.below('ALTER TABLE tab5 ADD COLUMN c int')
    await f.run('UPDATE tab5 SET c = 1 WHERE a = 3')
    expect(await f.alike('SELECT a, b, c FROM tab5')).toEqual([{ a: '3', b: null, c: '1' }])
  })

  it('a plain table downstream of a partitioned one, and attaching and detaching while following', async () => {
    await f.everywhere(
      `CREATE TABLE p(a int PRIMARY KEY, b text) PARTITION BY RANGE (a); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
       CREATE TABLE p2(b text, a int PRIMARY KEY)`,
    )
    await f.run(`INSERT INTO p VALUES (1, 'x'), (2, 'y'); INSERT INTO p2 VALUES ('z', 12)`)
    await script(f.upstream, 'ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20)')
    await f.run(`UPDATE p SET a = 11 WHERE a = 1; UPDATE p SET b = 'n' WHERE a = 12`)
    await script(f.upstream, 'ALTER TABLE p DETACH PARTITION p2')
    await f.run('DELETE FROM p2 WHERE a = 12; INSERT INTO p VALUES (3)')
    expect(await f.alike('SELECT a, b FROM p2 ORDER BY a')).toEqual([{ a: '11', b: 'x' }])
    expect(await f.alike('SELECT a, b FROM p1 ORDER BY a')).toEqual([
      { a: '2', b: 'y' },
      { a: '3', b: null },
    ])
    await f.run('TRUNCATE p')
    expect(await f.alike('SELECT (SELECT count(*) FROM p1) AS p1, (SELECT count(*) FROM p2) AS p2')).toEqual([
      { p1: '0', p2: '1' },
    ])
  })

  it('the identity of the leaves is enough, of FULL, too', async () => {
    await f.everywhere(
      `CREATE TABLE leaves(a int NOT NULL, b text) PARTITION BY LIST (a); CREATE TABLE leaf1 PARTITION OF leaves FOR VALUES IN (1);
       CREATE TABLE leaf2 PARTITION OF leaves FOR VALUES IN (2); ALTER TABLE leaf1 REPLICA IDENTITY FULL;
       CREATE UNIQUE INDEX leaf2_a ON leaf2(a); ALTER TABLE leaf2 REPLICA IDENTITY USING INDEX leaf2_a`,
    )
    await f.run(`INSERT INTO leaves VALUES (1, 'x'), (1, 'x'), (2, 'y')`)
    await f.run(
      `UPDATE leaves SET b = 'z' WHERE ctid = (SELECT min(ctid) FROM leaf1) AND a = 1; UPDATE leaf2 SET b = 'n'`,
    )
    expect(await f.alike('SELECT * FROM leaves ORDER BY a, b')).toEqual([
      { a: '1', b: 'x' },
      { a: '1', b: 'z' },
      { a: '2', b: 'n' },
    ])
  })
})

describe.each(rights)('partitions published via their root, of %s', (_, pair, least) => {
  it('hash upstream, lists and ranges or a plain table downstream', async () => {
    const f = await judged({
      pair,
      least,
      publications: [
        `CREATE TABLE h(a int PRIMARY KEY, b text) PARTITION BY HASH (a); CREATE TABLE h0 PARTITION OF h FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE h1(b text, a int PRIMARY KEY); ALTER TABLE h ATTACH PARTITION h1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         CREATE TABLE l(a int PRIMARY KEY, b text) PARTITION BY LIST (a); CREATE TABLE l1 PARTITION OF l FOR VALUES IN (1, 2) PARTITION BY RANGE (a);
         CREATE TABLE l1_1 PARTITION OF l1 FOR VALUES FROM (1) TO (2); CREATE TABLE l1_2 PARTITION OF l1 FOR VALUES FROM (2) TO (3);
         CREATE TABLE ld PARTITION OF l DEFAULT`,
        'CREATE PUBLICATION scenarios FOR TABLE settled, h, l WITH (publish_via_partition_root)',
      ],
      below: [
        `CREATE TABLE h(b text, a int PRIMARY KEY) PARTITION BY RANGE (a); CREATE TABLE r0 PARTITION OF h FOR VALUES FROM (0) TO (50);
         CREATE TABLE r1 PARTITION OF h DEFAULT; CREATE TABLE l(a int PRIMARY KEY, b text)`,
      ],
    })
    await f.run(
      `INSERT INTO h SELECT g, 'x' FROM generate_series(0, 99) g; INSERT INTO l VALUES (1, 'a'), (2, 'b'), (3, 'c')`,
    )
    await f.run(
      `UPDATE h SET a = a + 100 WHERE a < 30; UPDATE h SET b = 'y' WHERE a % 7 = 0; DELETE FROM h WHERE a % 11 = 0`,
    )
    await f.run('UPDATE l SET a = 4 WHERE a = 1; UPDATE l SET a = 1 WHERE a = 2; DELETE FROM l WHERE a = 3')
    for (const table of ['h', 'l']) {
      const text = `SELECT a, b FROM ${table} ORDER BY a`
      expect(await f.alike(text)).toEqual(await query(f.upstream, text))
    }
    // A leaf's TRUNCATE is not published then, its rows' changes are.
    await f.run('TRUNCATE l1_1; TRUNCATE h0')
    expect(await f.alike('SELECT (SELECT count(*) FROM h) AS h, (SELECT count(*) FROM l) AS l')).toEqual([
      { h: '91', l: '2' },
    ])
    await script(
      f.upstream,
      `CREATE TABLE more(a int PRIMARY KEY, b text); INSERT INTO more VALUES (7, 'more')`,
    )
    await f.run(
      `ALTER TABLE l DETACH PARTITION ld; ALTER TABLE l ATTACH PARTITION more DEFAULT; UPDATE l SET b = 'n' WHERE a = 7; INSERT INTO l VALUES (8)`,
    )
    // 14 does not notice that the new leaf is published.
    expect(await f.alike('SELECT a, b FROM l ORDER BY a')).toHaveLength(pair.startsWith('14') ? 2 : 3)
    await f.run('TRUNCATE h, l')
    expect(await f.alike('SELECT (SELECT count(*) FROM h) AS h, (SELECT count(*) FROM l) AS l')).toEqual([
      { h: '0', l: '0' },
    ])
  })
})

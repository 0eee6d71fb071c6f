import { beforeAll, describe, expect, it } from 'vitest'
import { failure } from '../support/failure.ts'
import { follow } from '../support/follow.ts'
import { type Judged, judged } from '../support/judged.ts'
import { rights } from '../support/rights.ts'
import { query, script } from '../support/sql.ts'

describe.each(rights)('another shape downstream, of %s', (_, pair, least) => {
  let f: Judged
  beforeAll(async () => {
    f = await judged({ pair, least })
  })

  it('scenario 3: another column order, columns of its own, columns dropped at either end', async () => {
    await f.below(`CREATE TABLE mixed(d text DEFAULT 'local', c numeric, b text, a int PRIMARY KEY)`)
    await f.upstreamOnly('CREATE TABLE mixed(a int PRIMARY KEY, b text, c numeric)')
    await f.run(`INSERT INTO mixed VALUES (1, 'baz', 1.1), (2, 'bar', 2.2)`)
    await f.run('ALTER TABLE mixed DROP b; UPDATE mixed SET c = 11.11 WHERE a = 1')
    expect(await f.alike('SELECT * FROM mixed WHERE a = 1')).toEqual([
      { d: 'local', c: '11.11', b: 'baz', a: '1' },
    ])
    await f.below('ALTER TABLE mixed DROP d')
    await f.run('UPDATE mixed SET c = 22.22 WHERE a = 2')
    expect(await f.alike('SELECT * FROM mixed ORDER BY a')).toEqual([
      { c: '11.11', b: 'baz', a: '1' },
      { c: '22.22', b: 'bar', a: '2' },
    ])
  })

  it('columns of the downstream take its defaults at INSERT and keep what they have at UPDATE', async () => {
    await f.below(
      `CREATE SEQUENCE own; CREATE TABLE local(a int PRIMARY KEY, b text, n int DEFAULT nextval('own'), i int GENERATED ALWAYS AS IDENTITY,
         g text GENERATED ALWAYS AS (b || '!') STORED, u text DEFAULT upper('x') NOT NULL)`,
    )
    await f.upstreamOnly('CREATE TABLE local(a int PRIMARY KEY, b text)')
    await f.run(`INSERT INTO local VALUES (1, 'a'), (2, 'b')`)
    await f.below(`UPDATE local SET u = 'changed' WHERE a = 1`)
    await f.run(`UPDATE local SET b = 'c'; UPDATE local SET a = 3 WHERE a = 1`)
    expect(await f.alike('SELECT * FROM local ORDER BY a')).toEqual([
      { a: '2', b: 'c', n: '2', i: '2', g: 'c!', u: 'X' },
      { a: '3', b: 'c', n: '1', i: '1', g: 'c!', u: 'changed' },
    ])
  })

  it('an identity that only the downstream has the key of', async () => {
    await f.below('CREATE TABLE own_key(a int NOT NULL, b int PRIMARY KEY, c text)')
    await f.upstreamOnly(
      'CREATE TABLE own_key(a int PRIMARY KEY, b int NOT NULL, c text); ALTER TABLE own_key REPLICA IDENTITY FULL',
    )
    await f.run(`INSERT INTO own_key VALUES (1, 10, 'x'), (2, 20, 'y')`)
    await f.run(
      `UPDATE own_key SET c = 'z' WHERE a = 1; UPDATE own_key SET b = 21 WHERE a = 2; DELETE FROM own_key WHERE a = 1`,
    )
    expect(await f.alike('SELECT * FROM own_key')).toEqual([{ a: '2', b: '21', c: 'y' }])
  })

  it('other types that read the same text', async () => {
    await f.below('CREATE TABLE wider(a bigint PRIMARY KEY, b varchar, c numeric(10, 3), d text)')
    await f.upstreamOnly('CREATE TABLE wider(a int PRIMARY KEY, b text, c float4, d date)')
    await f.run(`INSERT INTO wider VALUES (1, 'x', 1.25, '2024-02-29'), (2, NULL, 0.1, NULL)`)
    await f.run('UPDATE wider SET c = c * 2 WHERE a = 1; DELETE FROM wider WHERE a = 2')
    expect(await f.alike('SELECT * FROM wider')).toEqual([{ a: '1', b: 'x', c: '2.500', d: '2024-02-29' }])
  })

  it('scenario 4: composite, enum, range, array and domain values, also as keys', async () => {
    await f.everywhere(
      `CREATE EXTENSION hstore; CREATE TYPE e AS ENUM ('a', 'b', 'c', 'd', 'e'); CREATE TYPE basic AS (a float, b varchar, c int);
       CREATE TYPE of_enum AS (a float, b e, c int); CREATE TYPE of_enums AS (a float, b e[], c int);
       CREATE TABLE one_array(a int[] PRIMARY KEY, b text[]); CREATE TABLE arrays(a int PRIMARY KEY, b int[], c float[], d varchar[], g e[]);
       CREATE TABLE one_enum(a int PRIMARY KEY, b e); CREATE TABLE enum_key(a e PRIMARY KEY, b e[]); CREATE TABLE one_composite(a int PRIMARY KEY, b basic);
       CREATE TABLE composite_key(a basic PRIMARY KEY, b basic[]); CREATE TABLE enum_composite(a int PRIMARY KEY, b of_enum);
       CREATE TABLE enums_composite(a of_enums PRIMARY KEY, b of_enums[]); CREATE TABLE ranges(a int4range PRIMARY KEY, b tstzrange, c int4range[]);
       CREATE TABLE hstores(a int PRIMARY KEY, b hstore); CREATE TABLE domains(a int PRIMARY KEY);
       CREATE FUNCTION bigger(int) RETURNS bool LANGUAGE sql STABLE AS 'SELECT coalesce($1 >= max(a), true) FROM public.domains';
       CREATE DOMAIN growing AS int CHECK (bigger(value)); ALTER TABLE domains ALTER a TYPE growing`,
    )
    await f.run(
      `INSERT INTO one_array VALUES ('{1,2,3}', '{a,b,c}'), ('{5,NULL,3}', '{"x y",NULL,"NULL"}');
       INSERT INTO arrays VALUES (1, '{1,2}', '{1.1,2.2}', '{a,"b,c"}', '{a,e}'), (2, '{{1,2},{3,4}}', '{}', NULL, '{NULL,b}');
       INSERT INTO one_enum VALUES (1, 'a'), (2, NULL); INSERT INTO enum_key VALUES ('a', '{b,c}'), ('d', NULL);
       INSERT INTO one_composite VALUES (1, '(1.1,"x ""y"" (z)",3)'), (2, '(,,)');
       INSERT INTO composite_key VALUES ('(1,a,1)', '{"(1,a,1)",NULL}'), ('(2,b,2)', '{}'); INSERT INTO enum_composite VALUES (1, '(1,a,)'), (2, NULL);
       INSERT INTO enums_composite VALUES ('(5,"{NULL,e,NULL}",5)', '{"(1,\\"{a}\\",2)"}'), ('(6,"{a}",6)', NULL);
       INSERT INTO ranges VALUES ('[1,10]', '[2024-01-01 00:00:00+00,infinity)', '{"[1,2]",empty,"(,3)"}'), ('[20,30)', NULL, '{}');
       INSERT INTO hstores VALUES (1, '"a"=>"1", "b"=>NULL'), (2, ''); INSERT INTO domains VALUES (10)`,
    )
    await f.run(
      `UPDATE one_array SET b = '{4,5,6}' WHERE a = '{1,2,3}'; UPDATE one_array SET a = '{NULL}' WHERE a = '{5,NULL,3}';
       UPDATE arrays SET b = '{NULL}', g = NULL WHERE a = 1; DELETE FROM arrays WHERE a = 2; UPDATE one_enum SET b = 'e' WHERE a = 2;
       UPDATE enum_key SET a = 'b' WHERE a = 'a'; DELETE FROM enum_key WHERE a = 'd'; UPDATE one_composite SET b.c = 7;
       UPDATE composite_key SET b = NULL WHERE a = '(1,a,1)'::basic; DELETE FROM composite_key WHERE a = '(2,b,2)'::basic;
       UPDATE enum_composite SET b.b = 'c' WHERE a = 1; UPDATE enums_composite SET b = '{NULL}' WHERE a = '(5,"{NULL,e,NULL}",5)'::of_enums;
       DELETE FROM enums_composite WHERE a = '(6,"{a}",6)'::of_enums; UPDATE ranges SET b = 'empty' WHERE a = '[1,10]';
       UPDATE ranges SET a = '[40,50]' WHERE a = '[20,30)'; UPDATE hstores SET b = b || '"c"=>"é"' WHERE a = 1; DELETE FROM hstores WHERE a = 2`,
    )
    await f.run('INSERT INTO domains VALUES (11)')
    const tables =
      'one_array arrays one_enum enum_key one_composite composite_key enum_composite enums_composite ranges hstores'
    for (const table of tables.split(' ')) {
      const text = `SELECT * FROM ${table} ORDER BY 1`
      expect(await f.alike(text)).toEqual(await query(f.upstream, text))
    }
    expect(await f.alike('SELECT sum(a) FROM domains')).toEqual([{ sum: '21' }])
  })

  it('predicates and expressions of indexes of the downstream are evaluated while applying', async () => {
    await f.everywhere('CREATE TABLE indexed(a int PRIMARY KEY, b text)')
    await f.below(
      `CREATE FUNCTION known(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM 1 FROM public.indexed; RETURN lower($1); END $$;
       CREATE UNIQUE INDEX ON indexed(known(b)) WHERE length(b) > 1`,
    )
    await f.run(`INSERT INTO indexed VALUES (1, 'A'), (2, 'a'), (3, 'AB')`)
    await f.run(`UPDATE indexed SET b = 'CD' WHERE a = 1; UPDATE indexed SET b = 'cd2' WHERE a = 3`)
    expect(await f.alike(`SELECT a FROM indexed WHERE known(b) = 'cd2' AND length(b) > 1`)).toEqual([
      { a: '3' },
    ])
  })
})

describe('what the downstream lacks', () => {
  it('a column that is missing downstream stops the follow by its name, and adding it lets it go on', async () => {
    const f = await follow({ args: ['--ddl', 'off'], before: ['CREATE TABLE t(a int PRIMARY KEY)'] })
    await script(f.upstream, `ALTER TABLE t ADD "B b" text; INSERT INTO t VALUES (1, 'x')`)
    expect(await failure(f.follower, 8)).toMatchObject({
      code: 'FLW-302',
      message: expect.stringContaining('"B b"'),
    })
    await script(f.downstream, 'ALTER TABLE t ADD "B b" text')
    f.start()
    await f.settle()
    expect(await query(f.downstream, 'SELECT * FROM t')).toEqual([{ a: '1', 'B b': 'x' }])
  })

  it('materialized views, temporary and unlogged tables send nothing and hold nothing up', async () => {
    const f = await follow({
      args: ['--ddl', 'off'],
      before: ['CREATE TABLE t(a int PRIMARY KEY)', 'CREATE UNLOGGED TABLE u(a int PRIMARY KEY)'],
      upstreamOnly: ['CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM t'],
    })
    await f.run('INSERT INTO t VALUES (1); INSERT INTO u VALUES (1); REFRESH MATERIALIZED VIEW m')
    await f.run(
      'CREATE TEMP TABLE here AS SELECT 1 AS i; UPDATE u SET a = 2; CREATE MATERIALIZED VIEW n AS SELECT * FROM t',
    )
    expect(
      await query(f.downstream, 'SELECT (SELECT count(*) FROM t) AS t, (SELECT count(*) FROM u) AS u'),
    ).toEqual([{ t: '1', u: '0' }])
  })
})

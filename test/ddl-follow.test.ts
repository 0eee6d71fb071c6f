import { describe, expect, it } from 'vitest'
import { compareDatabases } from './support/comparator.ts'
import { follow } from './support/follow.ts'
import { ways } from './support/pairs.ts'
import { available, hasWal2json } from './support/servers.ts'
import { query, script } from './support/sql.ts'

/** Each line is one simple query. Several statements in a line are one string. */
const history: Readonly<Record<string, readonly string[]>> = {
  'tables and columns': [
    'CREATE TABLE a(id int PRIMARY KEY, v text DEFAULT $$x;y$$, n numeric(10,2) CHECK (n > 0))',
    `INSERT INTO a SELECT g, 'v' || g, g FROM generate_series(1, 20) g`,
    'ALTER TABLE a ADD c int NOT NULL DEFAULT 7, ALTER v SET NOT NULL, ADD UNIQUE (c, id)',
    'UPDATE a SET c = id WHERE id > 10',
    'ALTER TABLE a RENAME v TO w; ALTER TABLE a ALTER n DROP DEFAULT, ALTER n TYPE numeric(12,2)',
    'ALTER TABLE a DROP COLUMN n',
    'INSERT INTO a(id, w) VALUES (100, $$after$$)',
    'ALTER TABLE a ADD stamp timestamptz DEFAULT now()',
    'CREATE TABLE b(LIKE a INCLUDING ALL); CREATE TABLE c(a_id int REFERENCES a ON DELETE CASCADE, s bigserial)',
    'CREATE TABLE IF NOT EXISTS b(i int); CREATE TABLE IF NOT EXISTS d(i int)',
    'ALTER TABLE b RENAME TO "b""b"; DROP TABLE d, c',
    'CREATE TEMP TABLE here_only(i int)',
    'CREATE TABLE p(k int, v text) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); CREATE TABLE p2(k int, v text)',
    'ALTER TABLE p ATTACH PARTITION p2 FOR VALUES IN (2); INSERT INTO p VALUES (1, $$one$$), (2, $$two$$)',
    'ALTER TABLE p DETACH PARTITION p1',
  ],
  'several statements in one string, with rows between': [
    'CREATE TABLE m1(i int); INSERT INTO m1 VALUES (1); ALTER TABLE m1 ADD j int UNIQUE; INSERT INTO m1 VALUES (2, 2); CREATE TABLE m2(i int)',
    'BEGIN; CREATE TABLE m3(i int); ROLLBACK; BEGIN; CREATE TABLE m3(i text); INSERT INTO m3 VALUES ($$x$$); COMMIT; CREATE TABLE m4()',
    'CREATE TABLE m5(i int); COMMIT; CREATE TABLE m6(i int)',
    'BEGIN; SAVEPOINT s; CREATE TABLE m7(i int); ROLLBACK TO s; CREATE TABLE m7(i text); COMMIT',
    '/* CREATE TABLE m8(i text); */ CREATE TABLE m8(i int); -- DROP TABLE m8;\nCOMMENT ON TABLE m8 IS $q$a;b$q$',
  ],
  'DO, functions, procedures': [
    `DO $$ BEGIN FOR i IN 1..3 LOOP EXECUTE format('CREATE TABLE l%s(i int)', i); EXECUTE format('INSERT INTO l%s VALUES (%s)', i, i); END LOOP; END $$`,
    `CREATE FUNCTION mk(n text) RETURNS void LANGUAGE plpgsql AS $f$ BEGIN EXECUTE 'CREATE TABLE ' || quote_ident(n) || '(i int); CREATE INDEX ON ' || quote_ident(n) || '(i)'; END $f$`,
    `SELECT mk('made by'), mk('function')`,
    `CREATE PROCEDURE pr() LANGUAGE plpgsql AS $f$ BEGIN CREATE TABLE pr1(i int); COMMIT; CREATE TABLE pr2(i int); END $f$`,
    'CALL pr()',
    `CREATE FUNCTION s() RETURNS void LANGUAGE sql AS 'CREATE TABLE by_sql(i int); CREATE TABLE by_sql2(i int)'`,
    'SELECT s()',
    'CREATE TABLE trig(i int); CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN EXECUTE format($q$CREATE TABLE from_trigger_%s(i int)$q$, new.i); RETURN new; END $f$; CREATE TRIGGER t BEFORE INSERT ON trig FOR EACH ROW EXECUTE FUNCTION t()',
    'INSERT INTO trig VALUES (1), (2)',
  ],
  'schemas and search_path': [
    'CREATE SCHEMA s1 CREATE TABLE inside(i int PRIMARY KEY) CREATE VIEW v AS SELECT * FROM inside; CREATE SCHEMA "S 2"',
    `SET search_path = s1, "S 2"; CREATE TABLE where_am_i(i int); CREATE TABLE "S 2".other(i int REFERENCES inside)`,
    `BEGIN; SET LOCAL search_path = "S 2"; CREATE TABLE here(i int); COMMIT; CREATE TABLE public.there(i int)`,
    `SELECT set_config('search_path', '', false); CREATE TABLE s1.empty_path(i int)`,
    'ALTER SCHEMA "S 2" RENAME TO s3; ALTER TABLE s3.here SET SCHEMA s1',
    'CREATE SCHEMA gone; CREATE TABLE gone.t(i int); DROP SCHEMA gone CASCADE',
  ],
  'types, sequences, indexes': [
    `CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a int, b mood); CREATE DOMAIN pos AS int CHECK (value > 0) DEFAULT 1`,
    'CREATE TABLE ty(m mood, p pair, d pos, l mood[])',
    'CREATE TABLE js(a json DEFAULT $${}$$, b jsonb, c json[]); ALTER TABLE js ADD d json CHECK (d::json::text <> $$0$$)',
    `ALTER TYPE mood ADD VALUE 'glad' AFTER 'ok'`,
    `INSERT INTO ty VALUES ('glad', '(1,sad)', 3, '{ok,glad}')`,
    `ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'; ALTER TYPE pair ADD ATTRIBUTE c text`,
    'CREATE TYPE fr AS RANGE (subtype = float8); CREATE SEQUENCE sq INCREMENT 5 MINVALUE 10 CYCLE; ALTER SEQUENCE sq MAXVALUE 1000',
    'CREATE TABLE ix(a int, b text, c int); CREATE UNIQUE INDEX ON ix(a) INCLUDE (b) WHERE c > 0; CREATE INDEX ix_e ON ix(lower(b) DESC NULLS LAST)',
    'CREATE INDEX CONCURRENTLY ix_c ON ix(c)',
    'ALTER INDEX ix_e RENAME TO ix_f; DROP INDEX ix_c',
    'ALTER TABLE ix ADD CONSTRAINT k PRIMARY KEY (a); ALTER TABLE ix CLUSTER ON k',
    'DROP TYPE fr; DROP SEQUENCE sq',
  ],
  'views, functions, triggers, comments': [
    'CREATE TABLE base(i int PRIMARY KEY, t text); CREATE VIEW v AS SELECT i, upper(t) AS u FROM base WHERE i > 0; CREATE OR REPLACE VIEW v AS SELECT i, upper(t) AS u, 1 AS one FROM base',
    'INSERT INTO base VALUES (1, $$a$$); CREATE MATERIALIZED VIEW mv AS SELECT count(*) AS n FROM base; CREATE INDEX ON mv(n)',
    'INSERT INTO base VALUES (2, $$b$$); REFRESH MATERIALIZED VIEW mv',
    `CREATE FUNCTION f(a int, b text DEFAULT 'x') RETURNS TABLE (r text) LANGUAGE sql STABLE AS $$ SELECT b FROM generate_series(1, a) $$`,
    `CREATE OR REPLACE FUNCTION f(a int, b text DEFAULT 'y') RETURNS TABLE (r text) LANGUAGE sql STABLE AS $$ SELECT b || 1 $$; CREATE FUNCTION f(a text) RETURNS int LANGUAGE sql AS 'SELECT 1'`,
    'DROP FUNCTION f(text); CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int)',
    'CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$; CREATE TRIGGER tr BEFORE UPDATE OF t ON base FOR EACH ROW WHEN (new.i > 1) EXECUTE FUNCTION tf(); ALTER TABLE base DISABLE TRIGGER tr',
    'CREATE RULE r AS ON INSERT TO v DO INSTEAD NOTHING; CREATE POLICY po ON base USING (i > 0); ALTER TABLE base ENABLE ROW LEVEL SECURITY',
    `COMMENT ON TABLE base IS 'it''s'; COMMENT ON COLUMN base.t IS 'column'; COMMENT ON VIEW v IS 'view'; COMMENT ON FUNCTION f(int, text) IS 'f'`,
    'COMMENT ON TABLE base IS NULL; DROP TRIGGER tr ON base; DROP VIEW v; DROP MATERIALIZED VIEW mv',
  ],
  'CREATE TABLE AS and SELECT INTO do not double rows': [
    'CREATE TABLE src(i int PRIMARY KEY, t text); INSERT INTO src SELECT g, repeat(chr(65 + g), 10) FROM generate_series(1, 20) g',
    'CREATE TABLE cta AS SELECT *, random() AS r FROM src',
    'SELECT i, t INTO sel FROM src WHERE i < 5',
    'CREATE TABLE nodata AS SELECT * FROM src WITH NO DATA; CREATE TABLE IF NOT EXISTS cta AS SELECT 1 AS x',
    'BEGIN; CREATE TABLE cta2(id, name) AS SELECT i, t FROM src; ALTER TABLE cta2 ADD PRIMARY KEY (id); UPDATE cta2 SET name = $$n$$ WHERE id = 1; COMMIT',
    "DO $$ BEGIN CREATE TABLE cta3 AS SELECT i, t FROM src; EXECUTE 'CREATE TABLE cta4 AS SELECT count(*) AS n FROM src'; END $$",
  ],
}

describe.each(ways)('schema changes of %s', (_name, pair, plugin) => {
  const has = available(pair) && (plugin === 'pgoutput' || hasWal2json())
  const args = plugin === 'wal2json' ? ['--plugin', plugin, '--nan-as-null'] : []

  it.skipIf(!has).each(Object.keys(history))('%s', async (name) => {
    const f = await follow({ pair, args })
    for (const line of history[name]!) await script(f.upstream, line)
    await f.settle()
    expect(await compareDatabases(f.upstream, f.downstream), f.follower.output).toEqual([])
    expect(f.follower.output).not.toMatch(/"result":"(rejected|noop)"/)
  })

  it.skipIf(!has)('owners and grants', async () => {
    const f = await follow({ pair, args })
    const [alice, bob] = [`alice_${f.name}`, `bob ${f.name}`]
    // Downstream first: what is granted upstream arrives there, and needs them.
    for (const end of [f.downstream, f.upstream])
      await script(
        end,
        `CREATE ROLE ${alice} LOGIN; CREATE ROLE "${bob}"; GRANT ALL ON SCHEMA public TO ${alice}`,
      )
    try {
      await script(
        f.upstream,
        'CREATE TABLE g(i int, j int); CREATE SEQUENCE gs; CREATE FUNCTION gf() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$',
      )
      await script(
        f.upstream,
        `GRANT SELECT, UPDATE (j) ON g TO ${alice} WITH GRANT OPTION; GRANT USAGE ON SEQUENCE gs TO "${bob}"`,
      )
      await script(
        f.upstream,
        `REVOKE EXECUTE ON FUNCTION gf() FROM PUBLIC; GRANT ALL ON FUNCTION gf() TO "${bob}"`,
      )
      await script(
        f.upstream,
        `SET ROLE ${alice}; CREATE TABLE hers(i int); GRANT SELECT ON g TO "${bob}"; GRANT ALL ON hers TO PUBLIC`,
      )
      await script(f.upstream, `ALTER TABLE g OWNER TO ${alice}; REVOKE UPDATE (j) ON g FROM ${alice}`)
      await f.settle()
      expect(await compareDatabases(f.upstream, f.downstream), f.follower.output).toEqual([])
      expect(
        await query(
          f.downstream,
          `SELECT relname FROM pg_class WHERE relowner = '${alice}'::regrole ORDER BY 1`,
        ),
      ).toEqual([{ relname: 'g' }, { relname: 'hers' }])
      await f.stop()
    } finally {
      for (const end of [f.upstream, f.downstream])
        await script(end, `DROP OWNED BY ${alice}, "${bob}" CASCADE; DROP ROLE ${alice}, "${bob}"`)
    }
  })
})

import { describe, expect, it } from 'vitest'
import { cleanUp } from '../support/cleanup.ts'
import { failure } from '../support/failure.ts'
import { type Following, follow } from '../support/follow.ts'
import { followerCommand } from '../support/follower.ts'
import { pairsByDownstream } from '../support/pairs.ts'
import { available } from '../support/servers.ts'
import { query, script, value } from '../support/sql.ts'

describe.each(pairsByDownstream.filter(available))(
  'schema changes with the least rights downstream, of %s',
  (pair) => {
    /** Roles of the same name at both ends. */
    const roles = async (f: Following, names: readonly string[]): Promise<string[]> => {
      const all = names.map((name) => `${name}_${f.name}`)
      for (const end of [f.upstream, f.superuser])
        for (const role of all) {
          await script(end, `CREATE ROLE ${role}; GRANT ALL ON SCHEMA public TO ${role}`)
          cleanUp(() => script(end, `DROP OWNED BY ${role}; DROP ROLE ${role}`))
        }
      return all
    }

    it("a superuser's statements are replayed as the follower's role, on tables of its own and of its owner", async () => {
      const f = await follow({ pair, least: 'replica', before: ['CREATE TABLE old(a int PRIMARY KEY)'] })
      await f.run(
        `CREATE TABLE made(a int PRIMARY KEY, b text); COMMENT ON TABLE made IS 'm'; INSERT INTO made VALUES (1, 'x')`,
      )
      await f.run(
        `ALTER TABLE old ADD b text DEFAULT 'd'; CREATE INDEX ON old (b); COMMENT ON TABLE old IS 'o'; INSERT INTO old VALUES (1)`,
      )
      await f.run(`CREATE SCHEMA s; CREATE VIEW s.v AS SELECT * FROM old; CREATE EXTENSION hstore; CREATE MATERIALIZED VIEW s.m AS SELECT * FROM made;
      CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'; CREATE TEXT SEARCH CONFIGURATION conf (COPY = english);
      CREATE TYPE mood AS ENUM ('a'); CREATE DOMAIN pos AS int CHECK (value > 0); GRANT SELECT ON old, made TO PUBLIC; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC`)
      for (const table of ['old', 'made']) {
        const [up, down] = await f.both(`SELECT * FROM ${table}`)
        expect(down).toBe(up)
      }
      expect(await value(f.superuser, `SELECT relowner::regrole FROM pg_class WHERE relname = 'made'`)).toBe(
        f.least!.role,
      )
      expect(await value(f.superuser, `SELECT relowner::regrole FROM pg_class WHERE relname = 'old'`)).toBe(
        `owner_${f.name}`,
      )
      await f.run('DROP TABLE made, old CASCADE; DROP SCHEMA s CASCADE; DROP EXTENSION hstore')
      expect(
        await value(f.superuser, `SELECT count(*) FROM pg_class WHERE relname IN ('made', 'old', 'm', 'v')`),
      ).toBe('0')
    })

    it('what asks for a superuser, or for a right that the role lacks, stops with its name; done by hand, it goes on', async () => {
      const f = await follow({ pair, least: 'origin' })
      const [alice] = await roles(f, ['alice'])
      const cases: readonly (readonly [text: string, says: string, remedy: string | undefined])[] = [
        // Its script drops functions that are members of the extension in the end.
        ['CREATE EXTENSION pageinspect', 'Must be superuser to create this extension', undefined],
        [
          `CREATE FUNCTION leak() RETURNS bool LANGUAGE sql IMMUTABLE LEAKPROOF AS 'SELECT true'`,
          'leakproof',
          undefined,
        ],
        ['CREATE TRUSTED LANGUAGE own HANDLER plpgsql_call_handler', 'must be superuser', undefined],
        [
          `CREATE TABLE given(a int); ALTER TABLE given OWNER TO ${alice}`,
          `"${alice}"`,
          `GRANT "${alice}" TO "${f.least!.role}"`,
        ],
      ]
      for (const [text, says, remedy] of cases) {
        await script(f.upstream, text)
        const stopped = await failure(f.follower, 8)
        expect(stopped).toMatchObject({
          code: 'FLW-322',
          sqlstate: '42501',
          detail: expect.stringContaining(says),
        })
        expect(stopped.fix).toContain(f.least!.role)
        if (remedy !== undefined) expect(stopped.fix).toContain(remedy)
        await script(f.superuser, remedy ?? text)
        f.start()
        await f.settle()
      }
      expect(await value(f.superuser, `SELECT relowner::regrole FROM pg_class WHERE relname = 'given'`)).toBe(
        alice,
      )
    })

    it("an ordinary role's statement needs the right to act for it: the error says which, and a restart goes on", async () => {
      const f = await follow({ pair, least: 'replica' })
      const [alice] = await roles(f, ['alice'])
      await script(
        f.upstream,
        `SET ROLE ${alice}; CREATE TABLE hers(a int PRIMARY KEY); INSERT INTO hers VALUES (1)`,
      )
      const stopped = await failure(f.follower, 8)
      expect(stopped).toMatchObject({ code: 'FLW-328', context: { role: alice, tag: 'CREATE TABLE' } })
      expect(await value(f.superuser, `SELECT to_regclass('hers')`)).toBeNull()
      const grant = /^GRANT .*;/m.exec(stopped.fix)?.[0] ?? ''
      expect(grant).toContain(`GRANT "${alice}" TO "${f.least!.role}"`)
      await script(f.superuser, grant)
      f.start()
      await f.settle()
      expect(await query(f.superuser, 'SELECT a FROM hers')).toEqual([{ a: '1' }])
      expect(await value(f.superuser, `SELECT relowner::regrole FROM pg_class WHERE relname = 'hers'`)).toBe(
        alice,
      )
      // A temporary function holds the statement: its owner needs the right to make one.
      const database = `DATABASE ${f.name}`
      await script(f.superuser, `REVOKE TEMPORARY ON ${database} FROM PUBLIC`)
      // What leaves no state to compare must not be passed over either.
      await script(f.upstream, `SET ROLE ${alice}; GRANT SELECT ON hers TO PUBLIC`)
      const temporary = await failure(f.follower, 8)
      expect(temporary).toMatchObject({ code: 'FLW-328', context: { tag: 'GRANT' } })
      await script(f.superuser, /^GRANT TEMPORARY .*;/m.exec(temporary.fix)?.[0] ?? '')
      f.start()
      await f.settle()
      expect(await value(f.superuser, `SELECT has_table_privilege('public', 'hers', 'SELECT')`)).toBe('t')
    })

    it('values that a schema change gives to rows fire no ordinary trigger', async () => {
      const f = await follow({
        pair,
        least: 'origin',
        before: ['CREATE TABLE t(a int PRIMARY KEY)'],
        downstreamOnly: [
          `CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'fired'; END $$`,
        ],
      })
      await f.run('INSERT INTO t VALUES (1)')
      await script(
        f.superuser,
        'CREATE TRIGGER plain BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION fire()',
      )
      await script(f.upstream, 'ALTER TABLE t ADD made timestamptz DEFAULT now()')
      const stopped = await failure(f.follower, 8)
      expect(stopped).toMatchObject({ code: 'FLW-314', context: { tag: 'ALTER TABLE' } })
      await script(f.superuser, 'ALTER TABLE t DISABLE TRIGGER plain')
      f.start()
      await f.settle()
      const [up, down] = await f.both('SELECT * FROM t')
      expect(down).toBe(up)
    })

    it('schema follower of another role is told at the start, with what hands it over', async () => {
      const f = await follow({ pair, least: 'replica' })
      await f.stop()
      for (const text of [
        'ALTER SCHEMA follower OWNER TO postgres',
        'ALTER TABLE follower.progress OWNER TO postgres',
        `DO $$DECLARE f oid; BEGIN FOR f IN SELECT oid FROM pg_proc WHERE pronamespace = 'follower'::regnamespace LOOP EXECUTE format('ALTER ROUTINE %s OWNER TO postgres', f::regprocedure); END LOOP; END$$`,
      ])
        await script(f.superuser, text)
      f.start()
      const refused = await failure(f.follower, 6)
      expect(refused.code).toBe('FLW-137')
      for (const line of refused.fix.split('\n').filter((each) => /^(ALTER|DO) /.test(each)))
        await script(f.superuser, line)
      f.start()
      await f.run('CREATE TABLE after(a int PRIMARY KEY); INSERT INTO after VALUES (1)')
      expect(await query(f.superuser, 'SELECT a FROM after')).toEqual([{ a: '1' }])
      await f.stop()
      const cleaned = await followerCommand(['cleanup', ...f.args.slice(1), '--yes'])
      expect(cleaned.code, cleaned.stderr).toBe(0)
      expect(await value(f.superuser, `SELECT to_regnamespace('follower')`)).toBeNull()
    })
  },
)

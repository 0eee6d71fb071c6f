import { randomBytes } from 'node:crypto'
import type pg from 'pg'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { cleanUp } from './support/cleanup.ts'
import { type Following, follow } from './support/follow.ts'
import { upstreamsOfLongSuites } from './support/pairs.ts'
import { asUser, available, inDatabase } from './support/servers.ts'
import { client, query, type Row, script, statements, value } from './support/sql.ts'

const canary = `canary-${randomBytes(6).toString('hex')}`

/** An unprivileged role against a follow: nothing beyond its own rights, counted, and the stream lives. */
describe.each(upstreamsOfLongSuites)('attacks on a follow of PostgreSQL %s', (major) => {
  if (!available(major)) return test.skip('no server')
  const suffix = randomBytes(3).toString('hex')
  const mallory = `mallory_${suffix}`
  const alice = `alice_${suffix}`
  // As long as a name may be, with what quoting must survive.
  const odd = `o"d'd\n${suffix}`.padEnd(63, 'x')
  const roles = [mallory, alice, odd].map(identifier)
  let f: Following
  let hers: pg.Client

  beforeAll(async () => {
    let ends: string[] = []
    // After the databases are dropped, so registered before them.
    cleanUp(async () => {
      for (const end of ends) await script(inDatabase(end, 'postgres'), `DROP ROLE ${roles}`)
    })
    f = await follow({
      pair: major,
      args: ['--log-level', 'debug', '--web-listen', '127.0.0.1:0'],
      before: [
        ...roles.map((role) => `CREATE ROLE ${role} LOGIN`),
        `CREATE SCHEMA m AUTHORIZATION ${mallory}`,
        `CREATE SCHEMA al AUTHORIZATION ${alice}`,
        `CREATE SCHEMA od AUTHORIZATION ${identifier(odd)}`,
        'CREATE TABLE public.secret (i int PRIMARY KEY)',
        'INSERT INTO public.secret VALUES (1)',
      ],
    })
    ends = [f.upstream, f.downstream]
    hers = await client(asUser(f.upstream, mallory))
    await hers.query('SET search_path = m')
  })

  // No attack may do harm, and after each a row arrives.
  afterEach(async () => {
    await f.settle()
    for (const end of [f.upstream, f.downstream]) {
      expect(
        await query(
          end,
          'SELECT rolname FROM pg_roles WHERE rolname = ANY ($1) AND (rolsuper OR rolcreaterole)',
          [[mallory, alice, odd]],
        ),
      ).toEqual([])
      expect(await value(end, 'SELECT string_agg(i::text, $1) FROM public.secret', [','])).toBe('1')
      expect(await value(end, "SELECT has_table_privilege($1, 'public.secret', 'select')", [mallory])).toBe(
        'f',
      )
      expect(
        await value(end, "SELECT count(*) FROM pg_proc WHERE proname LIKE 'follower\\_replay\\_%'"),
      ).toBe('0')
    }
    expect(f.follower.output).not.toContain(canary)
  })

  /** follower_ddl_messages_rejected_total by reason. */
  async function rejected(): Promise<Record<string, number>> {
    await f.settle()
    const web = /"web":"([^"]+)"/.exec(await f.follower.line(/"web"/))![1]
    const text = await (await fetch(`${web}/metrics`)).text()
    const counters = text.matchAll(
      /^follower_ddl_messages_rejected_total\{[^}]*reason="([^"]*)"[^}]*\} (\d+)$/gm,
    )
    return Object.fromEntries([...counters].map(([, reason, count]) => [reason, Number(count)]))
  }

  /** What the counters have grown by while `attack` ran. */
  async function counted(attack: () => Promise<unknown>): Promise<Record<string, number>> {
    const before = await rejected()
    await attack()
    const after = await rejected()
    const grown = Object.entries(after).map(([reason, n]) => [reason, n - (before[reason] ?? 0)] as const)
    return Object.fromEntries(grown.filter(([, n]) => n > 0))
  }

  /** SQLSTATE of what mallory tried. */
  function refused(text: string): Promise<string | undefined> {
    return hers.query(text).then(
      () => undefined,
      (error: pg.DatabaseError) => error.code,
    )
  }

  /** One row, in one column, of the downstream. */
  const below = (text: string): Promise<string | null> => value(f.downstream, text)

  /** Contents of the genuine messages that `text` makes, as any role with REPLICATION, or a backup, could read them. */
  async function recorded(text: string): Promise<Buffer[]> {
    const slot = `spy_${suffix}_${randomBytes(3).toString('hex')}`
    await script(f.upstream, `SELECT pg_create_logical_replication_slot('${slot}', 'pgoutput')`)
    await hers.query(text)
    const rows = await decoded(slot, "SELECT encode(data, 'hex') AS data")
    return rows
      .map((row) => Buffer.from(row.data!, 'hex'))
      .filter((data) => data.includes('follower.ddl\0'))
      .map((data) => data.subarray(data.indexOf('FLW1')))
  }

  /** What pgoutput makes of all since the slot was created, which is dropped. */
  async function decoded(slot: string, select: string): Promise<Row[]> {
    try {
      return await query(
        f.upstream,
        `${select} FROM pg_logical_slot_get_binary_changes('${slot}', NULL, NULL,
          'proto_version', '1', 'publication_names', '${f.name}', 'messages', 'true')`,
      )
    } finally {
      await script(f.upstream, `SELECT pg_drop_replication_slot('${slot}')`)
    }
  }

  const emit = (content: Buffer | string, transactional = true): Promise<unknown> =>
    hers.query('SELECT pg_logical_emit_message($1::bool, $2, decode($3, $4))', [
      transactional,
      'follower.ddl',
      Buffer.from(content).toString('hex'),
      'hex',
    ])

  describe('messages by hand', () => {
    const zeros = '0'.repeat(64)
    test('nonsense', async () => {
      const key = await value(f.upstream, 'SELECT key_id FROM follower.secret')
      expect(
        await counted(async () => {
          await emit('')
          await emit('garbage')
          await emit(Buffer.of(0xff, 0xfe, 0, 0xc3, 0x28))
          await emit(`FLW1 ${key} ${zeros} {"v":1}`)
          await emit(Buffer.concat([Buffer.from(`FLW1 ${key} ${zeros} `), Buffer.of(0xc3, 0x28)]))
          await emit(`FLW999999999 ${key} ${zeros} {}`)
          await emit(`FLW1 __proto__ ${zeros} {}`)
          await emit(`FLW1 ${'k'.repeat(200)} ${zeros} {}`)
        }),
      ).toEqual({ format: 3, mac: 3, key: 2 })
    })

    test('outside of a transaction', async () => {
      expect(await counted(() => emit('garbage', false))).toEqual({ transaction: 1 })
    })

    test('a huge one, beside an honest change', async () => {
      expect(
        await counted(async () => {
          await hers.query(`BEGIN; SELECT length(pg_logical_emit_message(true, 'follower.ddl',
            convert_to(repeat('FLW1 ', 20000000), 'UTF8'))::text); CREATE TABLE beside_huge (i int); COMMIT`)
        }),
      ).toEqual({ format: 1 })
      expect(await below("SELECT to_regclass('m.beside_huge')")).toBe('m.beside_huge')
    })

    test('many thousands in one transaction make a line of the log, not thousands', async () => {
      const lines = f.follower.stderr.length
      expect(
        await counted(() =>
          hers.query(`BEGIN; CREATE TABLE beside_many (i int); INSERT INTO beside_many VALUES (1);
            SELECT count(pg_logical_emit_message(true, 'follower.ddl', 'FLW1 k${'$'}' || i)) FROM generate_series(1, 20000) i;
            ALTER TABLE beside_many ADD j int; INSERT INTO beside_many VALUES (2, 3); COMMIT`),
        ),
      ).toEqual({ format: 20_000 })
      expect(await below('SELECT sum(i + coalesce(j, 0)) FROM m.beside_many')).toBe('6')
      expect(f.follower.stderr.length - lines).toBeLessThan(100)
    })

    test('a genuine one again, in the same transaction and in another', async () => {
      const [genuine] = await recorded('CREATE TABLE again (i int)')
      expect(await counted(() => emit(genuine!))).toEqual({ xid: 1 })
      // In the same transaction it can be had, too: the client sees what is decoded only later, but the key never changes its mind.
      expect(
        await counted(async () => {
          await hers.query('BEGIN')
          await hers.query('DROP TABLE again')
          await emit(genuine!)
          await hers.query('COMMIT')
        }),
      ).toEqual({ xid: 1 })
      expect(await below("SELECT to_regclass('m.again')")).toBeNull()
    })

    test('an unknown key takes nothing from one that is new', async () => {
      await emit(`FLW1 unknown1 ${zeros} {}`)
      await f.settle()
      await script(
        f.upstream,
        `INSERT INTO follower.secret (key_id, ipad, opad) VALUES ('new_${suffix}', sha256('a') || sha256('b'), sha256('c') || sha256('d'))`,
      )
      expect(
        await counted(async () => {
          await emit(`FLW1 unknown2 ${zeros} {}`)
          await hers.query('CREATE TABLE new_key (i int)')
        }),
      ).toEqual({ key: 1 })
      expect(await below("SELECT to_regclass('m.new_key')")).toBe('m.new_key')
    })
  })

  describe('the capture', () => {
    test('does not break where the stack ends: the statement does', async () => {
      await hers.query(`CREATE FUNCTION m.deep(n int) RETURNS text LANGUAGE plpgsql AS $f$ BEGIN
        RETURN m.deep(n + 1);
      EXCEPTION WHEN statement_too_complex THEN
        BEGIN CREATE TEMP TABLE at_the_end (i int); DROP TABLE at_the_end; RETURN 'made';
        EXCEPTION WHEN statement_too_complex THEN RAISE; END;
      END $f$`)
      await hers.query("SET max_stack_depth = '200kB'").catch(() => {})
      expect(await counted(() => hers.query('SELECT m.deep(1)').catch(() => {}))).toEqual({})
    })
  })

  describe('code of an author', () => {
    test('behind a COMMIT in the string of a command', async () => {
      expect(await refused(`CREATE TABLE behind (i int); COMMIT; ALTER ROLE ${mallory} SUPERUSER`)).toBe(
        '42501',
      )
      await f.settle()
      expect(await below("SELECT tableowner FROM pg_tables WHERE tablename = 'behind'")).toBe(mallory)
    })

    test('leaves its role nowhere where a command runs it', async () => {
      const tries = [
        'RESET ROLE',
        'SET ROLE postgres',
        'SET SESSION AUTHORIZATION postgres',
        'RESET SESSION AUTHORIZATION',
      ]
      await hers.query(`CREATE TABLE m.trace (who text);
        CREATE FUNCTION m.act(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $f$ DECLARE t text; BEGIN
          FOREACH t IN ARRAY ARRAY[${tries.map((t) => `'${t}'`)}] LOOP
            BEGIN EXECUTE t; EXCEPTION WHEN OTHERS THEN NULL; END;
            BEGIN ALTER ROLE ${mallory} SUPERUSER; EXCEPTION WHEN OTHERS THEN NULL; END;
            BEGIN GRANT SELECT ON public.secret TO ${mallory}; EXCEPTION WHEN OTHERS THEN NULL; END;
          END LOOP;
          RETURN i; END $f$;
        CREATE FUNCTION m.fires() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN PERFORM m.act(1); RETURN new; END $f$`)
      // Their rows are there before the code is, so that only the commands run it.
      await hers.query('CREATE TABLE m.victim (i int); INSERT INTO m.victim VALUES (1)')
      for (const text of [
        'CREATE TABLE by_ctas AS SELECT m.act(1) AS i',
        'CREATE INDEX ON m.victim (m.act(i))',
        'DROP INDEX m.victim_act_idx',
        'ALTER TABLE m.victim ADD CONSTRAINT acts CHECK (m.act(i) > 0)',
        'ALTER TABLE m.victim DROP CONSTRAINT acts',
        'ALTER TABLE m.victim ADD d int DEFAULT m.act(1)',
        'ALTER TABLE m.victim ADD g int GENERATED ALWAYS AS (m.act(i)) STORED',
        'ALTER TABLE m.victim DROP COLUMN g, DROP COLUMN d',
        'ALTER TABLE m.victim ALTER i TYPE bigint USING m.act(i)',
        'CREATE DOMAIN m.dom AS int CHECK (m.act(value) > 0)',
        'ALTER TABLE m.victim ADD e m.dom DEFAULT 1',
        'ALTER TABLE m.victim DROP COLUMN e',
        'CREATE MATERIALIZED VIEW m.mv AS SELECT m.act(1) AS i',
        'REFRESH MATERIALIZED VIEW m.mv',
      ])
        await hers.query(text)
      await f.settle()
      expect(
        await below(
          "SELECT count(*) FROM pg_class WHERE relnamespace = 'm'::regnamespace AND relname IN ('victim', 'mv', 'by_ctas')",
        ),
      ).toBe('3')
    })

    test('in names that imitate the context', async () => {
      await script(
        asUser(f.upstream, alice),
        `CREATE FUNCTION al.make(n text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $f$ BEGIN EXECUTE format('CREATE TABLE al.%I (i int)', n); END $f$;
         GRANT USAGE ON SCHEMA al TO ${mallory}`,
      )
      const names = [
        `x" (i int)"\nSQL statement "DROP TABLE public.secret"`,
        `y"\nPL/pgSQL function follower.capture_ddl() line 1 at SQL`,
        `z'; ALTER ROLE ${mallory} SUPERUSER; --`,
        '__proto__',
        'constructor',
      ]
      for (const name of names) await hers.query('SELECT al.make($1)', [name])
      await hers.query(
        'ALTER TABLE m.victim ADD "__proto__" int DEFAULT 7, ADD "constructor" timestamptz DEFAULT now()',
      )
      await f.settle()
      const listed = "SELECT tablename FROM pg_tables WHERE schemaname = 'al' AND tableowner = $1 ORDER BY 1"
      const made = await query(f.downstream, listed, [alice])
      expect(made).toEqual(await query(f.upstream, listed, [alice]))
      expect(made).toHaveLength(names.length)
      const [up, down] = await f.both('SELECT * FROM m.victim')
      expect(down).toBe(up)
    })

    test('of a role whose name must be quoted', async () => {
      const conninfo = asUser(f.upstream, odd)
      await statements(conninfo, [
        'CREATE TABLE od.t (i int); CREATE VIEW od.v AS SELECT * FROM od.t',
        `GRANT SELECT ON od.t TO ${identifier(mallory)}`,
        'CREATE TABLE od.c AS SELECT 1 AS i',
        'DROP TABLE od.t CASCADE',
      ])
      await f.settle()
      expect(await below("SELECT tableowner FROM pg_tables WHERE schemaname = 'od'")).toBe(odd)
    })

    test('that shadows operators, functions, casts and catalogs', async () => {
      await statements(
        asUser(f.upstream, mallory),
        [
          'SET search_path = m, pg_catalog',
          `CREATE FUNCTION m.no(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT false';
         CREATE OPERATOR m.= (leftarg = text, rightarg = text, function = m.no);
         CREATE OPERATOR m.|| (leftarg = text, rightarg = text, function = m.no)`,
          `CREATE FUNCTION m.concat(VARIADIC "any") RETURNS text LANGUAGE internal AS 'text_concat'`,
        ].slice(0, 2),
      )
      await statements(asUser(f.upstream, mallory), [
        'SET search_path = m, pg_catalog',
        `CREATE FUNCTION m.current_setting(text) RETURNS text LANGUAGE plpgsql AS $f$ BEGIN ALTER ROLE ${mallory} SUPERUSER; RETURN 'x'; END $f$`,
        `CREATE FUNCTION m.jsonb_object_agg(text, text) RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb'`,
        `CREATE FUNCTION m.format(text, text) RETURNS text LANGUAGE sql AS $$ SELECT 'ALTER ROLE ${mallory} SUPERUSER' $$`,
        `CREATE TYPE m.mine AS (a int); CREATE FUNCTION m.cast_it(m.mine) RETURNS text LANGUAGE plpgsql AS $f$ BEGIN ALTER ROLE ${mallory} SUPERUSER; RETURN 'x'; END $f$;
         CREATE CAST (m.mine AS text) WITH FUNCTION m.cast_it(m.mine) AS IMPLICIT`,
        'CREATE TEMP TABLE pg_class (oid oid, relname text); CREATE TEMP TABLE pg_roles AS SELECT 1 AS rolname; CREATE TEMP TABLE follow (name text)',
        'SET search_path = m, pg_temp, pg_catalog',
        `CREATE TABLE shadowed (i int, c m.mine DEFAULT '(1)'::m.mine)`,
        'ALTER TABLE shadowed ADD j int',
      ])
      await f.settle()
      expect(
        await below(
          "SELECT count(*) FROM pg_attribute WHERE attrelid = 'm.shadowed'::regclass AND attnum > 0",
        ),
      ).toBe('3')
    })
  })

  describe('the follow is not stopped by', () => {
    test('grants on what does not exist downstream, whichever of a string they are', async () => {
      await hers.query('CREATE TEMP TABLE temporary (i int)')
      await hers.query(`GRANT SELECT ON temporary TO ${alice}; COMMIT; GRANT INSERT ON temporary TO ${alice}`)
      await hers.query(`GRANT SELECT ON temporary TO ${alice}`)
      await hers.query('SELECT lo_create(4711)')
      await hers.query(`GRANT SELECT ON LARGE OBJECT 4711 TO ${alice}; COMMENT ON LARGE OBJECT 4711 IS 'x'`)
    })

    test('expressions deeper than any stack', async () => {
      const view = (terms: number): Promise<unknown> =>
        hers.query(`CREATE OR REPLACE TEMP VIEW deep AS SELECT 1${'+1'.repeat(terms)} AS i; SELECT 1`)
      // As deep as this server takes.
      for (const terms of [16_000, 8000, 4000, 2000]) await view(terms).catch(() => {})
    })

    test('what differs downstream, where nothing of it is followed', async () => {
      await hers.query(`CREATE TEMP TABLE own_rows (i int); INSERT INTO own_rows VALUES (1);
        ALTER TABLE own_rows ADD r float DEFAULT random()`)
    })
  })

  test('secrets stay where they are', async () => {
    const slot = `leak_${suffix}`
    await script(f.upstream, `SELECT pg_create_logical_replication_slot('${slot}', 'pgoutput')`)
    const extra = `x_${suffix}`
    // Each in a string of its own: of several statements in one, the text goes out whole.
    await statements(f.upstream, [
      `CREATE ROLE ${extra} PASSWORD '${canary}'`,
      `ALTER USER ${extra} ENCRYPTED PASSWORD $x$${canary}$x$`,
      `DO $$ BEGIN CREATE TABLE public.in_do (i int); ALTER ROLE ${extra} PASSWORD '${canary}'; END $$`,
      'CREATE FOREIGN DATA WRAPPER leaky; CREATE SERVER leaky FOREIGN DATA WRAPPER leaky',
      `CREATE USER MAPPING FOR CURRENT_USER SERVER leaky OPTIONS (password '${canary}')`,
      `ALTER USER MAPPING FOR CURRENT_USER SERVER leaky OPTIONS (SET password '${canary}')`,
      `CREATE SUBSCRIPTION ${extra} CONNECTION 'host=nowhere password=${canary}' PUBLICATION p WITH (connect = false, slot_name = NONE)`,
      `ALTER SUBSCRIPTION ${extra} CONNECTION 'host=nowhere password=${canary}'`,
      `DROP SUBSCRIPTION ${extra}`,
      'DROP FOREIGN DATA WRAPPER leaky CASCADE',
      `DROP ROLE ${extra}`,
    ])
    await f.settle()
    const [leaks] = await decoded(
      slot,
      `SELECT count(*) FILTER (WHERE position('${canary}'::bytea IN data) > 0) AS n`,
    )
    expect(leaks).toEqual({ n: '0' })
    expect(await below("SELECT to_regclass('public.in_do')")).toBe('in_do')
  })
})

function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

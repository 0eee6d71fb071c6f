import { execFile } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type pg from 'pg'
import { beforeAll, describe, expect, test } from 'vitest'
import { debianBinDir } from '../src/demo/binaries.ts'
import { sql } from '../src/postgres/sql.ts'
import { type Captured, captured, install, readKeys } from './support/capture.ts'
import { available } from './support/servers.ts'
import { query, value } from './support/sql.ts'

const run = promisify(execFile)

describe.each(['18', '15'] as const)('capture on PostgreSQL %s', (major) => {
  if (!available(major)) return test.skip('no server')
  let it: Captured
  let db: pg.Client

  beforeAll(async () => {
    it = await captured(major)
    db = await it.session()
  })

  test('one statement, one signed message with text, role, path, state and publications', async () => {
    await db.query('CREATE SCHEMA one; SET search_path = one, "$user"')
    await it.messages()
    await db.query('CREATE TABLE t (a int PRIMARY KEY)')
    await db.query('RESET search_path')
    const [message, ...more] = await it.messages()
    expect(more).toEqual([])
    expect(message).toMatchObject({
      kind: 'end',
      role: 'postgres',
      tag: 'CREATE TABLE',
      query: 'CREATE TABLE t (a int PRIMARY KEY)',
      attributes: { superuser: true, member_of: [] },
      dropped: [],
    })
    expect(message!.settings).toMatchObject({
      search_path: 'one, "$user"',
      TimeZone: expect.any(String),
      role: 'none',
    })
    expect(message!.context).toMatch(/^PL\/pgSQL function follower\.capture_ddl\(\) line \d+ at [^\n]*$/)
    expect(message!.objects).toMatchObject([
      {
        tag: 'CREATE TABLE',
        type: 'table',
        identity: 'one.t',
        names: ['one', 't'],
        publications: ['everything'],
      },
      { tag: 'CREATE INDEX', type: 'index', identity: 'one.t_pkey', publications: ['everything'] },
    ])
    expect(message!.objects[0]!.state).toMatchObject({ 'column "a".type': 'integer' })
  })

  test('the MAC is HMAC-SHA256 of the JSON text under the key of follower.secret', async () => {
    const [[keyId, key]] = [
      ...((await readKeys(it.conninfo)) as Map<string, { ipad: Buffer; opad: Buffer }>),
    ] as [[string, { ipad: Buffer; opad: Buffer }]]
    const secret = key.ipad.subarray(0, 32).map((byte) => byte ^ 0x36)
    expect(key.ipad.subarray(32)).toEqual(Buffer.alloc(32, 0x36))
    expect(key.opad).toEqual(Buffer.concat([secret.map((byte) => byte ^ 0x5c), Buffer.alloc(32, 0x5c)]))
    expect(await value(it.conninfo, "SELECT follower.sign('täxt'::text::bytea)")).toBe(
      `${keyId} ${createHmac('sha256', secret).update('täxt').digest('hex')}`,
    )
  })

  test('several statements in one string: one text, an end for each, temporary and idle ones too', async () => {
    await db.query(
      'CREATE TABLE s1 (); CREATE TABLE IF NOT EXISTS s1 (); CREATE TEMP TABLE s2 (); CREATE TABLE s3 ()',
    )
    const messages = await it.messages()
    expect(messages.map((m) => m.objects.map((o) => o.identity))).toEqual([
      ['public.s1'],
      [],
      [],
      ['public.s3'],
    ])
    expect(messages.map((m) => m.query !== undefined)).toEqual([true, false, false, false])
    expect(new Set(messages.map((m) => m.query_hash + m.statement_time)).size).toBe(1)
    expect(messages.map((m) => BigInt(m.n))).toEqual(messages.map((m) => BigInt(m.n)).toSorted())
  })

  test('DO, functions and nested calls: the inner statement is the frame below ours', async () => {
    await db.query(`CREATE FUNCTION inner_ddl(name text) RETURNS void LANGUAGE plpgsql AS $f$
      BEGIN EXECUTE format('CREATE TABLE %I ()', name); END $f$`)
    await it.messages()
    await db.query(`DO $d$ BEGIN CREATE TABLE d1 (); PERFORM inner_ddl('d "2"'); END $d$`)
    const messages = await it.messages()
    expect(messages.map((m) => m.context.split('\n')[1])).toEqual([
      'SQL statement "CREATE TABLE d1 ()"',
      'SQL statement "CREATE TABLE "d ""2""" ()"',
    ])
    expect(messages[1]!.context).toContain('PL/pgSQL function inline_code_block line 1 at PERFORM')
  })

  test('a rolled back savepoint takes its messages, and not the text of the next', async () => {
    const text = 'CREATE TABLE again ()'
    await db.query('BEGIN')
    await db.query('SAVEPOINT s')
    await db.query(text)
    await db.query('ROLLBACK TO s')
    await db.query(text)
    await db.query('DROP TABLE again')
    await db.query('COMMIT')
    expect((await it.messages()).map((m) => [m.kind, m.query])).toEqual([
      ['end', text],
      ['drop', 'DROP TABLE again'],
      ['end', undefined],
    ])
  })

  test('CREATE TABLE AS and SELECT INTO announce themselves before their rows', async () => {
    await db.query('CREATE TABLE ctas AS SELECT 1 AS a')
    await db.query('SELECT 1 AS a INTO sinto')
    const changes = await it.changes()
    expect(changes.map((c) => (c.kind === 'ddl' ? `${c.message.kind} ${c.message.tag}` : c.kind))).toEqual([
      'start CREATE TABLE AS',
      'row',
      'end CREATE TABLE AS',
      'start SELECT INTO',
      'row',
      'end SELECT INTO',
    ])
  })

  test('drops list what was named and what went with it, and who published it', async () => {
    await db.query(
      'CREATE SCHEMA gone; CREATE TABLE gone.a (i serial PRIMARY KEY); CREATE TABLE gone.b (i int)',
    )
    await it.messages()
    await db.query('DROP TABLE gone.a, gone.b')
    const [drop, end] = await it.messages()
    expect([drop!.kind, end!.kind, end!.objects]).toEqual(['drop', 'end', []])
    const named = drop!.dropped.filter((object) => object.original)
    expect(named.map((object) => [object.type, object.identity, object.publications])).toEqual(
      [
        ['table', 'gone.b', ['everything']],
        ['table', 'gone.a', ['everything']],
      ].toSorted(
        (x, y) => String(y[1]).localeCompare(String(x[1])) * (named[0]!.identity === 'gone.b' ? 1 : -1),
      ),
    )
    expect(drop!.dropped.map((object) => object.identity)).toContain('gone.a_i_seq')
  })

  test('an unprivileged role is captured, and alice’s SECURITY DEFINER function is alice', async () => {
    const alice = await it.session(it.alice)
    await alice.query(`CREATE SCHEMA ${it.alice}; CREATE TABLE ${it.alice}.own (i int)`)
    await alice.query(`CREATE FUNCTION ${it.alice}.make() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
      SET search_path = ${it.alice} AS 'BEGIN CREATE TABLE made (); END'`)
    expect((await it.messages()).map((m) => m.role)).toEqual([it.alice, it.alice, it.alice])
    await db.query(`GRANT ${it.bob} TO ${it.alice}`)
    await db.query(`SELECT ${it.alice}.make()`)
    expect(await it.messages()).toMatchObject([
      {
        role: it.alice,
        attributes: { superuser: false, createrole: false, member_of: [it.bob] },
        settings: { search_path: it.alice },
      },
    ])
    await db.query(`REVOKE ${it.bob} FROM ${it.alice}`)
    await db.query(`SET ROLE ${it.bob}; CREATE SCHEMA ${it.bob}; RESET ROLE`)
    expect(await it.messages()).toMatchObject([{ role: it.bob }])
  })

  test('any search_path, with shadowed functions, operators and types', async () => {
    await db.query(`CREATE SCHEMA evil;
      CREATE DOMAIN evil.text AS pg_catalog.text CHECK (false);
      CREATE FUNCTION evil.bad(pg_catalog.text, pg_catalog.text) RETURNS bool LANGUAGE plpgsql AS $f$ BEGIN RAISE 'evil'; END $f$;
      CREATE OPERATOR evil.= (FUNCTION = evil.bad, LEFTARG = pg_catalog.text, RIGHTARG = pg_catalog.text);
      CREATE FUNCTION evil.current_setting(pg_catalog.text) RETURNS pg_catalog.text LANGUAGE plpgsql AS $f$ BEGIN RAISE 'evil'; END $f$;
      CREATE FUNCTION evil.concat(VARIADIC "any") RETURNS pg_catalog.text LANGUAGE internal AS 'text_concat'`)
    await it.messages()
    // A session of its own: functions are compiled once a session.
    const session = await it.session()
    for (const path of ['evil, pg_catalog', '', 'follower', 'nowhere'])
      await session.query(`SET search_path = ${path || "''"}; CREATE TABLE evil.t (); DROP TABLE evil.t`)
    expect((await it.messages()).map((m) => m.kind)).toEqual(Array(4).fill(['end', 'drop', 'end']).flat())
  })

  test('session_replication_role = replica hides nothing', async () => {
    await db.query('SET session_replication_role = replica; CREATE TABLE replica (i int)')
    await db.query('SET session_replication_role = origin')
    expect((await it.messages()).map((m) => m.tag)).toEqual(['CREATE TABLE'])
  })

  test('temporary objects, refreshes, reindexing and follower’s own say nothing', async () => {
    await db.query('CREATE MATERIALIZED VIEW mv AS SELECT 1 AS i')
    await db.query('CREATE UNIQUE INDEX ON mv (i)')
    await it.messages()
    for (const text of [
      'CREATE TEMP TABLE tt (i int PRIMARY KEY)',
      'CREATE TEMP TABLE tt2 ON COMMIT DROP AS SELECT 1',
      'CREATE TEMP VIEW tv AS SELECT * FROM tt',
      'REINDEX TABLE mv',
      "COMMENT ON TABLE follower.follow IS 'x'",
      'CREATE TABLE follower.mine ()',
    ])
      await db.query(text)
    expect(await it.messages()).toEqual([])
    await db.query('DROP TABLE follower.mine')
    await db.query('DROP TABLE tt CASCADE')
    await db.query('REFRESH MATERIALIZED VIEW CONCURRENTLY mv')
    const messages = await it.messages()
    expect(messages.map((m) => `${m.kind} ${m.tag} ${m.objects.length}${m.dropped.length}`)).toEqual([
      'end DROP TABLE 00',
      'end DROP TABLE 00',
      'end REFRESH MATERIALIZED VIEW 10',
    ])
  })

  test('a read-only transaction may reindex', async () => {
    await db.query('BEGIN READ ONLY; REINDEX TABLE mv; COMMIT')
    expect(await it.changes()).toEqual([])
  })

  test('passwords of mappings and subscriptions stay here', async () => {
    await db.query('CREATE EXTENSION postgres_fdw')
    await db.query("CREATE SERVER canary FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'canary')")
    await db.query("CREATE USER MAPPING FOR postgres SERVER canary OPTIONS (password 'canary')")
    await db.query(
      "CREATE SUBSCRIPTION canary CONNECTION 'password=canary' PUBLICATION p WITH (connect = false)",
    )
    await db
      .query('DROP SUBSCRIPTION canary')
      .catch(() => db.query('ALTER SUBSCRIPTION canary SET (slot_name = NONE); DROP SUBSCRIPTION canary'))
    await db.query('DROP SERVER canary CASCADE')
    expect(JSON.stringify(await it.messages())).not.toContain('password')
  })

  test('an extension is one message', async () => {
    await db.query('CREATE EXTENSION hstore VERSION "1.4"')
    await db.query('ALTER EXTENSION hstore UPDATE')
    await db.query('DROP EXTENSION hstore')
    const messages = await it.messages()
    expect(messages.map((m) => `${m.kind} ${m.tag}`)).toEqual([
      'end CREATE EXTENSION',
      'end ALTER EXTENSION',
      'drop DROP EXTENSION',
      'end DROP EXTENSION',
    ])
    expect(messages[0]!.objects).toMatchObject([{ identity: 'hstore', publications: ['everything'] }])
  })

  test('what can’t run in a transaction, enums, PREPARE TRANSACTION, GRANT', async () => {
    await db.query('CREATE TABLE misc (a int PRIMARY KEY, b int)')
    await db.query('CREATE INDEX CONCURRENTLY misc_b ON misc (b)')
    await db.query('DROP INDEX CONCURRENTLY misc_b')
    await db.query("CREATE TYPE mood AS ENUM ('a')")
    await db.query("ALTER TYPE mood ADD VALUE 'b'")
    await db.query(`GRANT SELECT ON misc TO ${it.bob}`)
    await db.query('COMMENT ON COLUMN misc.b IS $$b$$')
    const messages = await it.messages()
    expect(messages.map((m) => `${m.kind} ${m.tag}`)).toEqual([
      'end CREATE TABLE',
      'end CREATE INDEX',
      'drop DROP INDEX',
      'end DROP INDEX',
      'end CREATE TYPE',
      'end ALTER TYPE',
      'end GRANT',
      'end COMMENT',
    ])
    expect(messages[1]!.settings.search_path).toBe('"$user", public')
    expect(messages[5]!.objects[0]!.state).toMatchObject({ labels: "'a', 'b'" })
    expect(messages[6]!.objects).toMatchObject([{ identity: '', names: [], state: null }])
    expect(messages[7]!.objects).toMatchObject([{ type: 'table column', names: ['public', 'misc', 'b'] }])
  })

  test('fast defaults come as text, of partitions too', async () => {
    await db.query('CREATE TABLE fast (a int PRIMARY KEY) PARTITION BY RANGE (a)')
    await db.query('CREATE TABLE fast1 PARTITION OF fast FOR VALUES FROM (0) TO (9)')
    await it.messages()
    await db.query(`SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'German'`)
    await db.query(`ALTER TABLE fast ADD t timestamptz DEFAULT '2020-01-01 09:00:00+09', ADD i int[] DEFAULT '{1,2}',
      ADD b box DEFAULT '((1,1),(0,0))', ADD s text DEFAULT 'a,"b', ADD n text`)
    await db.query('RESET TimeZone; RESET DateStyle')
    const [message] = await it.messages()
    expect(message!.objects[0]!.missing).toEqual({
      t: '2020-01-01 00:00:00+00',
      i: '{1,2}',
      b: '(1,1),(0,0)',
      s: 'a,"b',
    })
    expect(message!.settings).toMatchObject({ TimeZone: 'Asia/Tokyo', DateStyle: 'German, DMY' })
  })

  test('PREPARE TRANSACTION', async () => {
    await db.query(`BEGIN; CREATE TABLE prepared (i int); PREPARE TRANSACTION '${it.name}'`)
    expect(await it.messages()).toEqual([])
    await db.query(`COMMIT PREPARED '${it.name}'`)
    expect(await it.messages()).toMatchObject([{ query: expect.stringContaining('CREATE TABLE prepared') }])
  })

  test('text in any encoding goes out as UTF-8', async () => {
    for (const encoding of ['LATIN1', 'SQL_ASCII']) {
      const name = `${it.name}_${encoding.toLowerCase()}`
      await query(
        it.conninfo,
        `CREATE DATABASE ${name} TEMPLATE template0 ENCODING '${encoding}' LC_COLLATE 'C' LC_CTYPE 'C'`,
      )
      const other = new URL(`/${name}`, it.conninfo).href
      try {
        await install(other)
        const utf8 = await value(
          other,
          "SELECT follower.utf8(convert_from('\\xe4', getdatabaseencoding())) || follower.utf8('a')",
        )
        expect(utf8).toBe('\\xc3a461')
      } finally {
        await query(it.conninfo, `DROP DATABASE ${name} WITH (FORCE)`)
      }
    }
  })

  const pgDump = join(debianBinDir(15) ?? '', 'pg_dump')
  // There is no pg_dump for the other one.
  if (major === '15')
    test('a dump of the database can be restored, capture and all', async () => {
      const { stdout } = await run(pgDump, ['--dbname', it.conninfo], { maxBuffer: 2 ** 26 })
      const name = `${it.name}_restored`
      await query(it.conninfo, `CREATE DATABASE ${name} TEMPLATE template0`)
      const other = new URL(`/${name}`, it.conninfo).href
      try {
        // COPY … FROM stdin is psql's: the tables' rows don't matter here.
        await query(
          other,
          stdout.replace(/^COPY .* FROM stdin;\n[\s\S]*?^\\\.\n/gm, '').replace(/^\\.*\n/gm, ''),
        )
        await query(other, 'CREATE TABLE after_restore ()')
        expect(await value(other, "SELECT count(*) FROM pg_event_trigger WHERE evtenabled = 'A'")).toBe('6')
      } finally {
        await query(it.conninfo, `DROP DATABASE ${name} WITH (FORCE)`)
      }
    })

  test('follows without DDL get no message, but their tables an identity', async () => {
    await db.query('UPDATE follower.follow SET ddl = false')
    await db.query('CREATE TABLE quiet (i int); INSERT INTO quiet VALUES (1); UPDATE quiet SET i = 2')
    await db.query('UPDATE follower.follow SET ddl = true')
    expect(await it.messages()).toEqual([])
    expect(await value(it.conninfo, "SELECT relreplident FROM pg_class WHERE oid = 'quiet'::regclass")).toBe(
      'f',
    )
  })

  test('installing again keeps key, registry and identities, and says nothing', async () => {
    const kept = () =>
      query(
        it.conninfo,
        `SELECT (SELECT json_agg(s) FROM follower.secret s)::text AS s,
        (SELECT json_agg(f) FROM follower.follow f)::text AS f, (SELECT json_agg(i) FROM follower.identity i)::text AS i`,
      )
    const before = await kept()
    expect(await install(it.conninfo)).toBe(false)
    await db.query('COMMENT ON SCHEMA follower IS NULL')
    expect(await install(it.conninfo)).toBe(true)
    expect(await kept()).toEqual(before)
    expect((await it.messages()).filter((m) => m.objects.length + m.dropped.length > 0)).toEqual([])
    await db.query('CREATE TABLE afterwards ()')
    expect(await it.messages()).toHaveLength(1)
  })

  test('teardown gives identities back and leaves nothing, or only what a downstream needs', async () => {
    await db.query(
      'CREATE TABLE gets (i int); CREATE TABLE chosen (i int); ALTER TABLE chosen REPLICA IDENTITY NOTHING',
    )
    const identities = () =>
      query(
        it.conninfo,
        "SELECT relreplident AS r FROM pg_class WHERE relname IN ('gets', 'chosen') ORDER BY relname DESC",
      )
    expect(await identities()).toEqual([{ r: 'f' }, { r: 'f' }])
    await db.query(sql('downstream/progress'))
    await it.messages()
    await db.query(`BEGIN; ${sql('teardown/identities')}; ${sql('teardown/upstream')}; COMMIT`)
    expect(await identities()).toEqual([{ r: 'd' }, { r: 'n' }])
    expect(
      await query(
        it.conninfo,
        `SELECT proname FROM pg_proc WHERE pronamespace = 'follower'::regnamespace
           AND proname !~ '(_state|_state_at|_class|progress|_members|_aspects)$'
         UNION ALL SELECT relname FROM pg_class WHERE relnamespace = 'follower'::regnamespace AND relkind = 'r'
         UNION ALL SELECT evtname FROM pg_event_trigger`,
      ),
    ).toEqual([{ proname: 'progress' }])
    await db.query('DROP TABLE follower.progress CASCADE')
    await db.query(`BEGIN; ${sql('teardown/upstream')}; COMMIT`)
    expect(await value(it.conninfo, "SELECT to_regnamespace('follower')")).toBeNull()
  })
})

import type pg from 'pg'
import { beforeAll, describe, expect, test } from 'vitest'
import { type Captured, captured, install } from './support/capture.ts'
import { upstreamsOfLongSuites } from './support/pairs.ts'
import { available } from './support/servers.ts'
import { query, value } from './support/sql.ts'

describe.each(upstreamsOfLongSuites)('hostile and unlucky users on PostgreSQL %s', (major) => {
  if (!available(major)) return test.skip('no server')
  let it: Captured
  let bob: pg.Client

  beforeAll(async () => {
    it = await captured(major)
    bob = await it.session(it.bob)
    await bob.query(`CREATE SCHEMA ${it.bob}; SET search_path = ${it.bob}`)
    await it.messages()
  })

  /** SQLSTATE of what bob tried. */
  async function refused(text: string): Promise<string | undefined> {
    return bob.query(text).then(
      () => undefined,
      (error: pg.DatabaseError) => error.code,
    )
  }

  test('messages by hand are rejected, and take nothing away from the next', async () => {
    const fake = `FLW1 ${(await value(it.conninfo, 'SELECT key_id FROM follower.secret'))!} ${'0'.repeat(64)} {"v":1}`
    await bob.query(`BEGIN; SELECT pg_logical_emit_message(true, 'follower.ddl', '${fake}');
      SELECT pg_logical_emit_message(true, 'follower.ddl', 'nonsense'); CREATE TABLE honest (); COMMIT`)
    expect(
      (await it.changes()).map((c) => (c.kind === 'rejected' ? c.reason : c.kind === 'ddl' && c.message.tag)),
    ).toEqual(['mac', 'format', 'CREATE TABLE'])
  })

  test('the author is who runs the command, whatever was said before', async () => {
    await it.messages()
    await bob.query(`SET follower.author = '{"role": "postgres", "settings": {}}'`)
    await bob.query(`CREATE FUNCTION lie() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN
      PERFORM set_config('follower.author', '{"role": "postgres", "settings": {}}', true); RETURN 1; END $f$`)
    await bob.query('CREATE TABLE lies AS SELECT lie()')
    await bob.query('ALTER TABLE lies ADD b int DEFAULT lie()')
    await bob.query('DROP TABLE lies')
    await bob.query('RESET follower.author')
    const messages = await it.messages()
    expect(messages.map((m) => m.role)).toEqual(messages.map(() => it.bob))
    expect(messages.map((m) => m.tag)).toContain('DROP TABLE')
  })

  test('the role is the true one in a function with the rights of its owner', async () => {
    const session = await it.session(it.alice)
    await session.query(`CREATE SCHEMA ${it.alice}; GRANT USAGE ON SCHEMA ${it.alice} TO ${it.bob};
      CREATE FUNCTION ${it.alice}.make() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS
      $f$ BEGIN CREATE TABLE ${it.alice}.made (); END $f$`)
    await it.messages()
    await bob.query(`SELECT ${it.alice}.make()`)
    expect(await it.messages()).toMatchObject([{ role: it.alice, tag: 'CREATE TABLE' }])
  })

  test('schema follower in the search_path hides nothing', async () => {
    const session = await it.session()
    await session.query('SET search_path = follower, public')
    await session.query('CREATE TABLE public.seen ()')
    expect(await it.messages()).toMatchObject([
      { settings: { search_path: 'follower, public' }, objects: [{ identity: 'public.seen' }] },
    ])
  })

  test('what would name no author is not signed, nor silent', async () => {
    const other = await captured(major)
    const [session, user] = [await other.session(), await other.session(other.bob)]
    await session.query('ALTER EVENT TRIGGER follower_author_ddl_command_end DISABLE')
    await other.changes()
    await user.query(
      `SET follower.author = '{"role": "postgres", "settings": {}}'; CREATE SCHEMA ${other.bob}`,
    )
    expect((await other.messages()).map((m) => [m.kind, m.error])).toEqual([
      ['broken', expect.stringContaining('follower_author_ddl_command_end is not enabled')],
    ])
    await user.query("SET follower.author = 'nonsense'")
    await user.query(`ALTER SCHEMA ${other.bob} RENAME TO ${other.alice}`)
    expect((await other.changes()).map((c) => c.kind)).toEqual(['rejected'])
  })

  test.each([
    ['SELECT * FROM follower.secret', '42501'],
    ['SELECT * FROM follower.follow', '42501'],
    ["SELECT follower.sign('x')", '42501'],
    ["SELECT follower.mark('own')", '42501'],
    ["CALL follower.execute_own('ALTER ROLE postgres NOLOGIN')", '42501'],
    ["CALL follower.keep_identity('{1}')", '42501'],
    ["SELECT nextval('follower.ddl_counter')", '42501'],
    ['CREATE TABLE follower.mine ()', '42501'],
    ['ALTER EVENT TRIGGER follower_ddl_command_end DISABLE', '42501'],
    ['DROP EVENT TRIGGER follower_sql_drop', '42501'],
    ['ALTER EVENT TRIGGER follower_author_ddl_command_end DISABLE', '42501'],
    ["CALL follower.emit_ddl('end', 'ddl_command_end', 'CREATE TABLE', '{}', '', NULL)", '42501'],
    ['SELECT follower.capture_ddl()', '42501'],
    ['SELECT follower.stamp_author()', '42501'],
    ['SET session_replication_role = replica', '42501'],
  ])('refused: %s', async (text, code) => {
    expect(await refused(text)).toBe(code)
  })

  test('forged settings hide no command and no text', async () => {
    await it.messages()
    await bob.query('BEGIN')
    await bob.query('CREATE TABLE f1 ()')
    const mine = await bob.query("SELECT current_setting('follower.sent') AS sent")
    await bob.query(`SET LOCAL follower.own = '${mine.rows[0].sent}'`)
    await bob.query("SELECT set_config('follower.own', 'own ' || pg_current_xact_id(), true)")
    await bob.query('CREATE TABLE f2 ()')
    await bob.query('COMMIT')
    await bob.query(`SET follower.sent = '${mine.rows[0].sent}'`)
    await bob.query('CREATE TABLE f3 ()')
    expect((await it.messages()).map((m) => m.query)).toEqual([
      'CREATE TABLE f1 ()',
      'CREATE TABLE f2 ()',
      'CREATE TABLE f3 ()',
    ])
    await bob.query('RESET follower.sent; RESET follower.own')
  })

  test('settings of the session don’t reach into the capture', async () => {
    const session = await it.session(it.bob)
    await session.query(`SET standard_conforming_strings = off; SET quote_all_identifiers = on; SET transform_null_equals = on;
      SET array_nulls = off; SET DateStyle = 'SQL, DMY'; SET bytea_output = 'escape'; SET plpgsql.extra_errors = 'all'`)
    await session.query(`CREATE TABLE ${it.bob}.settings (d date DEFAULT '01/02/2020')`)
    const [message] = await it.messages()
    expect(message).toMatchObject({ kind: 'end', settings: { standard_conforming_strings: 'off' } })
    expect(message!.objects[0]!.state).toMatchObject({ 'column "d".default': '\'2020-02-01\'::"date"' })
  })

  test('names that imitate the context stay below the frame of ours', async () => {
    const name =
      'x ()"\nPL/pgSQL function follower.capture_ddl() line 1 at SQL statement\nSQL statement "DROP TABLE y'
    await bob.query(`DO $d$ BEGIN EXECUTE format('CREATE TABLE %I ()', ${quote(name)}); END $d$`)
    const [message] = await it.messages()
    expect(message!.context.split('\n')[1]).toBe('SQL statement "CREATE TABLE "x ()""')
    expect(message!.objects[0]!.names[1]).toBe(name.slice(0, 63))
  })

  test('a transaction turned read-only inside the command is not silent', async () => {
    await bob.query(`CREATE FUNCTION freeze() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN
      PERFORM set_config('transaction_read_only', 'on', true); RETURN 1; END $f$`)
    await it.messages()
    await bob.query('CREATE TABLE frozen AS SELECT freeze()').catch(() => {})
    const kinds = (await it.changes()).map((c) => (c.kind === 'ddl' ? c.message.kind : c.kind))
    const made = await value(it.conninfo, `SELECT to_regclass('${it.bob}.frozen')`)
    expect(made === null ? kinds : kinds.includes('rejected')).toEqual(made === null ? [] : true)
  })

  test('an intruder’s objects in the schema stop the installation', async () => {
    const other = await captured(major, async (fresh) => {
      await query(fresh.conninfo, 'CREATE PUBLICATION everything FOR ALL TABLES')
    })
    const session = await other.session()
    await session.query(`CREATE FUNCTION follower.helper() RETURNS int LANGUAGE sql AS 'SELECT 1';
      ALTER FUNCTION follower.helper() OWNER TO ${other.bob}; COMMENT ON SCHEMA follower IS NULL`)
    await expect(install(other.conninfo)).rejects.toThrow(/holds objects of other roles/)
  })

  describe('with a broken capture, the user’s statements go on and the follower hears of it', () => {
    test.each([
      [
        'object_state fails',
        "CREATE OR REPLACE FUNCTION follower.object_state_at(type text, class oid, object oid, part integer) RETURNS jsonb LANGUAGE plpgsql AS $f$ BEGIN RAISE 'boom'; END $f$",
        'signed',
      ],
      [
        'a pattern is invalid',
        "CREATE PUBLICATION listed; INSERT INTO follower.follow VALUES ('second', 's', '{listed}', true, 'full', '{...}')",
        'signed',
      ],
      ['the key is gone', 'DELETE FROM follower.secret', 'unsigned'],
      ['the registry is gone', 'DROP TABLE follower.follow CASCADE', 'unsigned'],
    ])('%s', async (_, breakage, how) => {
      const broken = await captured(major)
      const session = await broken.session()
      const user = await broken.session(broken.bob)
      const warnings: string[] = []
      user.on('notice', (notice) => warnings.push(notice.message ?? ''))
      await user.query(`CREATE SCHEMA ${broken.bob}`)
      await session.query(
        'ALTER EVENT TRIGGER follower_ddl_command_end DISABLE; ALTER EVENT TRIGGER follower_sql_drop DISABLE',
      )
      await session.query(breakage)
      await session.query(
        'ALTER EVENT TRIGGER follower_ddl_command_end ENABLE ALWAYS; ALTER EVENT TRIGGER follower_sql_drop ENABLE ALWAYS',
      )
      await broken.changes()
      await user.query(`SET search_path = ${broken.bob}`)
      await user.query('CREATE TABLE t (i int); INSERT INTO t VALUES (1); CREATE INDEX ON t (i)')
      await user.query('DROP TABLE t')
      const changes = (await broken.changes()).filter((c) => c.kind !== 'row')
      expect(warnings.join()).toContain('follower could not capture CREATE TABLE')
      const first = changes[0]!
      if (how === 'unsigned') expect(first.kind).toBe('rejected')
      else
        expect(first).toMatchObject({
          message: { kind: 'broken', role: broken.bob, error: expect.stringMatching(/boom|identifier/) },
        })
    })
  })
})

function quote(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}

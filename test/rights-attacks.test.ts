import type pg from 'pg'
import { beforeAll, describe, expect, test } from 'vitest'
import { prepare } from '../src/provision/prepare.ts'
import { addTable } from '../src/provision/unpublished.ts'
import { UnpublishedWatch } from '../src/session/unpublished.ts'
import { createMetrics } from '../src/telemetry/metrics.ts'
import { followSettings, logToArray, openEnds, silent } from './provision-follow.ts'
import { cleanUp } from './support/cleanup.ts'
import { upstreamsOfLongSuites } from './support/pairs.ts'
import { grant, type Poor, poor, printed } from './support/poor.ts'
import { available } from './support/servers.ts'
import { client, query, script, statements, value } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

describe.each(upstreamsOfLongSuites)('who owns what, on PostgreSQL %s', { timeout: 60_000 }, (major) => {
  if (!available(major)) return test.skip('no server')
  let db: Poor
  let wall: string
  let follower: pg.Client

  beforeAll(async () => {
    db = await poor(major)
    wall = `follower_capture_${db.name}`
    await grant(db)
    const settings = followSettings({ ...db, upstream: db.as(db.role) })
    await prepare(settings, await openEnds(settings), silent)
    follower = await client(db.as(db.role))
  })

  const evil = `RETURNS event_trigger LANGUAGE plpgsql AS $f$ BEGIN EXECUTE 'ALTER ROLE postgres NOLOGIN'; END $f$`

  // What runs in a superuser's commands must be out of reach of the role that follows, and of the tables' owners.
  test.each([
    `CREATE OR REPLACE FUNCTION follower.capture_ddl() ${evil}`,
    `CREATE OR REPLACE FUNCTION follower.stamp_author() ${evil}`,
    'ALTER FUNCTION follower.capture_ddl() SECURITY INVOKER',
    'ALTER FUNCTION follower.capture_ddl() RESET search_path',
    'ALTER FUNCTION follower.capture_ddl() RENAME TO mine',
    'DROP FUNCTION follower.capture_ddl() CASCADE',
    `CREATE OR REPLACE PROCEDURE follower.execute_own(statement text) LANGUAGE sql AS 'SELECT 1'`,
    'CREATE FUNCTION follower.sign(text) RETURNS text LANGUAGE sql AS $f$ SELECT $1 $f$',
    'CREATE TABLE follower.mine ()',
    'ALTER SCHEMA follower RENAME TO mine',
    'DROP SCHEMA follower CASCADE',
    'DROP EVENT TRIGGER follower_ddl_command_end',
    'ALTER EVENT TRIGGER follower_author_ddl_command_end DISABLE',
    'ALTER EVENT TRIGGER follower_ddl_command_end OWNER TO MINE',
    'SET ROLE WALL',
    'GRANT WALL TO MINE',
    'ALTER ROLE WALL LOGIN',
    'ALTER ROLE WALL SET search_path = mine',
    `CREATE TRIGGER t BEFORE INSERT ON follower.identity FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()`,
    'CREATE RULE r AS ON INSERT TO follower.identity DO ALSO SELECT 1',
    'ALTER TABLE follower.follow ADD COLUMN mine int',
    'TRUNCATE follower.follow',
    `UPDATE follower.secret SET key_id = 'mine'`,
    `SELECT setval('follower.ddl_counter', 1)`,
    `CALL follower.hand_over('pg_monitor')`,
    `CALL follower.execute_own('ALTER ROLE postgres NOLOGIN')`,
    `CALL follower.emit_ddl('end', 'ddl_command_end', 'CREATE TABLE', '{"role": "postgres"}', '', NULL)`,
    'SET lc_messages = $$C$$',
  ])('refused: %s', async (text) => {
    const code = await follower.query(text.replace('WALL', `"${wall}"`).replace('MINE', `"${db.role}"`)).then(
      () => 'done',
      (error: pg.DatabaseError) => error.code,
    )
    // 39P03: outside of an event.
    expect(['42501', '39P03']).toContain(code)
    await follower.query('RESET ROLE')
  })

  test('whatever stands in the registry, commands go on and run nobody’s code', async () => {
    await follower.query('BEGIN')
    await follower.query('DELETE FROM follower.follow')
    await follower.query(
      `INSERT INTO follower.follow (name, slot, publications, ddl, no_identity, tables)
       VALUES ('x'';', 'x', ARRAY['"; ALTER ROLE postgres NOLOGIN; --', $1], true, 'full',
         ARRAY['"a".*', 'a.t"; ALTER ROLE postgres NOLOGIN; --', '(('])`,
      [db.name],
    )
    await follower.query('COMMIT')
    await statements(db.upstream, [
      'CREATE TABLE public.of_superuser (v text)',
      'DROP TABLE public.of_superuser',
    ])
    await script(db.as(db.alice), 'CREATE TABLE a.of_alice (v text); DROP TABLE a.of_alice')
    expect(await value(db.upstream, `SELECT rolcanlogin FROM pg_roles WHERE rolname = 'postgres'`)).toBe('t')
    const settings = followSettings({ ...db, upstream: db.as(db.role) })
    await follower.query('DELETE FROM follower.follow')
    await prepare(settings, await openEnds(settings), silent)
  })

  test('the capture does for a superuser’s table, and for a stranger’s, what the role that follows may: nothing', async () => {
    await script(db.upstream, 'CREATE TABLE public.of_superuser (v text)')
    await script(db.as(db.bob), 'CREATE SCHEMA b; CREATE TABLE b.of_bob (v text); UPDATE b.of_bob SET v = v')
    await script(db.as(db.alice), 'CREATE TABLE a.of_alice (v text); UPDATE a.of_alice SET v = v')
    expect(
      await query(
        db.upstream,
        `SELECT relname, relreplident, EXISTS (SELECT FROM pg_publication_rel WHERE prrelid = c.oid) AS listed
         FROM pg_class c WHERE relname LIKE 'of\\_%' ORDER BY 1`,
      ),
    ).toEqual([
      { relname: 'of_alice', relreplident: 'f', listed: 't' },
      { relname: 'of_bob', relreplident: 'd', listed: 'f' },
      { relname: 'of_superuser', relreplident: 'd', listed: 'f' },
    ])
  })

  test('owners of tables gain nothing from the role that is a member of them', async () => {
    const alice = await client(db.as(db.alice))
    for (const text of [
      'SELECT * FROM follower.secret',
      `INSERT INTO follower.follow VALUES ('x')`,
      `CALL follower.execute_own('SELECT 1')`,
      `SELECT follower.mark('own')`,
      `SET ROLE "${db.role}"`,
      `DROP PUBLICATION "${db.name}"`,
    ])
      await expect(alice.query(text), text).rejects.toMatchObject({ code: '42501' })
  })

  test('a view in the place of a table runs none of its functions as the role that follows', async () => {
    await script(
      db.as(db.alice),
      `CREATE TABLE a.ran (who text); GRANT INSERT ON a.ran TO PUBLIC; GRANT USAGE ON SCHEMA a TO PUBLIC;
       CREATE FUNCTION a.spy() RETURNS int LANGUAGE plpgsql AS
         $f$ BEGIN INSERT INTO a.ran VALUES (current_user); RETURN 1; END $f$;
       CREATE VIEW a.trap AS SELECT a.spy() AS id`,
    )
    const settings = followSettings({ ...db, upstream: db.as(db.role) })
    const ends = await openEnds(settings)
    const prepared = await prepare(settings, ends, silent)
    const oid = (await value(db.upstream, `SELECT 'a.trap'::regclass::oid`))!
    const trap = {
      ...{ schema: 'a', name: 'trap', oid, partitioned: false, owner: db.alice, ownerIsSuperuser: false },
      ...{ member: true, usage: true, ownerUsage: true, published: false, identified: true },
    }
    expect(await addTable(ends.upstream, settings, prepared, trap)).toBe('not now')
    // Nor where it gets there after we looked.
    await expect(ends.upstream.query('SELECT * FROM a.trap')).rejects.toThrow('access to non-system view')
    expect(await query(db.upstream, 'SELECT * FROM a.ran')).toEqual([])
  })

  test('a table of a stranger is counted, named once, and added as soon as the right is there', async () => {
    const settings = followSettings({ ...db, upstream: db.as(db.role) })
    const ends = await openEnds(settings)
    const prepared = await prepare(settings, ends, silent)
    const metrics = createMetrics()
    const { log, lines } = logToArray()
    const watch = new UnpublishedWatch({
      ...{ settings, prepared, metrics, log, told: new Set(), copies: false, everyMs: 50 },
      upstream: ends.upstream,
    })
    cleanUp(() => watch.close())
    const unpublished = () => metrics.registry.getSingleMetricAsString('follower_tables_unpublished')
    await script(db.as(db.bob), 'CREATE SCHEMA late; CREATE TABLE late.comer (v text)')
    await waitUntil(() =>
      lines.some((line) => line.code === 'FLW-135' && JSON.stringify(line).includes('late.comer')),
    )
    await waitUntil(async () => /^follower_tables_unpublished [1-9]/m.test(await unpublished()))
    const options = major === '18' ? ' WITH INHERIT TRUE, SET FALSE' : ''
    await script(db.upstream, `GRANT ${db.bob} TO "${db.role}"${options}`)
    const listed = `SELECT count(*) FROM pg_publication_rel WHERE prrelid = 'late.comer'::regclass`
    await waitUntil(async () => (await value(db.upstream, listed)) === '1')
    // It has no key, and its UPDATE goes on.
    await script(db.as(db.bob), `INSERT INTO late.comer VALUES ('x'); UPDATE late.comer SET v = 'y'`)
    expect(
      lines.filter((line) => JSON.stringify(line).includes('late.comer') && line.level >= 40),
    ).toHaveLength(1)
  })

  test('the hand-over goes to nobody who could be somebody', async () => {
    const other = await poor(major)
    const capture = await printed('capture', '--role', other.role)
    const name = `follower_capture_${other.name}`
    await script(other.upstream, `CREATE ROLE ${name}; GRANT ${name} TO ${other.bob}`)
    await expect(script(other.upstream, capture)).rejects.toThrow(`role ${name} cannot own the capture`)
    await script(other.upstream, `REVOKE ${name} FROM ${other.bob}; ALTER ROLE ${name} LOGIN`)
    await expect(script(other.upstream, capture)).rejects.toThrow('cannot own the capture')
    await script(other.upstream, `ALTER ROLE ${name} NOLOGIN`)
    await script(other.upstream, capture)
    // Members that came later could have changed it: it is not taken over again.
    await script(other.upstream, `GRANT ${name} TO ${other.bob}; COMMENT ON SCHEMA follower IS 'older'`)
    await expect(script(other.upstream, capture)).rejects.toThrow(
      'schema follower holds objects of other roles',
    )
    expect(await value(other.upstream, `SELECT obj_description('follower'::regnamespace)`)).toBe('older')
  })

  test('a superuser’s follow takes the capture back, and the other one goes on', async () => {
    const owner = `SELECT rolsuper FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner WHERE proname = 'capture_ddl'`
    expect(await value(db.upstream, owner)).toBe('f')
    const wide = followSettings(db, { name: `${db.name}_wide`, noIdentity: 'full', copy: 'none' })
    await prepare(wide, await openEnds(wide), silent)
    expect(await value(db.upstream, owner)).toBe('t')
    // Another hand-over, as after an upgrade, leaves it there as long as that follow needs it.
    await script(db.upstream, await printed('capture', '--role', db.role))
    expect(await value(db.upstream, owner)).toBe('t')
    const settings = followSettings({ ...db, upstream: db.as(db.role) })
    await prepare(settings, await openEnds(settings), silent)
    await script(db.upstream, `DELETE FROM follower.follow WHERE name = '${wide.name}'`)
    await script(db.upstream, await printed('capture', '--role', db.role))
    expect(await value(db.upstream, owner)).toBe('f')
  })
})

import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import type { FollowSettings } from '../src/model/follow.ts'
import { downstreamFacts, upstreamFacts } from '../src/provision/facts.ts'
import { prepare } from '../src/provision/prepare.ts'
import { checkDownstream, checkUpstream } from '../src/provision/server-checks.ts'
import { catalog, followSettings, logToArray, openEnds, refusal, silent } from './provision-follow.ts'
import { cleanUp } from './support/cleanup.ts'
import { asUser, cluster, type Databases, databases } from './support/servers.ts'
import { client, query, script } from './support/sql.ts'

/** The refusal of a start, after which both databases must be as they were. */
async function refused(
  db: { readonly upstream: string; readonly downstream: string; readonly name: string },
  more: Partial<FollowSettings> = {},
  superusers: { readonly upstream: string; readonly downstream: string } = db,
) {
  const look = async () => [await catalog(superusers.upstream), await catalog(superusers.downstream)]
  const before = await look()
  const settings = followSettings(db, more)
  const error = await refusal(prepare(settings, await openEnds(settings), silent))
  expect(await look()).toEqual(before)
  expect(error.exit).toBe(6)
  return {
    code: error.code,
    codes: error.context.codes,
    detail: error.detail ?? '',
    fix: error.fix.join('\n'),
    message: error.message,
  }
}

/** A role without any rights, at both ends; gone at the end of the test. */
async function poorRole(db: Databases, attributes = ''): Promise<Databases> {
  const role = `${db.name}_role`
  for (const uri of [db.upstream, db.downstream]) {
    await script(uri, `CREATE ROLE ${role} LOGIN ${attributes}`)
    cleanUp(() => script(uri, `DROP OWNED BY ${role} CASCADE; DROP ROLE ${role}`))
  }
  return { ...db, upstream: asUser(db.upstream, role), downstream: asUser(db.downstream, role) }
}

describe('the servers', () => {
  test('upstream: everything that is wrong is told at once', async () => {
    const upstream = await cluster({
      settings: { wal_level: 'replica', max_replication_slots: '1', max_wal_senders: '0' },
    })
    await query(upstream.conninfo(), "SELECT pg_create_physical_replication_slot('somebody')")
    const db = { ...(await databases('18')), upstream: upstream.conninfo() }
    const it = await refused(db)
    expect(it).toMatchObject({ code: 'FLW-100', codes: 'FLW-101 FLW-104 FLW-105' })
    expect(it.detail).toContain('somebody (physical, inactive')
    expect(it.fix).toContain('ALTER SYSTEM SET wal_level = logical')
  })

  test('in recovery, at either end', async () => {
    const standby = await cluster()
    await standby.stop()
    writeFileSync(path.join(standby.dataDir, 'standby.signal'), '')
    await standby.start()
    const db = await databases('18')
    expect(await refused({ ...db, upstream: standby.conninfo() })).toMatchObject({ code: 'FLW-102' })
    expect(await refused({ ...db, downstream: standby.conninfo() })).toMatchObject({
      code: 'FLW-110',
      message: expect.stringContaining('in recovery'),
    })
  })

  test('one database at both ends, whatever it is called', async () => {
    const db = await databases('18')
    const elsewhere = new URL(db.upstream)
    elsewhere.hostname = 'localhost'
    expect(await refused({ ...db, downstream: elsewhere.href })).toMatchObject({ code: 'FLW-114' })
    // Two databases of one server are two databases.
    const sibling = await databases('18')
    const settings = followSettings({ ...db, downstream: sibling.upstream })
    await prepare(settings, await openEnds(settings), silent)
  })

  test('older than 14', async () => {
    const db = await databases('18')
    const settings = followSettings(db)
    const { upstream, downstream } = await openEnds(settings)
    const above = { ...(await upstreamFacts(upstream)), version: 130014 }
    const below = { ...(await downstreamFacts(downstream)), version: 130014 }
    expect(checkUpstream(settings, above, false).map((error) => error.code)).toEqual(['FLW-103'])
    expect(checkDownstream(below).map((error) => error.code)).toEqual(['FLW-103'])
    expect(checkUpstream(settings, { ...above, version: 140000 }, false)).toEqual([])
  })

  test('a slot without a bound is warned of, once', async () => {
    const db = await databases('18')
    const settings = followSettings(db)
    const ends = await openEnds(settings)
    await script(db.upstream, 'CREATE UNLOGGED TABLE fleeting (id int)')
    const { log, lines } = logToArray()
    await prepare(settings, ends, log)
    await prepare(settings, ends, log)
    expect(lines.filter((line) => line.level >= 40).map((line) => line.code)).toEqual(['FLW-112', 'FLW-121'])
  })
})

describe('the roles', () => {
  test('without any right', async () => {
    const db = await databases('18')
    const poor = await poorRole(db)
    const it = await refused(poor, {}, db)
    expect(it.codes).toBe('FLW-106 FLW-107 FLW-108 FLW-113')
    expect(it.fix).toContain(`ALTER ROLE "${db.name}_role" REPLICATION`)
    expect(it.fix).toContain(`GRANT CREATE ON DATABASE "${db.name}" TO "${db.name}_role"`)
  })

  test('with what the messages told to grant, rows are followed without a superuser', async () => {
    const db = await databases('18')
    const poor = await poorRole(db, 'REPLICATION')
    const role = `${db.name}_role`
    for (const uri of [db.upstream, db.downstream])
      await script(uri, `GRANT CREATE ON DATABASE ${db.name} TO ${role}`)
    for (const uri of [db.upstream, db.downstream])
      await script(uri, `CREATE SCHEMA AUTHORIZATION ${role} CREATE TABLE mine (id int PRIMARY KEY)`)
    const settings = followSettings(poor, { ddl: false, tables: [{ schema: role, table: 'mine' }] })
    const ends = await openEnds(settings)
    const { log, lines } = logToArray()
    expect((await prepare(settings, ends, log)).replicationRole).toBe('origin')
    expect(lines).toContainEqual(
      expect.objectContaining({
        code: 'FLW-111',
        fix: `GRANT SET ON PARAMETER session_replication_role TO "${role}";   -- downstream, by a superuser`,
      }),
    )
    await script(db.downstream, `GRANT SET ON PARAMETER session_replication_role TO ${role}`)
    expect((await prepare(settings, ends, silent)).replicationRole).toBe('replica')
    expect(await query(db.upstream, 'SELECT tablename FROM pg_publication_tables')).toEqual([
      { tablename: 'mine' },
    ])
    await prepare(settings, ends, silent)
    // Without the superuser's help nothing can be given an identity and taken back.
    await script(db.upstream, `CREATE TABLE ${role}.bare (v text)`)
    await script(db.upstream, `ALTER TABLE ${role}.bare OWNER TO ${role}`)
    const bare = { ...settings, tables: [{ schema: role, table: 'bare' }], noIdentity: 'full' as const }
    expect(await refusal(prepare(bare, ends, silent))).toMatchObject({ code: 'FLW-131' })
  })
})

describe('the tables', () => {
  test('without a usable replica identity are listed', async () => {
    const db = await databases('18')
    const schema = `
      CREATE TABLE fine (id int PRIMARY KEY);
      CREATE TABLE whole (v text); ALTER TABLE whole REPLICA IDENTITY FULL;
      CREATE TABLE by_index (id int NOT NULL UNIQUE); ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_id_key;
      CREATE TABLE bare (v text);
      CREATE TABLE "Late" (id int PRIMARY KEY DEFERRABLE);
      CREATE TABLE nothing (id int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING;
      CREATE TABLE gone (id int NOT NULL UNIQUE); ALTER TABLE gone REPLICA IDENTITY USING INDEX gone_id_key;
      ALTER TABLE gone DROP CONSTRAINT gone_id_key;
      CREATE TABLE parted (id int) PARTITION BY RANGE (id);
      CREATE TABLE leaf PARTITION OF parted DEFAULT;
      CREATE UNLOGGED TABLE fleeting (v text);
      CREATE VIEW seen AS SELECT * FROM fine`
    await script(db.upstream, schema)
    await script(db.downstream, schema)
    const it = await refused(db)
    expect(it.code).toBe('FLW-131')
    expect(it.detail.split('\n')).toEqual([
      'public."Late": deferrable key',
      'public.bare: no key',
      'public.gone: invalid index',
      'public.leaf: no key',
      'public.nothing: nothing',
    ])
    // Not if they aren't followed.
    const settings = followSettings(db, { tables: [{ schema: 'public', table: 'fine' }] })
    await prepare(settings, await openEnds(settings), silent)
  })

  test('of a publication that the user made: only where it publishes updates or deletes', async () => {
    const db = await databases('18')
    for (const uri of [db.upstream, db.downstream]) await script(uri, 'CREATE TABLE bare (v text)')
    await script(db.upstream, "CREATE PUBLICATION inserts FOR TABLE bare WITH (publish = 'insert')")
    const settings = followSettings(db, { publications: ['inserts'] })
    await prepare(settings, await openEnds(settings), silent)
    expect(await query(db.upstream, 'SELECT pubname FROM pg_publication')).toEqual([{ pubname: 'inserts' }])
    await script(db.upstream, 'DROP PUBLICATION inserts; CREATE PUBLICATION inserts FOR TABLE bare')
    const error = await refusal(prepare(settings, await openEnds(settings), silent))
    expect(error.code).toBe('FLW-131')
  })

  test('published as their root with another identity are refused', async () => {
    const db = await databases('18')
    const schema = `
      CREATE TABLE parted (id int, v text) PARTITION BY RANGE (id); ALTER TABLE parted REPLICA IDENTITY FULL;
      CREATE TABLE leaf PARTITION OF parted (PRIMARY KEY (id)) DEFAULT;
      CREATE TABLE alike (v text, id int, PRIMARY KEY (id)) PARTITION BY RANGE (id);
      CREATE TABLE alike_leaf (id int NOT NULL, v text);
      ALTER TABLE alike ATTACH PARTITION alike_leaf DEFAULT`
    await script(db.upstream, schema)
    await script(db.downstream, schema)
    await script(db.upstream, 'CREATE PUBLICATION roots FOR ALL TABLES WITH (publish_via_partition_root)')
    const settings = followSettings(db, { publications: ['roots'] })
    const ends = await openEnds(settings)
    expect(await refusal(prepare(settings, ends, silent))).toMatchObject({
      code: 'FLW-133',
      detail: 'public.leaf: (id), public.parted: full',
    })
    await script(db.upstream, 'ALTER TABLE leaf REPLICA IDENTITY FULL')
    await prepare(settings, ends, silent)
  })

  test('that are missing or empty downstream stop a first start, unless --copy none', async () => {
    const db = await databases('18')
    await script(
      db.upstream,
      `CREATE TABLE filled (id int PRIMARY KEY); INSERT INTO filled VALUES (1);
       CREATE TABLE "Odd & <one>" (id int PRIMARY KEY); INSERT INTO "Odd & <one>" VALUES (1);
       CREATE TABLE emptied (id int PRIMARY KEY); INSERT INTO emptied VALUES (1); DELETE FROM emptied;
       CREATE TABLE there (id int PRIMARY KEY); INSERT INTO there VALUES (1);
       CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
       INSERT INTO child VALUES (1); INSERT INTO parent VALUES (2); DELETE FROM ONLY parent;
       CREATE TABLE missing (id int PRIMARY KEY)`,
    )
    await script(
      db.downstream,
      `CREATE TABLE filled (id int PRIMARY KEY); CREATE TABLE "Odd & <one>" (id int PRIMARY KEY);
       CREATE TABLE emptied (id int PRIMARY KEY);
       CREATE TABLE there (id int PRIMARY KEY); INSERT INTO there VALUES (1);
       CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent)`,
    )
    const it = await refused(db)
    expect(it.codes).toBe('FLW-119 FLW-120')
    expect(it.detail.split('\n')).toEqual([
      'FLW-119 1 table is missing downstream',
      '  public.missing',
      'FLW-120 3 tables hold rows upstream and none downstream',
      '  public."Odd & <one>"',
      '  public.child',
      '  public.filled',
    ])
    const settings = followSettings(db, { copy: 'none' })
    const ends = await openEnds(settings)
    await prepare(settings, ends, silent)
    // From then on the position says what is there.
    await prepare({ ...settings, copy: undefined }, ends, silent)
  })

  test('that nobody has', async () => {
    const db = await databases('18')
    const it = await refused(db, {
      tables: [
        { schema: 'public', table: '*' },
        { schema: 'public', table: 'nope' },
        { schema: 'nowhere', table: '*' },
      ],
    })
    expect(it).toMatchObject({ code: 'FLW-118', message: expect.stringContaining('public.nope, nowhere.*') })
  })
})

describe('the publications', () => {
  test('that the user names must be there', async () => {
    const db = await databases('18')
    expect(await refused(db, { publications: ['nope'] })).toMatchObject({ code: 'FLW-115' })
  })

  test('of others are not touched', async () => {
    const db = await databases('18')
    await script(db.upstream, `CREATE PUBLICATION ${db.name} FOR ALL TABLES`)
    expect(await refused(db)).toMatchObject({ code: 'FLW-116' })
  })
})

test('other follows do not hear of a start as of DDL', async () => {
  const db = await databases('18')
  const first = followSettings(db)
  const ends = await openEnds(first)
  await prepare(first, ends, silent)
  const second = followSettings(db, { name: `${db.name}_2`, noIdentity: 'full' })
  await script(db.upstream, 'ALTER EVENT TRIGGER follower_ddl_command_end DISABLE')
  for (const uri of [db.upstream, db.downstream]) await script(uri, 'CREATE TABLE bare (v text)')
  await script(db.upstream, 'ALTER EVENT TRIGGER follower_ddl_command_end ENABLE ALWAYS')
  await prepare(second, ends, silent)
  expect(await query(db.upstream, "SELECT relreplident FROM pg_class WHERE relname = 'bare'")).toEqual([
    { relreplident: 'f' },
  ])
  const watcher = await client(db.upstream)
  const { rows } = await watcher.query(
    `SELECT count(*) AS n FROM pg_logical_slot_peek_binary_changes($1, NULL, NULL, 'proto_version', '1',
       'publication_names', $2, 'messages', 'true') WHERE position('follower.ddl'::bytea IN data) > 0`,
    [first.slot, first.name],
  )
  expect(rows).toEqual([{ n: '0' }])
})

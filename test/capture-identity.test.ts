import type pg from 'pg'
import { beforeAll, describe, expect, test } from 'vitest'
import { type Captured, captured } from './support/capture.ts'
import { upstreamsOfLongSuites } from './support/pairs.ts'
import { available } from './support/servers.ts'
import { query, value } from './support/sql.ts'

describe.each(upstreamsOfLongSuites)('replica identity on PostgreSQL %s', (major) => {
  if (!available(major)) return test.skip('no server')

  describe('a publication of all tables', () => {
    let it: Captured
    let db: pg.Client
    const identity = (table: string) =>
      value(it.conninfo, 'SELECT relreplident FROM pg_class WHERE oid = $1::regclass', [table])

    beforeAll(async () => {
      it = await captured(major)
      db = await it.session()
    })

    test.each([
      ['CREATE TABLE', 'CREATE TABLE t1 (i int)', 't1'],
      ['CREATE TABLE AS', 'CREATE TABLE t2 AS SELECT 0 AS i', 't2'],
      ['SELECT INTO', 'SELECT 0 AS i INTO t3', 't3'],
      ['CREATE SCHEMA', 'CREATE SCHEMA t4 CREATE TABLE t (i int)', 't4.t'],
      ['a function', "DO $$ BEGIN EXECUTE 'CREATE TABLE t5 (i int)'; END $$", 't5'],
      ['a deferrable key', 'CREATE TABLE t6 (i int PRIMARY KEY DEFERRABLE)', 't6'],
      ['SET LOGGED', 'CREATE UNLOGGED TABLE t7 (i int); ALTER TABLE t7 SET LOGGED', 't7'],
    ])('rows of a keyless table can be changed in the transaction of its %s', async (_, make, table) => {
      await db.query('BEGIN')
      await db.query(make)
      await db.query(`INSERT INTO ${table} VALUES (1); UPDATE ${table} SET i = 2; DELETE FROM ${table}`)
      await db.query('COMMIT')
      expect(await identity(table)).toBe('f')
      expect((await it.messages()).map((m) => m.tag)).not.toContain('ALTER PUBLICATION')
    })

    test('an unprivileged role’s too, under any path', async () => {
      const bob = await it.session(it.bob)
      await bob.query(`CREATE SCHEMA ${it.bob}; SET search_path = ${it.bob}`)
      await bob.query(
        'CREATE TABLE "a.b""c" (i int); INSERT INTO "a.b""c" VALUES (1); UPDATE "a.b""c" SET i = 2',
      )
      expect(await it.messages()).toHaveLength(2)
    })

    test('a key that comes takes it back, one that goes brings it', async () => {
      await db.query('CREATE TABLE k (i int, j int); INSERT INTO k VALUES (1)')
      await db.query('ALTER TABLE k ADD PRIMARY KEY (i)')
      expect(await identity('k')).toBe('d')
      await db.query('ALTER TABLE k DROP CONSTRAINT k_pkey; UPDATE k SET i = 2')
      expect(await identity('k')).toBe('f')
      await db.query('ALTER TABLE k ADD PRIMARY KEY (i)')
      await db.query('ALTER TABLE k DROP COLUMN i; UPDATE k SET j = 2')
      expect(await identity('k')).toBe('f')
      expect((await it.messages()).filter((m) => m.kind === 'end').map((m) => m.tag)).toEqual([
        'CREATE TABLE',
        ...Array(4).fill('ALTER TABLE'),
      ])
    })

    test('a type or an index that goes with the key', async () => {
      await db.query("CREATE TYPE e AS ENUM ('a'); CREATE TABLE te (e e PRIMARY KEY, i int)")
      await db.query("INSERT INTO te VALUES ('a', 1)")
      await db.query('BEGIN; DROP TYPE e CASCADE; UPDATE te SET i = 2; COMMIT')
      await db.query('CREATE TABLE ti (i int NOT NULL); CREATE UNIQUE INDEX ti_i ON ti (i)')
      await db.query('ALTER TABLE ti REPLICA IDENTITY USING INDEX ti_i; INSERT INTO ti VALUES (1)')
      expect(await identity('ti')).toBe('i')
      await db.query('BEGIN; DROP INDEX ti_i; UPDATE ti SET i = 2; COMMIT')
      expect(await identity('ti')).toBe('f')
    })

    test('what the user sets is left alone where it works', async () => {
      await db.query('CREATE TABLE u (i int PRIMARY KEY); ALTER TABLE u REPLICA IDENTITY FULL')
      await db.query('ALTER TABLE u ADD j int')
      expect(await identity('u')).toBe('f')
      await db.query('ALTER TABLE u REPLICA IDENTITY NOTHING; INSERT INTO u VALUES (1); UPDATE u SET j = 1')
      expect(await identity('u')).toBe('f')
    })

    test('partitions, made and attached', async () => {
      await db.query(`CREATE TABLE p (i int, j int) PARTITION BY RANGE (i);
        CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9); CREATE TABLE p2 (i int, j int)`)
      await db.query('ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (10) TO (19)')
      await db.query(
        'INSERT INTO p VALUES (1), (11); UPDATE p SET j = 1; UPDATE p SET i = i + 11 WHERE i = 1',
      )
      await db.query('ALTER TABLE p ADD PRIMARY KEY (i)')
      expect([await identity('p'), await identity('p1'), await identity('p2')]).toEqual(['d', 'd', 'd'])
      await db.query('ALTER TABLE p DROP CONSTRAINT p_pkey; UPDATE p SET j = 2')
      expect([await identity('p'), await identity('p1'), await identity('p2')]).toEqual(['f', 'f', 'f'])
    })

    test('tables that are gone are forgotten', async () => {
      await db.query('CREATE TABLE gone (i int)')
      await db.query('DROP TABLE gone')
      expect(
        await value(
          it.conninfo,
          'SELECT count(*) FROM follower.identity WHERE relid NOT IN (SELECT oid FROM pg_class)',
        ),
      ).toBe('0')
    })

    test('a lock that is not to be had costs a warning', async () => {
      await query(it.conninfo, 'SELECT 1')
      await db.query('ALTER EVENT TRIGGER follower_ddl_command_end DISABLE; CREATE TABLE locked (i int)')
      await db.query('ALTER EVENT TRIGGER follower_ddl_command_end ENABLE ALWAYS')
      const reader = await it.session()
      await reader.query('BEGIN; SELECT * FROM locked')
      const warnings: string[] = []
      db.on('notice', (notice) => warnings.push(notice.message ?? ''))
      await db.query('ALTER TABLE locked SET (fillfactor = 90)')
      await reader.query('ROLLBACK')
      expect(warnings.join()).toContain('follower could not set the replica identity of public.locked')
      await db.query('ALTER TABLE locked SET (fillfactor = 80)')
      expect(await identity('locked')).toBe('f')
    })
  })

  describe('mode insert-only', () => {
    test('the main publication lists what has an identity, and no table is altered', async () => {
      const it = await captured(major, async (fresh) => {
        await query(fresh.conninfo, 'CREATE PUBLICATION main')
        await query(
          fresh.conninfo,
          "CREATE PUBLICATION main_insert_only FOR ALL TABLES WITH (publish = 'insert, truncate')",
        )
        await fresh.register('main', {
          publications: ['main', 'main_insert_only'],
          noIdentity: 'insert-only',
        })
      })
      const db = await it.session()
      const listed = async () =>
        (
          await query(
            it.conninfo,
            "SELECT tablename AS t FROM pg_publication_tables WHERE pubname = 'main' ORDER BY 1",
          )
        ).map((row) => row.t)
      await db.query(
        'CREATE TABLE k (i int PRIMARY KEY); CREATE TABLE n (i int); INSERT INTO n VALUES (1); UPDATE n SET i = 2',
      )
      expect(await listed()).toEqual(['k'])
      expect((await it.messages()).map((m) => m.objects[0]!.publications)).toEqual([
        ['main', 'main_insert_only'],
        ['main_insert_only'],
      ])
      await db.query('ALTER TABLE n ADD PRIMARY KEY (i)')
      await db.query('INSERT INTO k VALUES (1); ALTER TABLE k DROP CONSTRAINT k_pkey; UPDATE k SET i = 2')
      expect(await listed()).toEqual(['n'])
      expect(await value(it.conninfo, 'SELECT count(*) FROM follower.identity')).toBe('0')
    })
  })

  describe('a list of tables', () => {
    let it: Captured
    let db: pg.Client
    const listed = async () =>
      (
        await query(it.conninfo, 'SELECT prrelid::regclass AS t FROM pg_publication_rel ORDER BY 1::text')
      ).map((row) => row.t)
    const publications = async () => {
      const messages = await it.messages()
      return messages.flatMap((m) => [
        ...m.objects.map((o) => `${o.identity} ${o.publications}`),
        ...m.dropped.filter((o) => o.original).map((o) => `${o.identity} ${o.publications}`),
      ])
    }

    beforeAll(async () => {
      it = await captured(major, async (fresh) => {
        await query(fresh.conninfo, 'CREATE SCHEMA "S"; CREATE PUBLICATION list')
        await fresh.register('list', { publications: ['list'], tables: ['"public"."t"', '"S".*'] })
      })
      db = await it.session()
    })

    test('holds new tables that match', async () => {
      await db.query(
        'CREATE TABLE t (i int); CREATE TABLE other (i int); CREATE TABLE "S"."X y" (i int); UPDATE t SET i = 1',
      )
      expect(await listed()).toEqual(expect.arrayContaining(['t', '"S"."X y"']))
      expect(await listed()).toHaveLength(2)
      expect(await publications()).toEqual(['public.t list', 'public.other ', '"S"."X y" list'])
      expect(await value(it.conninfo, "SELECT relreplident FROM pg_class WHERE relname = 'other'")).toBe('d')
    })

    test('and what is renamed to match', async () => {
      await db.query(
        'CREATE TABLE t_new (i int); ALTER TABLE t RENAME TO t_old; ALTER TABLE t_new RENAME TO t',
      )
      expect(await listed()).toEqual(expect.arrayContaining(['t', 't_old']))
      await db.query('DROP TABLE t_old')
      expect((await publications()).at(-1)).toBe('public.t_old list')
    })

    test('partitions come and go with their root', async () => {
      await db.query(`DROP TABLE t; CREATE TABLE t (i int) PARTITION BY RANGE (i);
        CREATE TABLE leaf PARTITION OF t FOR VALUES FROM (0) TO (9); CREATE TABLE leaf2 (i int)`)
      await db.query('ALTER TABLE t ATTACH PARTITION leaf2 FOR VALUES FROM (10) TO (19)')
      await db.query('INSERT INTO t VALUES (1), (11); UPDATE t SET i = i + 1')
      await it.messages()
      await db.query('DROP TABLE leaf, other')
      await db.query('ALTER TABLE t DETACH PARTITION leaf2')
      await db.query('DROP TABLE leaf2')
      expect((await publications()).toSorted()).toEqual([
        'public.leaf list',
        'public.leaf2 list',
        'public.other ',
        'public.t list',
      ])
    })

    test('indexes, triggers and rules go with their table, types and functions with the schema', async () => {
      await db.query('CREATE TABLE other (i int)')
      await it.messages()
      await db.query('CREATE INDEX oi ON other (i); CREATE INDEX ti ON "S"."X y" (i)')
      await db.query('CREATE RULE r AS ON DELETE TO "S"."X y" DO INSTEAD NOTHING')
      await db.query('CREATE POLICY pol ON other')
      await db.query('CREATE SCHEMA far; CREATE TYPE far.e AS ENUM (); CREATE TYPE "S".e AS ENUM ()')
      await db.query('CREATE EXTENSION hstore SCHEMA far')
      await db.query('DROP POLICY pol ON other; DROP RULE r ON "S"."X y"')
      expect(await publications()).toEqual([
        'public.oi ',
        '"S".ti list',
        'r on "S"."X y" list',
        'pol on public.other ',
        'far ',
        'far.e ',
        '"S".e list',
        'hstore list',
        'pol on public.other ',
        'r on "S"."X y" list',
      ])
    })
  })
})

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type pg from 'pg'
import { beforeAll, describe, expect, it } from 'vitest'
import { compareState } from '../src/ddl/state.ts'
import type { Cluster } from '../src/demo/cluster.ts'
import type { ObjectState } from '../src/model/ddl-message.ts'
import { available, cluster } from './support/servers.ts'
import { client, script } from './support/sql.ts'

const root = join(import.meta.dirname, '..')
const objectsScript = readFileSync(join(root, 'test/fixtures/object-state.sql'), 'utf8')
const functions = readdirSync(join(root, 'sql/both'))
  .filter((file) => file.startsWith('object_state'))
  .map((file) => readFileSync(join(root, 'sql/both', file), 'utf8'))
const changes = readFileSync(join(root, 'test/fixtures/object-state-changes.sql'), 'utf8')
  .split('\n\n')
  .slice(1)
  .map((block) => {
    const [, type, names, args, aspects, sql] = /^-- ([^{]+) (\{.*\}) (\{.*\}): (.*)\n([\s\S]*)$/.exec(
      block,
    ) as unknown as string[]
    return { type: type!, names: names!, args: args!, aspects: aspects!.split('; '), sql: sql! }
  })

interface Address {
  readonly type: string
  readonly names: string
  readonly args: string
}

/** A database with the functions and everything of the script. */
async function database(server: Cluster, name: string, ddl: string): Promise<pg.Client> {
  await script(server.conninfo(), `CREATE DATABASE ${name}`)
  const made = await client(server.conninfo(name))
  await made.query('CREATE SCHEMA follower')
  for (const text of functions) await made.query(text)
  await made.query(ddl)
  return made
}

async function stateOf(client: pg.Client, address: Address): Promise<ObjectState | null> {
  const { rows } = await client.query('SELECT follower.object_state($1, $2::text[], $3::text[]) AS state', [
    address.type,
    address.names,
    address.args,
  ])
  return JSON.parse(rows[0].state ?? 'null')
}

/** Every object of the database that neither initdb, an extension nor follower made, as event triggers would name it. */
async function addresses(client: pg.Client): Promise<Address[]> {
  const { rows } = await client.query(`
    WITH object AS (
      SELECT classid, objid, 0 AS objsubid FROM pg_depend WHERE objid >= 16384
      UNION SELECT refclassid, refobjid, 0 FROM pg_depend WHERE refobjid >= 16384
      UNION SELECT classid, objid, 0 FROM pg_shdepend
        WHERE objid >= 16384 AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
      UNION SELECT 'pg_namespace'::regclass, 'public'::regnamespace, 0
      UNION SELECT 'pg_class'::regclass, attrelid, attnum FROM pg_attribute
        WHERE attrelid >= 16384 AND attnum > 0 AND NOT attisdropped)
    SELECT DISTINCT a.type, a.object_names::text AS names, a.object_args::text AS args
    FROM object o, pg_identify_object_as_address(o.classid, o.objid, o.objsubid) a,
      pg_identify_object(o.classid, o.objid, o.objsubid) i
    WHERE i.identity !~ 'pg_toast|follower'
      AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = o.classid AND e.objid = o.objid AND e.deptype = 'e')
      -- NOT NULL is no constraint before 18.
      AND NOT EXISTS (SELECT FROM pg_constraint k WHERE o.classid = 'pg_constraint'::regclass AND k.oid = o.objid AND k.contype = 'n')
      -- What a foreign key to a partitioned table makes for the partitions is internal.
      AND NOT EXISTS (SELECT FROM pg_constraint k JOIN pg_constraint p ON p.oid = k.conparentid
        WHERE o.classid = 'pg_constraint'::regclass AND k.oid = o.objid AND k.conrelid = p.conrelid)
      AND NOT EXISTS (SELECT FROM pg_trigger t JOIN pg_constraint k ON k.oid = t.tgconstraint
        WHERE o.classid = 'pg_trigger'::regclass AND t.oid = o.objid AND k.contype <> 't')
      AND i.type NOT LIKE '%partition of%'
    ORDER BY 1, 2, 3`)
  return rows
}

/** Settings of a session that change how constants, names and words are printed. */
const oddSettings = `
  SET search_path = app, "s p"; SET DateStyle = 'German, DMY'; SET IntervalStyle = 'iso_8601'; SET TimeZone = 'Asia/Kolkata';
  SET extra_float_digits = -10; SET bytea_output = 'escape'; SET standard_conforming_strings = off`

let old: pg.Client
let oldToo: pg.Client
let young: pg.Client
let youngToo: pg.Client
let objects: Address[]

beforeAll(async () => {
  if (!available('15-18')) return
  // Servers of its own, since roles are those of the whole server; the second database finds them made.
  const again = objectsScript.replaceAll(/^CREATE ROLE.*$/gm, '')
  const [oldServer, youngServer] = await Promise.all([cluster({ major: 15 }), cluster()])
  old = await database(oldServer, 'one', objectsScript)
  oldToo = await database(oldServer, 'two', again)
  young = await database(youngServer, 'one', objectsScript)
  youngToo = await database(youngServer, 'two', again)
  await oldToo.query(oddSettings)
  await young.query(oddSettings)
  objects = await addresses(old)
}, 180_000)

async function differences(from: pg.Client, to: pg.Client, sameMajor: boolean): Promise<string[]> {
  const found: string[] = []
  for (const address of objects) {
    const state = await stateOf(from, address)
    const name = `${address.type} ${address.names}${address.args}`
    if (state === null) found.push(`${name}: missing upstream`)
    else
      for (const line of compareState(state, await stateOf(to, address), sameMajor))
        found.push(`${name}: ${line}`)
  }
  return found
}

/** States of an object before and after a change, which is rolled back. */
async function around(
  address: Address,
  change: string,
): Promise<{ before: ObjectState; after: ObjectState }> {
  const before = await stateOf(youngToo, address)
  await youngToo.query('BEGIN; SET LOCAL search_path = app, public; SET LOCAL allow_system_table_mods = on')
  try {
    await youngToo.query(change)
    const after = await stateOf(youngToo, address)
    if (before === null || after === null) throw new Error('no such object')
    return { before, after }
  } finally {
    await youngToo.query('ROLLBACK')
  }
}

describe.skipIf(!available('15-18'))('follower.object_state', () => {
  it('describes the same objects in the same words on 15 and 18, whatever the settings of the session', async () => {
    expect(objects.length).toBeGreaterThan(150)
    expect(await differences(old, young, false)).toEqual([])
    expect(await differences(young, old, false)).toEqual([])
    expect(await differences(old, oldToo, true)).toEqual([])
    expect(await differences(youngToo, young, true)).toEqual([])
  })

  it('knows a state for every class that event triggers name', async () => {
    const unknown = new Set<string>()
    for (const address of objects) if ((await stateOf(old, address))?.['?']) unknown.add(address.type)
    expect([...unknown]).toEqual(['default value', 'function of access method', 'operator of access method'])
    expect(await stateOf(old, { type: 'publication', names: '{x}', args: '{}' })).toEqual({
      '?': 'unknown class',
    })
    expect(await stateOf(old, { type: 'TABLE', names: '{app,fast}', args: '{}' })).toMatchObject({
      relkind: 'table',
    })
  })

  it.each([
    ['table', '{app,missing}', '{}'],
    ['table', '{missing,fast}', '{}'],
    ['table', '{app,cheap}', '{}'],
    ['table column', '{app,fast,missing}', '{}'],
    ['schema', '{missing}', '{}'],
    ['type', '{app.missing}', '{}'],
    ['type', '{missing.mood}', '{}'],
    ['composite type', '{app,missing}', '{}'],
    ['function', '{app,add}', '{bigint}'],
    ['function', '{app,add}', '{app.missing}'],
    ['procedure', '{app,add}', '{integer,integer}'],
    ['policy', '{app,customers,missing}', '{}'],
    ['trigger', '{app,missing,touched}', '{}'],
    ['table constraint', '{app,customers,missing}', '{}'],
    ['domain constraint', '{app.positive}', '{missing}'],
    ['cast', '{app.mood}', '{integer}'],
    ['operator', '{app,%%%}', '{integer,integer}'],
    ['operator class', '{btree,app,missing}', '{}'],
    ['collation', '{app,missing}', '{}'],
    ['extension', '{missing}', '{}'],
    ['server', '{missing}', '{}'],
    ['default acl', '{missing}', '{r}'],
    ['default acl', '{writer}', '{S}'],
  ])('gives NULL for what does not exist: %s %s%s', async (type, names, args) => {
    expect(await stateOf(old, { type, names, args })).toBeNull()
    expect(await stateOf(young, { type, names, args })).toBeNull()
  })

  it.each(changes)('finds the difference: $type $names $aspects', async ({ sql, aspects, ...address }) => {
    const { before, after } = await around(address, sql)
    const lines = compareState(before, after, true)
    expect(lines.map((line) => line.slice(0, line.indexOf(': upstream '))).toSorted()).toEqual(
      aspects.toSorted(),
    )
  })

  it('gives NULL where a change dropped the object', async () => {
    await youngToo.query('BEGIN; DROP TABLE app.fast')
    expect(await stateOf(youngToo, { type: 'table', names: '{app,fast}', args: '{}' })).toBeNull()
    await youngToo.query('ROLLBACK')
  })

  it('lets the downstream have more', async () => {
    const address = { type: 'table', names: '{app,keyless}', args: '{}' }
    const { before, after } = await around(
      address,
      `ALTER TABLE keyless ADD COLUMN local integer, ADD CHECK (local > 0); CREATE INDEX ON keyless (id);
      GRANT SELECT ON keyless TO writer; COMMENT ON TABLE keyless IS 'local'`,
    )
    expect(compareState(before, after, true)).toEqual([])
    expect(compareState(after, before, true).length).toBeGreaterThan(4)
  })

  it.each([
    ['default privileges spelled out', 'GRANT SELECT ON keyless TO postgres'],
    [
      'order of columns',
      `DROP TABLE keyless; CREATE TABLE keyless (gone integer, b integer CONSTRAINT keyless_a_not_null NOT NULL, id integer NOT NULL);
      ALTER TABLE keyless DROP gone`,
    ],
    [
      'replica identity and statistics',
      'ALTER TABLE keyless REPLICA IDENTITY FULL, ALTER id SET STATISTICS 7',
    ],
  ])('does not count %s', async (_kind, change) => {
    const { before, after } = await around({ type: 'table', names: '{app,keyless}', args: '{}' }, change)
    expect(after).toEqual(before)
  })

  it('runs no function of the caller', async () => {
    const address = { type: 'table', names: '{app,fast}', args: '{}' }
    const { before, after } = await around(
      address,
      `CREATE FUNCTION lower(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'fooled'; END $$;
      CREATE FUNCTION pg_get_object_address(text, text[], text[]) RETURNS record LANGUAGE plpgsql AS $$ BEGIN RAISE 'fooled'; END $$;
      SET LOCAL search_path = app, pg_catalog`,
    )
    expect(after).toEqual(before)
  })

  it('leaves out MAINTAIN, which only 17 and later have', async () => {
    await youngToo.query('BEGIN; GRANT MAINTAIN ON app.base TO writer; GRANT ALL ON app.fast TO writer')
    expect(await stateOf(youngToo, { type: 'table', names: '{app,base}', args: '{}' })).not.toHaveProperty(
      'acl "writer"',
    )
    const fast = await stateOf(youngToo, { type: 'table', names: '{app,fast}', args: '{}' })
    await youngToo.query('ROLLBACK')
    expect(fast?.['acl "writer"']).toBe('DELETE, INSERT, REFERENCES, SELECT, TRIGGER, TRUNCATE, UPDATE')
  })
})

import { describe, expect, test } from 'vitest'
import { NoOrder } from '../src/copy/schema-order.ts'
import { readOwnSchema } from '../src/provision/own-schema.ts'
import { cleanUp } from './support/cleanup.ts'
import { start } from './support/kill.ts'
import { leastUpstream } from './support/least.ts'
import { available, type Databases, databases, type Pair } from './support/servers.ts'
import { client, query, script, statements, value } from './support/sql.ts'

const all = ['--copy', 'all', '--no-identity', 'insert-only', '--until', 'now'] as const

/** A role at both ends, or upstream only. */
async function role(made: Databases, name: string, both = true): Promise<string> {
  const it = `${made.name}_${name}`
  for (const end of both ? [made.upstream, made.downstream] : [made.upstream]) {
    await statements(end, [`CREATE ROLE ${it}`])
    cleanUp(() => statements(end, [`DROP OWNED BY ${it} CASCADE`, `DROP ROLE ${it}`]))
  }
  return it
}

async function copied(made: Databases, ...more: string[]): Promise<string> {
  const run = start({ ...made, args: [...all, '--pg-dump', 'none', ...more] })
  expect(await run.exit, run.output).toMatchObject({ code: 0 })
  return run.output.replaceAll('\\n', '\n')
}

async function refused(made: Databases, code: string, ...more: string[]): Promise<string> {
  const run = start({ ...made, args: [...all, '--pg-dump', 'none', ...more] })
  expect(await run.exit, run.output).toMatchObject({ code: 6 })
  expect(run.output).toContain(code)
  expect(
    await query(made.upstream, 'SELECT FROM pg_replication_slots WHERE database = current_database()'),
  ).toEqual([])
  return run.output.replaceAll('\\n', '\n')
}

/** The answer is the same at both ends; returns it. */
async function same(made: Databases, text: string) {
  const up = await query(made.upstream, text)
  expect(await query(made.downstream, text), text).toEqual(up)
  return up
}

const rights = (acl: string, from: string) =>
  `SELECT coalesce(r.rolname, 'PUBLIC') AS who, a.privilege_type FROM ${from}, aclexplode(${acl}) a LEFT JOIN pg_roles r ON r.oid = a.grantee ORDER BY 1, 2`
const ofPublic = rights(
  "coalesce(nspacl, acldefault('n', nspowner))",
  "(SELECT * FROM pg_namespace WHERE nspname = 'public') n",
)

describe.each([
  ['14-17', 'as it was before 15', 'ALTER SCHEMA public OWNER TO ROLE; GRANT ALL ON SCHEMA public TO PUBLIC'],
  ['18', 'made anew', 'DROP SCHEMA public; CREATE SCHEMA public AUTHORIZATION ROLE'],
  ['18', 'nobody’s', 'REVOKE ALL ON SCHEMA public FROM PUBLIC'],
] as [Pair, string, string][])('rights on the schema public, %s', (pair, how, text) => {
  test.skipIf(!available(pair))(how, { timeout: 90_000 }, async () => {
    const made = await databases(pair)
    const owner = await role(made, 'owner')
    await statements(made.upstream, [
      ...text.replace('ROLE', owner).split('; '),
      'CREATE SCHEMA s; CREATE TABLE s.t (id int PRIMARY KEY)',
    ])
    await copied(made)
    await same(made, ofPublic)
  })
})

test('what belongs to partitions, heirs, ranges and wrappers', { timeout: 90_000 }, async () => {
  const made = await databases('18')
  const reader = await role(made, 'reader')
  await statements(made.upstream, [
    'CREATE SCHEMA s; CREATE TABLE s.k (id int PRIMARY KEY); CREATE FUNCTION s.f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$',
    // The server's own triggers of a foreign key, with the name that the server gave them.
    'CREATE TABLE s.p (id int REFERENCES s.k, v int) PARTITION BY RANGE (id); CREATE TABLE s.p1 PARTITION OF s.p FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (id)',
    'CREATE TABLE s.p11 PARTITION OF s.p1 FOR VALUES FROM (0) TO (5); CREATE TABLE s.p12 PARTITION OF s.p1 FOR VALUES FROM (5) TO (10)',
    'CREATE TRIGGER t AFTER INSERT ON s.p FOR EACH ROW EXECUTE FUNCTION s.f(); CREATE TRIGGER u AFTER INSERT ON s.p FOR EACH ROW EXECUTE FUNCTION s.f()',
    'ALTER TABLE s.p11 DISABLE TRIGGER ALL',
    // Not as the root, but as the parent.
    'ALTER TABLE s.p DISABLE TRIGGER u; ALTER TABLE s.p1 ENABLE TRIGGER u',
    'CREATE TABLE s.base (a int CONSTRAINT base_a NOT NULL, b int, c int); CREATE TABLE s.heir (CONSTRAINT heir_a NOT NULL a, CONSTRAINT heir_b NOT NULL b NO INHERIT, d int CONSTRAINT heir_d NOT NULL) INHERITS (s.base)',
    'CREATE TABLE s.heir_of_heir () INHERITS (s.heir); ALTER TABLE s.base ADD CONSTRAINT late CHECK (c > 0) NOT VALID, ADD CONSTRAINT late_too NOT NULL c NOT VALID; ALTER TABLE s.p ADD CONSTRAINT late CHECK (v > 0) NOT VALID',
    ...['heir', 'heir_of_heir', 'p', 'p1', 'p11'].map(
      (it) => `COMMENT ON CONSTRAINT late ON s.${it} IS 'of ${it}'`,
    ),
    "COMMENT ON CONSTRAINT late_too ON s.heir IS 'too'; COMMENT ON CONSTRAINT heir_a ON s.heir IS 'a'",
    `CREATE TYPE s.span AS RANGE (SUBTYPE = float8, MULTIRANGE_TYPE_NAME = s.spans); REVOKE ALL ON FUNCTION s.span(float8, float8) FROM PUBLIC; GRANT EXECUTE ON FUNCTION s.spans(s.span) TO ${reader}; COMMENT ON FUNCTION s.span(float8, float8, text) IS 'range'`,
    'CREATE VIEW s.ranges AS SELECT s.span(1, 2) AS one',
    `CREATE EXTENSION postgres_fdw SCHEMA s; GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO ${reader} WITH GRANT OPTION`,
    // One that fails half way, and what is said of it.
    'INSERT INTO s.k VALUES (1), (-1)',
  ])
  await expect(
    script(made.upstream, 'CREATE UNIQUE INDEX CONCURRENTLY bad ON s.k (abs(id))'),
  ).rejects.toThrow('could not create unique index')
  await statements(made.upstream, [
    "COMMENT ON INDEX s.bad IS 'bad'; ALTER INDEX s.bad ALTER COLUMN 1 SET STATISTICS 50; ALTER INDEX s.bad DEPENDS ON EXTENSION postgres_fdw",
  ])
  // Settings of the database downstream don't move what says nothing of its place.
  await statements(made.downstream, [
    'CREATE ACCESS METHOD other TYPE TABLE HANDLER heap_tableam_handler',
    `ALTER DATABASE ${made.name} SET default_table_access_method = other`,
  ])
  const output = await copied(made)
  expect(output).toContain('index s.bad, which is not valid')
  expect(await value(made.downstream, "SELECT to_regclass('s.bad')")).toBeNull()

  const triggers = await same(
    made,
    "SELECT tgrelid::regclass AS of, tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal AND tgrelid::regclass::text ~ '^s[.]' ORDER BY tgrelid::regclass::text, tgname",
  )
  expect(triggers.filter((it) => it.tgenabled === 'D')).toEqual([
    { of: 's.p', tgname: 'u', tgenabled: 'D' },
    { of: 's.p11', tgname: 't', tgenabled: 'D' },
  ])
  const constraints = await same(
    made,
    `SELECT k.conrelid::regclass AS of, k.conname, pg_get_constraintdef(k.oid) AS text, k.conislocal, k.coninhcount, obj_description(k.oid, 'pg_constraint') AS said
       FROM pg_constraint k WHERE k.connamespace = 's'::regnamespace AND k.contype IN ('c', 'n') ORDER BY k.conrelid::regclass::text, k.conname`,
  )
  expect(constraints.map((it) => `${it.of} ${it.conname} ${it.said}`)).toEqual(
    expect.arrayContaining([
      's.heir heir_a a',
      's.heir heir_b null',
      's.heir_of_heir late of heir_of_heir',
      's.p11 late of p11',
    ]),
  )
  await same(
    made,
    `SELECT f.name, r.who, r.privilege_type, obj_description(f.oid, 'pg_proc') FROM (SELECT oid, oid::regprocedure::text AS name, proacl FROM pg_proc WHERE pronamespace = 's'::regnamespace AND proname LIKE 'span%') f
    LEFT JOIN LATERAL (SELECT a.grantee::regrole::text AS who, a.privilege_type FROM aclexplode(f.proacl) a) r ON true ORDER BY 1, 2, 3`,
  )
  expect(await same(made, rights('fdwacl', 'pg_foreign_data_wrapper'))).toContainEqual({
    who: reader,
    privilege_type: 'USAGE',
  })
  expect(
    await same(
      made,
      "SELECT DISTINCT m.amname FROM pg_class c JOIN pg_am m ON m.oid = c.relam WHERE c.relnamespace = 's'::regnamespace AND c.relkind = 'r'",
    ),
  ).toEqual([{ amname: 'heap' }])
})

test('a function that is there already is not replaced', { timeout: 90_000 }, async () => {
  const made = await databases('18')
  const f = (n: number) => `CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT ${n} $$`
  await statements(made.upstream, [f(1), 'CREATE TABLE t (id int PRIMARY KEY)'])
  await statements(made.downstream, [f(2)])
  expect(await refused(made, 'FLW-126')).toContain('already exists')
  expect(await value(made.downstream, 'SELECT f()')).toBe('2')
})

test('what the downstream’s server lacks is told before anything is made', { timeout: 90_000 }, async () => {
  const made = await databases('18')
  const [owner, granted, named] = [
    await role(made, 'owner', false),
    await role(made, 'granted', false),
    await role(made, 'named', false),
  ]
  const place = `${made.name}_place`
  cleanUp(() => statements(made.upstream, ['DROP TABLE placed', `DROP TABLESPACE ${place}`]))
  await statements(made.upstream, [
    'SET allow_in_place_tablespaces = on',
    `CREATE TABLESPACE ${place} LOCATION ''`,
    `CREATE TABLE placed (id int PRIMARY KEY) TABLESPACE ${place}`,
    `CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE own (id int PRIMARY KEY); ALTER TABLE own OWNER TO ${owner}; GRANT SELECT ON t TO ${granted}; CREATE POLICY p ON t TO ${named}`,
  ])
  const told = await refused(made, 'FLW-126')
  for (const each of [`role ${owner}`, `role ${granted}`, `role ${named}`, `tablespace ${place}`])
    expect(told).toContain(each)
  expect(await value(made.downstream, "SELECT to_regclass('t')")).toBeNull()
  const less = await refused(made, 'FLW-126', '--no-owner', '--no-privileges')
  for (const each of [owner, granted]) expect(less).not.toContain(each)
  for (const each of [`role ${named}`, `tablespace ${place}`]) expect(less).toContain(each)
})

test.skipIf(!available('18-15'))(
  'a right on what an older server does not have',
  { timeout: 90_000 },
  async () => {
    const made = await databases('18-15')
    const reader = await role(made, 'reader')
    await statements(made.upstream, [
      `GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_summariesdir(), pg_catalog.pg_ls_waldir() TO ${reader}; GRANT SELECT ON pg_catalog.pg_aios TO ${reader}`,
      'CREATE TABLE t (id int PRIMARY KEY)',
    ])
    const output = await copied(made)
    expect(output).toContain('a part of the schema is left out')
    expect(output).toContain('pg_ls_summariesdir')
    expect(
      await value(made.downstream, `SELECT has_function_privilege('${reader}', 'pg_ls_waldir()', 'EXECUTE')`),
    ).toBe('t')
  },
)

test('a table that needs what comes after the rows, and a lock that is not to be had', {
  timeout: 60_000,
}, async () => {
  const made = await databases('18')
  await statements(made.upstream, [
    'CREATE TABLE c (id int PRIMARY KEY, n text); CREATE VIEW grouped AS SELECT c.*, count(*) AS all FROM c GROUP BY c.id',
  ])
  const [up, down, holder] = [
    await client(made.upstream),
    await client(made.downstream),
    await client(made.upstream),
  ]
  for (const it of [up, down, holder]) await it.query('SET search_path = pg_catalog')
  const read = async () => {
    await holder.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
    const { name } = (await holder.query('SELECT pg_export_snapshot() AS name')).rows[0]
    const ends = { upstream: up, downstream: down }
    const both = { upstream: 18, downstream: 18 }
    const result: unknown = await readOwnSchema(ends, name, { owner: true, privileges: true }, both).catch(
      (error: unknown) => error,
    )
    await holder.query('ROLLBACK')
    return result
  }
  const locker = await client(made.upstream)
  await locker.query('BEGIN; LOCK TABLE public.c IN ACCESS EXCLUSIVE MODE')
  expect(await read()).toMatchObject({
    code: 'FLW-128',
    exit: 6,
    message: expect.stringContaining('holds a lock'),
  })
  await locker.query('ROLLBACK')
  expect(await read()).toMatchObject({ before: expect.stringContaining('CREATE TABLE') })
  await statements(made.upstream, [
    'CREATE FUNCTION f(i int) RETURNS bigint IMMUTABLE LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM grouped WHERE id = i; END',
    'CREATE TABLE late (a int PRIMARY KEY, b bigint GENERATED ALWAYS AS (f(a)) STORED)',
  ])
  expect(await read()).toMatchObject({
    ...{ code: 'FLW-124', exit: 6, detail: expect.stringContaining('TABLE public late') },
    cause: expect.any(NoOrder),
  })
})

const position = (name: string) => `SELECT last_value, is_called FROM ${name}`

describe.each(['none', undefined])('sequences, --pg-dump %s', (dump) => {
  const how = dump === undefined ? [] : ['--pg-dump', dump]
  // The pg_dump that there is may be of 15.
  const pair: Pair = dump === undefined ? '15' : '18'
  test.skipIf(!available(pair))('arrive where they are, or are refused', { timeout: 120_000 }, async () => {
    const made = await databases(pair)
    const owner = await role(made, 'owner')
    const upstream = await leastUpstream(made)
    const least = `least_${made.name}`
    // What is granted to it is granted downstream, too.
    await script(made.downstream, `CREATE ROLE ${least}`)
    cleanUp(() => statements(made.downstream, [`DROP OWNED BY ${least}`, `DROP ROLE ${least}`]))
    await statements(made.upstream, [
      `CREATE TABLE t (id serial PRIMARY KEY); ALTER TABLE t OWNER TO ${owner}; GRANT ${owner} TO ${least}; INSERT INTO t DEFAULT VALUES`,
      'CREATE SEQUENCE begun START 5; CREATE SEQUENCE set_back START 5; ALTER SEQUENCE set_back RESTART WITH 70; CREATE SEQUENCE used START 5; SELECT nextval($$used$$); CREATE SCHEMA closed; CREATE SEQUENCE closed.hidden',
      `SELECT setval('closed.hidden', 41); GRANT USAGE ON SEQUENCE set_back TO ${least}`,
    ])
    const follow = { ...made, upstream }
    const args = ['--ddl', 'off', '--copy', 'all', '--until', 'now', ...how]
    const run = start({ ...follow, args })
    expect(await run.exit, run.output).toMatchObject({ code: 6 })
    const told = run.output.replaceAll('\\n', '\n').replaceAll('\\"', '"')
    expect(told).toContain('FLW-129')
    const grants = told.match(/GRANT (?:USAGE|SELECT) ON (?:SCHEMA|SEQUENCE) [^;]*;/g) ?? []
    expect(grants).toHaveLength(2)
    expect(await value(made.downstream, "SELECT to_regclass('t')")).toBeNull()
    await statements(made.upstream, grants)
    const again = start({ ...follow, args })
    expect(await again.exit, again.output).toMatchObject({ code: 0 })
    for (const name of ['begun', 'set_back', 'used', 'closed.hidden', 't_id_seq'])
      await same(made, position(name))
    expect(await same(made, position('set_back'))).toEqual([{ last_value: '70', is_called: 'f' }])
  })
})

import { describe, expect, test } from 'vitest'
import { compareDatabases } from './support/comparator.ts'
import { type Follow, start } from './support/kill.ts'
import { available, databases, type Pair } from './support/servers.ts'
import { client, query, statements, value } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

const pairs: readonly Pair[] = ['18', '15']

/** The largest comes first: whoever holds it downstream holds back all others. */
const schema = [
  'CREATE TABLE gate (id int PRIMARY KEY, t text)',
  ...[
    'untouched',
    'truncated',
    'rewritten',
    'dropped',
    'renamed',
    'wider',
    'narrower',
    'vacuumed',
    'moved',
    'lonely',
  ].map((name) => `CREATE TABLE ${name} (id int PRIMARY KEY, a int, b text)`),
  'CREATE TABLE parted (id int PRIMARY KEY, a int, b text) PARTITION BY RANGE (id)',
  'CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (1000)',
  'CREATE TABLE leaving PARTITION OF parted FOR VALUES FROM (2000) TO (3000)',
  'CREATE SCHEMA elsewhere',
]
const filled = [
  "INSERT INTO gate SELECT i, repeat('x', 500) FROM generate_series(1, 2000) i",
  ...[
    'untouched',
    'truncated',
    'rewritten',
    'dropped',
    'renamed',
    'wider',
    'narrower',
    'vacuumed',
    'moved',
    'parted',
  ].map((name) => `INSERT INTO ${name} SELECT i, i, 'row ' || i FROM generate_series(1, 100) i`),
  "INSERT INTO lonely SELECT i + 3000, i, 'row ' || i FROM generate_series(1, 100) i",
  "INSERT INTO parted SELECT i + 2000, i, 'row ' || i FROM generate_series(1, 100) i",
]
/** All that may happen to a table between the snapshot and its copy. */
const changes = [
  'TRUNCATE truncated',
  "INSERT INTO truncated VALUES (7, 7, 'after')",
  'ALTER TABLE rewritten ALTER a TYPE bigint',
  'UPDATE rewritten SET a = a + 1',
  'DROP TABLE dropped',
  'CREATE TABLE dropped (id int PRIMARY KEY, other text)',
  "INSERT INTO dropped VALUES (1, 'new')",
  'ALTER TABLE renamed RENAME TO other_name',
  "UPDATE other_name SET b = 'renamed' WHERE id < 5",
  "ALTER TABLE wider ADD c text DEFAULT 'c'",
  "INSERT INTO wider VALUES (1000, 1, 'b', 'd')",
  'ALTER TABLE narrower DROP a',
  'VACUUM FULL vacuumed',
  'ALTER TABLE moved SET SCHEMA elsewhere',
  'ALTER TABLE parted ATTACH PARTITION lonely FOR VALUES FROM (3000) TO (4000)',
  'ALTER TABLE parted DETACH PARTITION leaving',
  'UPDATE parted SET a = -a',
  'UPDATE leaving SET a = 0',
  "UPDATE untouched SET b = 'changed' WHERE id = 1",
  "INSERT INTO gate VALUES (0, 'late')",
  'CREATE TABLE fresh AS SELECT i AS id FROM generate_series(1, 10) i',
]

describe.each(pairs.filter(available))('what happens to tables before they are copied, %s', (pair) => {
  test('each arrives as it is', { timeout: 120_000 }, async () => {
    const all = await databases(pair)
    await statements(all.upstream, [...schema, ...filled])
    await statements(all.downstream, schema)
    const follow: Follow = { ...all, args: ['--copy', 'data', '--copy-jobs', '1', '--no-identity', 'full'] }
    const gate = await client(all.downstream)
    await gate.query('BEGIN; LOCK TABLE gate IN EXCLUSIVE MODE')
    const follower = start(follow)
    await waitUntil(
      async () =>
        (await value(
          all.downstream,
          'SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = $1::regclass',
          ['gate'],
        )) !== '0',
      { what: 'the copy of the first table to wait' },
    )
    await statements(all.upstream, changes)
    await gate.query('COMMIT')
    await follower.ready({ slot: all.name })
    await follower.stop()
    const last = start(follow, undefined, ['--until', 'now'])
    expect(await last.exit, last.output).toMatchObject({ code: 0 })
    expect(await compareDatabases(all.upstream, all.downstream)).toEqual([])
    expect(follower.output).toMatch(/first the stream, up to the snapshot/)
    // Two snapshots, and the TRUNCATE after which there was nothing to copy.
    const copied = await query(
      all.downstream,
      "SELECT count(DISTINCT lsn) AS places, bool_and(state = 'copied') AS all FROM follower.copied_table",
    )
    expect(copied).toEqual([{ places: '3', all: 't' }])
  })
})

test('rows that nobody copied are not touched, unless told so', async () => {
  const all = await databases('18')
  await statements(all.upstream, [schema[1]!, filled[1]!])
  await statements(all.downstream, [schema[1]!, "INSERT INTO untouched VALUES (-1, 0, 'mine')"])
  const follow: Follow = { ...all, args: ['--copy', 'data'] }
  const refused = start(follow)
  expect(await refused.exit).toMatchObject({ code: 6 })
  expect(refused.output).toMatch(/FLW-122.*1 table holds rows downstream already/)
  expect(refused.output).toContain('public.untouched')
  expect(await value(all.downstream, 'SELECT b FROM untouched')).toBe('mine')
  const taken = start(follow, undefined, ['--overwrite', '--until', 'now'])
  expect(await taken.exit, taken.output).toMatchObject({ code: 0 })
  expect(await compareDatabases(all.upstream, all.downstream)).toEqual([])
})

test('code of a table’s owner runs as that owner', async () => {
  const all = await databases('18')
  const owner = `${all.name}_owner`
  const tables = [
    'CREATE TABLE guarded (id int PRIMARY KEY, at regclass, n numeric, t text, doubled int GENERATED ALWAYS AS (id * 2) STORED)',
    'CREATE TABLE "Deferred" (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, b bytea)',
  ]
  await statements(all.upstream, [
    ...tables,
    "INSERT INTO guarded SELECT i, 'guarded', i / 3.0, CASE WHEN i % 2 = 0 THEN E'\\\\N\\t\\n' END FROM generate_series(1, 3000) i",
    'INSERT INTO "Deferred" (b) SELECT decode(md5(i::text), $$hex$$) FROM generate_series(1, 50) i',
  ])
  await statements(all.downstream, [
    `CREATE ROLE ${owner}`,
    ...tables,
    'CREATE TABLE ran (who name, what text)',
    `GRANT INSERT ON ran TO ${owner}`,
    `GRANT CREATE ON SCHEMA public TO ${owner}`,
    `ALTER TABLE guarded OWNER TO ${owner}; ALTER TABLE "Deferred" OWNER TO ${owner}`,
    `CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
     BEGIN
       INSERT INTO public.ran VALUES (current_user, TG_OP);
       BEGIN EXECUTE 'RESET ROLE'; EXECUTE 'SET ROLE postgres'; INSERT INTO public.ran VALUES (current_user, 'escaped');
       EXCEPTION WHEN OTHERS THEN NULL; END;
       PERFORM pg_catalog.set_config('search_path', 'public', false);
       PERFORM pg_catalog.set_config('datestyle', 'German', false);
       RETURN COALESCE(NEW, OLD);
     END $$`,
    'CREATE TRIGGER note BEFORE INSERT OR DELETE ON guarded FOR EACH ROW EXECUTE FUNCTION note(); ALTER TABLE guarded ENABLE ALWAYS TRIGGER note',
    'CREATE TRIGGER emptied BEFORE TRUNCATE ON guarded EXECUTE FUNCTION note(); ALTER TABLE guarded ENABLE ALWAYS TRIGGER emptied',
    'CREATE CONSTRAINT TRIGGER note AFTER INSERT ON "Deferred" DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note(); ALTER TABLE "Deferred" ENABLE ALWAYS TRIGGER note',
    "INSERT INTO guarded VALUES (-1, NULL, NULL, 'old')",
    'TRUNCATE ran',
  ])
  const it = start(
    {
      ...all,
      args: [
        '--copy',
        'data',
        '--overwrite',
        '--copy-split',
        '16kB',
        '--tables',
        'public.guarded,public."Deferred"',
      ],
    },
    undefined,
    ['--until', 'now'],
  )
  expect(await it.exit, it.output).toMatchObject({ code: 0 })
  expect(await query(all.downstream, 'SELECT who, what, count(*) FROM ran GROUP BY 1, 2 ORDER BY 2')).toEqual(
    [
      { who: owner, what: 'INSERT', count: '3050' },
      { who: owner, what: 'TRUNCATE', count: '1' },
    ],
  )
  for (const table of ['guarded', '"Deferred"']) {
    const text = `SELECT md5(string_agg(t::text, '' ORDER BY id)) FROM ${table} t`
    expect(await value(all.downstream, text)).toBe(await value(all.upstream, text))
  }
  await statements(all.downstream, [`DROP OWNED BY ${owner} CASCADE`, `DROP ROLE ${owner}`])
})

import { beforeAll, describe, expect, test } from 'vitest'
import { compare } from '../src/demo/compare.ts'
import { formatDifference } from '../src/demo/difference.ts'
import { compareDatabases } from './support/comparator.ts'
import { available, type Databases, databases, inDatabase } from './support/servers.ts'
import { query, script } from './support/sql.ts'

const base = `
  CREATE SCHEMA shop;
  CREATE TYPE shop.mood AS ENUM ('low', 'high');
  CREATE DOMAIN shop.amount AS numeric(12, 2) CHECK (VALUE >= 0);
  CREATE TYPE shop.pair AS (a int, b text);
  CREATE TABLE shop.item (id int PRIMARY KEY, name text, price shop.amount DEFAULT 1, mood shop.mood, at timestamptz, f float8);
  CREATE TABLE shop."Odd name" ("A b" int, "c""d" json);
  CREATE TABLE shop.part (k int, v text) PARTITION BY LIST (k);
  CREATE TABLE shop.part_1 PARTITION OF shop.part FOR VALUES IN (1);
  CREATE INDEX item_name ON shop.item (name);
  CREATE VIEW shop.cheap AS SELECT i.id, i.name FROM shop.item i WHERE i.price < 2;
  CREATE FUNCTION shop.twice(n int) RETURNS int LANGUAGE sql AS 'SELECT 2 * n';
  CREATE SEQUENCE shop.number START 5;
  CREATE TABLE shop.nothing ();
  CREATE FUNCTION shop.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
  CREATE TRIGGER touch BEFORE UPDATE ON shop.item FOR EACH ROW EXECUTE FUNCTION shop.touch();
  CREATE POLICY mine ON shop.item USING (name = current_user);
  CREATE STATISTICS shop.pairs ON id, name FROM shop.item;
  COMMENT ON COLUMN shop.item.name IS 'said';
  INSERT INTO shop.item VALUES (1, 'one', 1.5, 'low', '2026-01-01 00:00:00.000001+00', 0.1), (2, NULL, DEFAULT, NULL, NULL, 'NaN');
  INSERT INTO shop."Odd name" VALUES (1, '{"a":  1}'), (1, '{"a":  1}'), (NULL, NULL);
  INSERT INTO shop.part VALUES (1, E'tab\\there');`

/** Each makes one thing different; the text must occur in what the comparison says. */
type Planted = readonly (readonly [sql: string, says: string])[]

const inRows: Planted = [
  ["UPDATE shop.item SET name = 'other' WHERE id = 1", 'rows shop.item: only at one end'],
  ["UPDATE shop.item SET name = '' WHERE id = 2", 'rows shop.item: only at one end'],
  ["UPDATE shop.item SET at = at + '1 microsecond'", 'rows shop.item'],
  ['UPDATE shop.item SET f = 0.1 + 2e-17 WHERE id = 1', 'rows shop.item'],
  ['DELETE FROM shop.item', 'rows shop.item: count: upstream "2", downstream "0"'],
  [`UPDATE shop."Odd name" SET "c""d" = '{"a": 1}'`, 'rows shop."Odd name"'],
  ['DELETE FROM shop."Odd name" WHERE ctid = (SELECT min(ctid) FROM shop."Odd name")', 'count: upstream "3"'],
  ["UPDATE shop.part SET v = 'tab here'", 'rows shop.part_1'],
]

/** Two lists, since one change can hide another. */
const inCatalogs: readonly Planted[] = [
  [
    ['CREATE TABLE shop.more ()', 'relation shop.more'],
    ['CREATE SCHEMA more', 'schema more'],
    ['ALTER TABLE shop.item ADD extra int', 'column shop.item.extra: type'],
    ['ALTER TABLE shop.item ALTER f TYPE float4', 'column shop.item.f: type: upstream "double precision"'],
    ['ALTER TABLE shop.item ALTER price SET DEFAULT 2', 'column shop.item.price: default'],
    ['ALTER TABLE shop.part ALTER v TYPE text COLLATE "C"', 'column shop.part.v: collation'],
    ['ALTER TABLE shop.item ALTER name SET STORAGE external', 'column shop.item.name: storage'],
    ['ALTER TABLE shop.item ALTER name SET STATISTICS 7', 'column shop.item.name: statistics'],
    ['ALTER TABLE shop.item ADD CONSTRAINT positive CHECK (price > 0)', 'constraint positive on shop.item'],
    ['DROP INDEX shop.item_name', 'index shop.item_name'],
    ['ALTER TABLE shop.item SET (fillfactor = 50)', 'relation shop.item: options'],
    ['ALTER TABLE shop.item ENABLE ROW LEVEL SECURITY', 'relation shop.item: row security'],
    ['ALTER TABLE shop.item DISABLE TRIGGER touch', 'trigger touch on shop.item: enabled'],
    ["ALTER POLICY mine ON shop.item USING (name = 'x')", 'policy mine on shop.item: using'],
    ['CREATE RULE quiet AS ON DELETE TO shop.nothing DO INSTEAD NOTHING', 'rule quiet on shop.nothing'],
    ['DROP STATISTICS shop.pairs', 'statistics shop.pairs'],
    ['ALTER TABLE shop.part DETACH PARTITION shop.part_1', 'relation shop.part_1: partition bound'],
    [
      'CREATE OR REPLACE VIEW shop.cheap AS SELECT id, name FROM shop.item WHERE price < 3',
      'relation shop.cheap: view',
    ],
    [
      `CREATE OR REPLACE FUNCTION shop.twice(n int) RETURNS int LANGUAGE sql AS 'SELECT n + n'`,
      'function shop.twice(integer)',
    ],
    ['CREATE AGGREGATE shop.total (int) (SFUNC = int4pl, STYPE = int)', 'function shop.total(integer)'],
    ["ALTER TYPE shop.mood ADD VALUE 'middle' AFTER 'low'", 'type shop.mood: labels'],
    ['ALTER DOMAIN shop.amount DROP CONSTRAINT amount_check', 'constraint amount_check on shop.amount'],
    ['ALTER TYPE shop.pair RENAME ATTRIBUTE a TO c', 'column shop.pair.c'],
    ['CREATE TYPE shop.span AS RANGE (SUBTYPE = float8)', 'type shop.span: range'],
    ["COMMENT ON COLUMN shop.item.name IS 'otherwise'", 'comment table column shop.item.name: text'],
    ["COMMENT ON FUNCTION shop.twice IS 'doubles'", 'comment function shop.twice(integer): text'],
    ['GRANT SELECT ON shop.item TO pg_monitor', 'relation shop.item: acl'],
    ['GRANT SELECT (name) ON shop.item TO pg_monitor', 'column shop.item.name: acl'],
    ['ALTER TABLE shop.item OWNER TO pg_database_owner', 'relation shop.item: owner'],
    ['GRANT USAGE ON SCHEMA shop TO public', 'schema shop: acl'],
    [
      'ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT SELECT ON TABLES TO pg_monitor',
      'default privileges postgres in shop on r',
    ],
    ['CREATE EXTENSION citext', 'extension citext'],
    ['CREATE CAST (shop.pair AS int) WITH INOUT', 'cast shop.pair as integer'],
    [
      `CREATE OPERATOR shop.<+> (FUNCTION = int4pl, LEFTARG = int, RIGHTARG = int)`,
      'operator shop.<+>(integer,integer)',
    ],
    [`CREATE COLLATION shop.plain (LOCALE = 'C')`, 'collation shop.plain'],
    ['CREATE TEXT SEARCH CONFIGURATION shop.words (COPY = simple)', 'text search configuration shop.words'],
  ],
  [
    ['DROP TABLE shop.nothing', 'relation shop.nothing'],
    [
      'DROP VIEW shop.cheap; ALTER TABLE shop.item ALTER price TYPE numeric(12, 2)',
      'column shop.item.price: type',
    ],
    ['ALTER TABLE shop.item ALTER price SET NOT NULL', 'column shop.item.price: not null'],
    ['ALTER TABLE shop.item ALTER id ADD GENERATED ALWAYS AS IDENTITY', 'column shop.item.id: identity'],
    ['ALTER TABLE shop.item RENAME name TO named', 'column shop.item.named'],
    ['ALTER TABLE shop.item ADD CONSTRAINT positive CHECK (price > 0) NOT VALID', 'NOT VALID'],
    ['ALTER TABLE shop.item DROP CONSTRAINT item_pkey', 'constraint item_pkey'],
    [
      'DROP INDEX shop.item_name; CREATE INDEX item_name ON shop.item (lower(named))',
      'index shop.item_name: definition',
    ],
    ['ALTER TABLE shop.item SET UNLOGGED', 'relation shop.item: persistence'],
    ['DROP TRIGGER touch ON shop.item', 'trigger touch on shop.item: definition'],
    ['ALTER FUNCTION shop.twice VOLATILE COST 7', 'function shop.twice(integer): definition'],
    ['REVOKE EXECUTE ON FUNCTION shop.twice FROM public', 'function shop.twice(integer): acl'],
    ['ALTER DOMAIN shop.amount SET DEFAULT 3', 'type shop.amount: domain'],
    ['ALTER SEQUENCE shop.number INCREMENT 3', 'relation shop.number: sequence'],
    ['ALTER SEQUENCE shop.number OWNED BY shop.item.id', 'relation shop.number: owned by'],
  ],
]

/** What follower itself may leave at one end only, and what need not be equal. */
const harmless = `
  CREATE SCHEMA follower; CREATE TABLE follower.progress (a int); INSERT INTO follower.progress VALUES (1);
  COMMENT ON TABLE follower.progress IS 'how far';
  CREATE FUNCTION follower.capture() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
  COMMENT ON FUNCTION follower.capture() IS 'captures';
  CREATE EVENT TRIGGER follower_ddl_command_end ON ddl_command_end EXECUTE FUNCTION follower.capture();
  COMMENT ON EVENT TRIGGER follower_ddl_command_end IS 'captures';
  CREATE PUBLICATION main FOR ALL TABLES;
  ALTER TABLE shop."Odd name" REPLICA IDENTITY FULL;
  SELECT nextval('shop.number')`

describe.each(['18', '15', '15-18'] as const)('on the pair %s', (pair) => {
  let ends: Databases
  beforeAll(async () => {
    if (!available(pair)) return
    ends = await databases(pair)
    await Promise.all([script(ends.upstream, base), script(ends.downstream, base)])
    await script(ends.upstream, harmless)
  })

  test.skipIf(!available(pair))(
    'equal databases have no difference, and something was compared',
    async () => {
      expect(await compareDatabases(ends.upstream, ends.downstream)).toEqual([])
      const { tables, rows, objects } = await compare(ends.upstream, ends.downstream)
      expect({ tables, rows }).toEqual({ tables: 4, rows: 6 })
      expect(objects).toBeGreaterThan(30)
    },
  )
})

describe.each(['18', '15'] as const)('on the pair %s, planted differences are found', (pair) => {
  let ends: Databases
  beforeAll(async () => {
    if (!available(pair)) return
    ends = await databases(pair)
    await Promise.all([script(ends.upstream, base), script(ends.downstream, base)])
  })

  test.skipIf(!available(pair)).each(pair === '18' ? inRows : inRows.slice(0, 1))('%s', async (...one) => {
    const found = await plant(ends, [one])
    expect(found).toContain(one[1])
  })

  test.skipIf(!available(pair)).each(inCatalogs)('in catalogs', async (...list) => {
    const found = await plant(ends, list)
    expect(list.filter(([, says]) => !found.includes(says))).toEqual([])
  })
})

/** A copy of the downstream takes the blows; returns what the comparison says, a line each. */
async function plant({ upstream, downstream, name }: Databases, list: Planted): Promise<string> {
  const server = inDatabase(downstream, 'postgres')
  const copy = inDatabase(downstream, `${name}_planted`)
  await query(server, `CREATE DATABASE ${name}_planted TEMPLATE ${name}`)
  try {
    for (const [sql] of list) await script(copy, sql)
    // Without pg_dump, whose text has everything.
    const { differences } = await compare(upstream, copy)
    return differences.map(formatDifference).join('\n')
  } finally {
    await query(server, `DROP DATABASE ${name}_planted WITH (FORCE)`)
  }
}

test('pg_dump finds what the catalog queries do not look at', async (context) => {
  if (!available('15')) return context.skip()
  const { upstream, downstream } = await databases('15')
  await script(downstream, 'CREATE ACCESS METHOD stack TYPE TABLE HANDLER heap_tableam_handler')
  expect(await compareDatabases(upstream, downstream)).toEqual([
    expect.stringContaining('pg_dump: only downstream: CREATE ACCESS METHOD'),
  ])
})

test('only the tables that are asked for', async () => {
  const { upstream, downstream } = await databases()
  await script(upstream, 'CREATE TABLE a (i int); CREATE TABLE b (i int); INSERT INTO a VALUES (1)')
  await script(downstream, 'CREATE TABLE a (i int)')
  expect(await compareDatabases(upstream, downstream, { tables: ['public.b'] })).not.toEqual([])
  const differences = await compareDatabases(upstream, downstream, { tables: ['public.a'] })
  expect(differences).toEqual([
    expect.stringContaining('rows public.a: count'),
    expect.stringContaining('only at one end'),
  ])
})

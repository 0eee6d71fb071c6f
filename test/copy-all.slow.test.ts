import { describe, expect, test } from 'vitest'
import { compareDatabases } from './support/comparator.ts'
import { type Follow, killed, start } from './support/kill.ts'
import { startLoad } from './support/load.ts'
import { seed } from './support/random.ts'
import { available, databases } from './support/servers.ts'
import { query, statements, value } from './support/sql.ts'

/** What a real schema has, in the order of no dependency that pg_dump would not find. */
const schema = [
  'CREATE SCHEMA shop; CREATE SCHEMA "Odd ""one"""',
  "CREATE TYPE shop.state AS ENUM ('new', 'paid'); CREATE DOMAIN shop.email AS text CHECK (VALUE ~ '@')",
  'CREATE FUNCTION shop.upper_of(t text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN upper(t); END -- Name: x; Type: TABLE; Schema: y; Owner: z\n $$',
  'CREATE TABLE shop.customer (id serial PRIMARY KEY, email shop.email UNIQUE, boss int REFERENCES shop.customer)',
  "CREATE TABLE shop.orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer int NOT NULL REFERENCES shop.customer, state shop.state DEFAULT 'new', total numeric(12,2) CHECK (total >= 0), note text)",
  "CREATE INDEX by_note ON shop.orders (shop.upper_of(note)) WHERE note <> E'--\\n-- Name: fake; Type: INDEX; Schema: shop; Owner: me\\n--\\n'",
  'CREATE TABLE shop.log (id int, at date NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)',
  "CREATE TABLE shop.log_1 PARTITION OF shop.log FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')",
  'CREATE TABLE shop.log_rest PARTITION OF shop.log DEFAULT; CREATE INDEX ON shop.log (at)',
  'CREATE TABLE "Odd ""one"""."Table; one" ("a b" int PRIMARY KEY, t tsvector)',
  'CREATE INDEX ON "Odd ""one"""."Table; one" USING gin (t)',
  'CREATE VIEW shop.paid AS SELECT * FROM shop.orders',
  'CREATE MATERIALIZED VIEW shop.sums AS SELECT customer, sum(total) FROM shop.paid GROUP BY 1',
  'CREATE UNIQUE INDEX ON shop.sums (customer)',
  'CREATE MATERIALIZED VIEW shop.never AS SELECT 1 AS one WITH NO DATA',
  "CREATE FUNCTION shop.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := 'touched'; RETURN NEW; END $$",
  'CREATE TRIGGER touch BEFORE INSERT ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.touch()',
  "COMMENT ON CONSTRAINT orders_customer_fkey ON shop.orders IS 'a foreign key'; COMMENT ON TABLE shop.orders IS E'two\\nlines'",
  'CREATE STATISTICS shop.stats (dependencies) ON customer, total FROM shop.orders',
  'CREATE SEQUENCE shop.alone START 100; GRANT SELECT ON shop.orders TO PUBLIC',
  'CREATE RULE nothing AS ON DELETE TO shop.paid DO INSTEAD NOTHING',
  'ALTER TABLE shop.orders ADD EXCLUDE USING btree (id WITH =)',
]
const rows = [
  "INSERT INTO shop.customer (email, boss) SELECT i || '@x', i FROM generate_series(1, 1000) i",
  'INSERT INTO shop.orders (customer, total) SELECT 1 + i % 1000, i FROM generate_series(1, 5000) i',
  "INSERT INTO shop.log SELECT i, date '2020-06-01' + i FROM generate_series(1, 500) i",
  `INSERT INTO "Odd ""one"""."Table; one" SELECT i, to_tsvector('word' || i) FROM generate_series(1, 50) i`,
  "REFRESH MATERIALIZED VIEW shop.sums; SELECT nextval('shop.alone')",
]

const sequences =
  "SELECT string_agg(format('%s %s', sequencename, last_value), ',' ORDER BY sequencename) FROM pg_sequences WHERE schemaname <> 'follower'"

describe.skipIf(!available('15'))('schema and rows', () => {
  async function prepare(): Promise<Follow> {
    const all = await databases('15')
    await statements(all.upstream, [...schema, ...rows])
    return { ...all, args: ['--copy', 'all', '--copy-jobs', '2', '--copy-split', '64kB'] }
  }

  async function expectEqual(follow: Follow): Promise<void> {
    const last = start(follow, undefined, ['--until', 'now'])
    expect(await last.exit, last.output).toMatchObject({ code: 0 })
    expect(await compareDatabases(follow.upstream, follow.downstream)).toEqual([])
    const sums = 'SELECT count(*), sum(sum) FROM shop.sums'
    expect(await query(follow.downstream, sums)).toEqual(await query(follow.upstream, sums))
    expect(await query(follow.downstream, 'SELECT * FROM follower.copy_step')).toEqual([])
  }

  test('arrive in an empty database', { timeout: 60_000 }, async () => {
    const follow = await prepare()
    const it = start(follow)
    await it.ready({ slot: follow.name })
    expect(await value(follow.downstream, sequences)).toBe(await value(follow.upstream, sequences))
    await statements(follow.upstream, [
      'INSERT INTO shop.orders (customer, total) VALUES (1, 1)',
      'ALTER TABLE shop.orders DROP CONSTRAINT orders_customer_fkey',
      'DROP INDEX shop.by_note',
    ])
    expect(await it.stop(), it.output).toMatchObject({ code: 0 })
    await expectEqual(follow)
    expect(
      await value(follow.downstream, "SELECT count(*) FROM pg_stats WHERE schemaname = 'shop'"),
    ).not.toBe('0')
  })

  test('killed in every phase, under load', { timeout: 180_000 }, async () => {
    const follow = await prepare()
    const load = await startLoad(follow.upstream, { seed: seed('copy all'), ddl: false, writers: 2 })
    for (const [name, n] of [
      ['start.slot', 1],
      ['copy.table', 2],
      ['copy.step', 3],
      ['copy.begun', 1],
      ['copy.committed', 4],
      ['copy.done', 1],
      ['copy.step', 2],
    ] as const) {
      await killed(start(follow, `${name}:kill9:${n}`), name, follow)
      await statements(follow.upstream, [
        'INSERT INTO shop.customer (email) VALUES (random() || $$@y$$)',
        'INSERT INTO shop.orders (customer, total) SELECT max(id), 7 FROM shop.customer',
        'DELETE FROM shop.log WHERE id % 10 = 3 AND random() < 0.2',
      ])
    }
    await load.stop()
    await statements(follow.upstream, ['REFRESH MATERIALIZED VIEW shop.sums'])
    await expectEqual(follow)
  })

  test('what the downstream lacks is named, and nothing is left half made', { timeout: 60_000 }, async () => {
    const follow = await prepare()
    const role = `${follow.name}_role`
    await statements(follow.upstream, [`CREATE ROLE ${role}`, `ALTER TABLE shop.log OWNER TO ${role}`])
    try {
      const refused = start(follow)
      // Both servers may be one cluster's: then the role is there.
      await statements(follow.downstream, ['SELECT 1'])
      expect(await refused.exit).toMatchObject({ code: 6 })
      expect(refused.output).toContain('FLW-126')
      expect(refused.output).toMatch(new RegExp(`role .*${role}.* does not exist`))
      expect(refused.output).toContain('CREATE ROLE')
      expect(await query(follow.downstream, "SELECT FROM pg_namespace WHERE nspname = 'shop'")).toEqual([])
      const without = start(follow, undefined, ['--no-owner', '--until', 'now'])
      expect(await without.exit, without.output).toMatchObject({ code: 0 })
      expect(await value(follow.downstream, 'SELECT count(*) FROM shop.orders')).toBe('5000')
    } finally {
      await statements(follow.upstream, [`DROP OWNED BY ${role} CASCADE`, `DROP ROLE ${role}`])
    }
  })

  test('a unique index that can’t be built waits for its remedy', { timeout: 60_000 }, async () => {
    const follow = await prepare()
    await statements(follow.upstream, [
      'CREATE TABLE twin (a int)',
      'ALTER TABLE twin REPLICA IDENTITY FULL',
      'INSERT INTO twin VALUES (1)',
    ])
    const held = start(follow, 'copy.done:kill9:1')
    await killed(held, 'copy.done', follow)
    await statements(follow.downstream, ["INSERT INTO shop.customer SELECT 5000, '1@x'"])
    const failed = start(follow, undefined, ['--on-error', 'exit'])
    expect(await failed.exit, failed.output).toMatchObject({ code: 8 })
    expect(failed.output).toMatch(/FLW-351.*CONSTRAINT shop customer customer_email_key/)
    await statements(follow.downstream, ['DELETE FROM shop.customer WHERE id = 5000'])
    await expectEqual(follow)
  })
})

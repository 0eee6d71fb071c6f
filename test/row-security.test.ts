import { randomBytes } from 'node:crypto'
import type pg from 'pg'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { cleanUp } from './support/cleanup.ts'
import { type Following, follow } from './support/follow.ts'
import { pairsOfLongSuites as pairs } from './support/pairs.ts'
import { asUser, available, inDatabase } from './support/servers.ts'
import { client, query, script, statements } from './support/sql.ts'

/** What code in a table does, once it is downstream, to get at the rights of whoever applies its rows. */
const code = (mallory: string): string[] => [
  // Not volatile on the outside: good for indexes, generated columns and what is folded when a statement is planned.
  `CREATE FUNCTION m.act() RETURNS int LANGUAGE plpgsql VOLATILE AS $$ BEGIN
     IF to_regclass('m.ran') IS NULL THEN RETURN 1; END IF;
     INSERT INTO m.ran VALUES (current_user);
     BEGIN EXECUTE 'ALTER ROLE ${mallory} SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;
     RETURN 1; END $$`,
  `CREATE FUNCTION m.grab(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN i + m.act() - 1; END $$`,
  `CREATE FUNCTION m.fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM m.act(); RETURN NEW; END $$`,
  `CREATE FUNCTION m.far(a float8, b float8) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN a - b + m.grab(0); END $$`,
]

const fire = (name: string, when: string, also = ''): string =>
  `CREATE ${also} TRIGGER ${name} ${when} EXECUTE FUNCTION m.fire(); ALTER TABLE m.t ENABLE ALWAYS TRIGGER ${name}`

/** Each vector: what mallory makes, the rows that follow, and what of them is to be seen. */
const vectors: readonly (readonly [name: string, made: string, rows: string])[] = [
  [
    'a trigger',
    `CREATE TABLE m.t(a int PRIMARY KEY); ${fire('x', 'BEFORE INSERT ON m.t FOR EACH ROW')}`,
    'INSERT INTO m.t VALUES (1)',
  ],
  [
    'a replica trigger',
    `CREATE TABLE m.t(a int PRIMARY KEY); ${fire('x', 'AFTER INSERT ON m.t FOR EACH ROW')}; ALTER TABLE m.t ENABLE REPLICA TRIGGER x`,
    'INSERT INTO m.t VALUES (1)',
  ],
  [
    'a statement trigger',
    `CREATE TABLE m.t(a int PRIMARY KEY); ${fire('x', 'BEFORE DELETE ON m.t FOR EACH STATEMENT')}`,
    'INSERT INTO m.t VALUES (1), (2); DELETE FROM m.t WHERE a = 2',
  ],
  [
    'a trigger of TRUNCATE',
    `CREATE TABLE m.t(a int PRIMARY KEY); ${fire('x', 'BEFORE TRUNCATE ON m.t')}`,
    'TRUNCATE m.t; INSERT INTO m.t VALUES (1)',
  ],
  [
    'a condition of a trigger',
    `CREATE TABLE m.t(a int PRIMARY KEY); ${fire('x', 'BEFORE INSERT ON m.t FOR EACH ROW WHEN (m.grab(NEW.a) > 0)')}`,
    'INSERT INTO m.t VALUES (1)',
  ],
  [
    'a deferred trigger',
    `CREATE TABLE m.t(a int PRIMARY KEY); ${fire('x', 'AFTER INSERT ON m.t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW', 'CONSTRAINT')}`,
    'INSERT INTO m.t VALUES (1)',
  ],
  ['a CHECK', 'CREATE TABLE m.t(a int PRIMARY KEY CHECK (m.grab(a) > 0))', 'INSERT INTO m.t VALUES (1)'],
  [
    'an index on an expression',
    'CREATE TABLE m.t(a int PRIMARY KEY); CREATE INDEX ON m.t (m.grab(a))',
    'INSERT INTO m.t VALUES (1)',
  ],
  [
    'an index on a constant',
    'CREATE TABLE m.t(a int PRIMARY KEY); CREATE INDEX ON m.t ((a + m.grab(1)))',
    'INSERT INTO m.t VALUES (1)',
  ],
  [
    'a partial index',
    'CREATE TABLE m.t(a int PRIMARY KEY); CREATE INDEX ON m.t (a) WHERE m.grab(a) > 0',
    'INSERT INTO m.t VALUES (1)',
  ],
  [
    'a generated column',
    'CREATE TABLE m.t(a int PRIMARY KEY, g int GENERATED ALWAYS AS (m.grab(a)) STORED)',
    'INSERT INTO m.t VALUES (1)',
  ],
  [
    'an exclusion constraint',
    'CREATE TABLE m.t(a int PRIMARY KEY, EXCLUDE USING btree ((m.grab(a)) WITH =))',
    'INSERT INTO m.t VALUES (1)',
  ],
  [
    'statistics of an expression',
    'CREATE TABLE m.t(a int PRIMARY KEY); CREATE STATISTICS m.s ON (a + m.grab(1)), (a * 2) FROM m.t',
    'INSERT INTO m.t VALUES (1), (2); DELETE FROM m.t WHERE a = 2',
  ],
  [
    'the key of partitions',
    'CREATE TABLE m.t(a int) PARTITION BY LIST ((m.grab(a))); CREATE TABLE m.t1 PARTITION OF m.t DEFAULT',
    'INSERT INTO m.t VALUES (1)',
  ],
  [
    'a trigger of a partition',
    `CREATE TABLE m.p(a int PRIMARY KEY) PARTITION BY LIST (a); CREATE TABLE m.t PARTITION OF m.p DEFAULT; ${fire('x', 'BEFORE INSERT ON m.t FOR EACH ROW')}`,
    'INSERT INTO m.p VALUES (1)',
  ],
  [
    'a rule',
    `CREATE TABLE m.t(a int PRIMARY KEY); CREATE RULE r AS ON INSERT TO m.t DO ALSO SELECT m.act(); ALTER TABLE m.t ENABLE ALWAYS RULE r`,
    'INSERT INTO m.t VALUES (1)',
  ],
  [
    'a domain',
    'CREATE DOMAIN m.d AS int CHECK (m.grab(VALUE) > 0); CREATE TABLE m.t(a int PRIMARY KEY, d m.d)',
    'INSERT INTO m.t VALUES (1, 1)',
  ],
  [
    'an array of a domain',
    'CREATE DOMAIN m.d AS int CHECK (m.grab(VALUE) > 0); CREATE TABLE m.t(a int PRIMARY KEY, d m.d[])',
    'INSERT INTO m.t VALUES (1, ARRAY[1, 2])',
  ],
  [
    'a domain in a composite type, in an array, in a domain',
    'CREATE DOMAIN m.d AS int CHECK (m.grab(VALUE) > 0); CREATE TYPE m.c AS (d m.d); CREATE DOMAIN m.e AS m.c[]; CREATE TABLE m.t(a int PRIMARY KEY, d m.e)',
    `INSERT INTO m.t VALUES (1, '{(1)}')`,
  ],
  [
    'the difference of a range',
    `CREATE TYPE m.r AS RANGE (subtype = float8, subtype_diff = m.far); CREATE TABLE m.t(a int PRIMARY KEY, r m.r); CREATE INDEX ON m.t USING gist (r)`,
    `INSERT INTO m.t SELECT i, m.r(i, i + 10) FROM generate_series(1, 1000) i`,
  ],
]

describe.each(pairs)('code in a table, applied by a superuser, %s', (pair) => {
  if (!available(pair)) return it.skip('no server')
  const suffix = randomBytes(3).toString('hex')
  const mallory = `mallory_${suffix}`
  const alice = `alice_${suffix}`
  let f: Following
  let hers: pg.Client

  beforeAll(async () => {
    let ends: string[] = []
    cleanUp(async () => {
      for (const end of ends) await script(inDatabase(end, 'postgres'), `DROP ROLE ${mallory}, ${alice}`)
    })
    f = await follow({
      pair,
      before: [
        `CREATE ROLE ${mallory} LOGIN`,
        `CREATE ROLE ${alice} LOGIN`,
        `CREATE SCHEMA al AUTHORIZATION ${alice}`,
        'CREATE TABLE public.secret (i int PRIMARY KEY, d date, t text)',
        "INSERT INTO public.secret VALUES (1, '2024-02-03', 'ä')",
      ],
    })
    ends = [f.upstream, f.downstream]
    hers = await client(asUser(f.upstream, mallory))
  })

  async function begin(): Promise<void> {
    for (const end of [f.upstream, f.downstream]) await statements(end, ['DROP SCHEMA IF EXISTS m CASCADE'])
    await statements(f.upstream, [`CREATE SCHEMA m AUTHORIZATION ${mallory}`])
    for (const text of code(mallory)) await hers.query(text)
    await f.settle()
    await statements(f.downstream, ['CREATE TABLE m.ran(who name)', `ALTER TABLE m.ran OWNER TO ${mallory}`])
  }

  /** No attack does harm, and after each the rows of others arrive as they are. */
  afterEach(async () => {
    const gained = await query(
      f.downstream,
      'SELECT rolname FROM pg_roles WHERE rolname = ANY ($1) AND rolsuper',
      [[mallory, alice]],
    )
    await script(f.downstream, `ALTER ROLE ${mallory} NOSUPERUSER`)
    expect(gained).toEqual([])
    await script(f.upstream, "UPDATE public.secret SET d = d + 1, t = t || 'ß'")
    await f.settle()
    const [above, below] = await f.both('SELECT * FROM public.secret')
    expect(below).toBe(above)
  })

  const ran = async (): Promise<(string | null | undefined)[]> =>
    (await query(f.downstream, 'SELECT DISTINCT who FROM m.ran')).map((row) => row.who)

  it.each(vectors)('%s runs with the rights of the owner', async (_name, made, rows) => {
    await begin()
    for (const text of made.split('; ')) await hers.query(text)
    await f.settle()
    await script(f.downstream, 'TRUNCATE m.ran')
    await hers.query(rows)
    await f.settle()
    const table = rows.includes('m.p ') ? 'm.p' : 'm.t'
    const [above, below] = await f.both(`SELECT * FROM ${table} ORDER BY 1`)
    expect(below).toBe(above)
    expect(await ran()).toEqual([mallory])
  })
})

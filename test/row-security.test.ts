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
    'INSERT INTO m.t VALUES (1); UPDATE m.t SET a = 2',
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
    'CREATE TABLE m.t(a int) PARTITION BY LIST ((m.grab(a))); CREATE TABLE m.t1 PARTITION OF m.t FOR VALUES IN (1); CREATE TABLE m.t2 PARTITION OF m.t DEFAULT',
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
    expect([[], [mallory]]).toContainEqual(await ran())
    await script(f.downstream, 'TRUNCATE m.ran')
    await hers.query(rows)
    await f.settle()
    const table = rows.includes('m.p ') ? 'm.p' : 'm.t'
    // As mallory: the planner, too, runs what is in a table.
    const seen = (end: string) => query(asUser(end, mallory), `SELECT * FROM ${table} ORDER BY 1`)
    expect(await seen(f.downstream)).toEqual(await seen(f.upstream))
    expect(await ran()).toEqual([mallory])
  })

  /** What code of a trigger does to the session, beside what `m.act` tries with each row. */
  it.each([
    ['leaves the role', `EXECUTE 'RESET ROLE'; ALTER ROLE %M SUPERUSER`],
    ['sets a role', `SET ROLE postgres; ALTER ROLE %M SUPERUSER`],
    ['sets the session authorization', `SET SESSION AUTHORIZATION postgres; ALTER ROLE %M SUPERUSER`],
    ['lets triggers of origin fire', `SET session_replication_role = origin`],
    [
      'takes the wall down',
      `FOR f IN SELECT p.oid::regprocedure::text FROM pg_proc p WHERE proname LIKE 'follower\\_row%' LOOP
         EXECUTE 'ALTER FUNCTION ' || f || ' SECURITY INVOKER'; hit := true; END LOOP`,
    ],
    [
      'makes another wall',
      `FOR f IN SELECT p.oid::regprocedure::text FROM pg_proc p WHERE proname LIKE 'follower\\_row%' LOOP
         EXECUTE 'DROP FUNCTION ' || f;
         EXECUTE 'CREATE FUNCTION ' || replace(f, '(text[])', '(v text[])') || ' RETURNS int LANGUAGE sql IMMUTABLE AS ''SELECT m.grab(1)''';
         hit := true; END LOOP`,
    ],
    [
      'puts its own under the names of prepared statements',
      `FOR f IN SELECT name FROM pg_prepared_statements LOOP
         EXECUTE format('DEALLOCATE %I', f); EXECUTE format('PREPARE %I AS SELECT m.act()', f); END LOOP;
       FOR n IN 1 .. 50 LOOP BEGIN EXECUTE format('PREPARE f%s AS SELECT m.act()', n); EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; hit := true`,
    ],
    [
      'sets what values and names mean',
      `SET client_encoding = 'LATIN1'; SET DateStyle = 'German, DMY'; SET array_nulls = off; SET IntervalStyle = sql_standard; SET xmloption = document;
       SET search_path = m, pg_catalog; SET row_security = on; SET statement_timeout = '1ms'; SET synchronous_commit = off; hit := true`,
    ],
    [
      'leaves operators and functions in the search_path',
      `CREATE OR REPLACE FUNCTION m.eq(anyelement, anyelement) RETURNS boolean LANGUAGE sql AS 'SELECT m.act() > 0';
       CREATE OR REPLACE FUNCTION m.pteq(tid, tid) RETURNS boolean LANGUAGE sql AS 'SELECT m.act() > 0';
       CREATE OR REPLACE FUNCTION m.plus(timestamptz, interval) RETURNS timestamptz LANGUAGE sql AS 'SELECT now() WHERE m.act() > 0';
       BEGIN
         CREATE OPERATOR m.= (LEFTARG = anyelement, RIGHTARG = anyelement, FUNCTION = m.eq);
         CREATE OPERATOR m.= (LEFTARG = tid, RIGHTARG = tid, FUNCTION = m.pteq);
         CREATE OPERATOR m.+ (LEFTARG = timestamptz, RIGHTARG = interval, FUNCTION = m.plus);
       EXCEPTION WHEN duplicate_function THEN NULL; END;
       SET search_path = m, pg_catalog; hit := true`,
    ],
    [
      'leaves a cursor that runs at COMMIT',
      `EXECUTE 'CLOSE ALL'; EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT m.act()'; hit := true`,
    ],
    [
      'leaves temporary tables',
      `CREATE TEMP TABLE IF NOT EXISTS trusted(i int); CREATE TEMP TABLE IF NOT EXISTS pg_class(i int); hit := true`,
    ],
    [
      'lets go of everything',
      `EXECUTE 'DEALLOCATE ALL'; PERFORM pg_advisory_unlock_all(); LISTEN everything; NOTIFY everything; EXECUTE 'DISCARD PLANS'; hit := true`,
    ],
    ['drops the wall', `EXECUTE 'DISCARD TEMP'; hit := true`],
    [
      'gives code to another table',
      `EXECUTE 'CREATE OR REPLACE TRIGGER x BEFORE INSERT ON m.other FOR EACH ROW EXECUTE FUNCTION m.fire()';
       ALTER TABLE m.other ENABLE ALWAYS TRIGGER x; hit := true`,
    ],
    [
      'queues a trigger for COMMIT',
      `INSERT INTO m.queue VALUES (1); SET CONSTRAINTS ALL DEFERRED; hit := true`,
    ],
  ])('code that %s gets no more rights and changes no row', async (_name, body) => {
    await begin()
    const table = 'm.t(a int PRIMARY KEY, d date, i interval, n text[])'
    for (const text of [
      `CREATE TABLE ${table}`,
      'CREATE TABLE m.other(a int PRIMARY KEY)',
      'CREATE TABLE m.queue(a int)',
      'CREATE CONSTRAINT TRIGGER q AFTER INSERT ON m.queue DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION m.fire()',
      'ALTER TABLE m.queue ENABLE ALWAYS TRIGGER q',
      `CREATE FUNCTION m.attack() RETURNS trigger LANGUAGE plpgsql AS $attack$ DECLARE f text; n int; hit boolean := false; BEGIN
         IF to_regclass('m.ran') IS NOT NULL THEN
           BEGIN ${body.replaceAll('%M', mallory)}; EXCEPTION WHEN OTHERS THEN INSERT INTO m.failed VALUES (SQLERRM); END;
           IF hit THEN INSERT INTO m.hit VALUES (1); END IF;
           PERFORM m.act();
         END IF;
         RETURN NEW; END $attack$`,
      'CREATE TRIGGER t AFTER INSERT ON m.t FOR EACH ROW EXECUTE FUNCTION m.attack()',
      'ALTER TABLE m.t ENABLE ALWAYS TRIGGER t',
    ])
      await hers.query(text)
    await statements(f.upstream, [
      'DROP TABLE IF EXISTS public.trusted',
      `CREATE TABLE ${table.replace('m.t', 'public.trusted')}`,
    ])
    await f.settle()
    await statements(f.downstream, [
      'CREATE TABLE m.hit(i int)',
      'CREATE TABLE m.failed(what text)',
      `ALTER TABLE m.hit OWNER TO ${mallory}`,
      `ALTER TABLE m.failed OWNER TO ${mallory}`,
    ])
    const values = (n: number): string => `(${n}, '2024-02-03', '-1 day +02:03:04', ARRAY[NULL, 'ä'])`
    const others = (n: number): string =>
      `INSERT INTO public.trusted VALUES ${values(n)}; UPDATE public.trusted SET d = d + 1 WHERE a = ${n}`
    const mallorys = (n: number): string => `INSERT INTO m.t VALUES ${values(n)}`
    // Each kind of statement is there before, so that it has a name that can be taken.
    await script(f.upstream, `${others(1)}; INSERT INTO m.other VALUES (1)`)
    await f.settle()
    await script(
      f.upstream,
      [mallorys(1), others(2), mallorys(2), mallorys(3), 'INSERT INTO m.other VALUES (2)', others(3)].join(
        ';',
      ),
    )
    await script(f.upstream, `${others(4)}; INSERT INTO m.other VALUES (3)`)
    await script(f.upstream, mallorys(4))
    await f.settle()
    for (const name of ['m.t', 'm.other', 'public.trusted']) {
      const seen = (end: string) =>
        query(name.startsWith('m.') ? asUser(end, mallory) : end, `SELECT * FROM ${name} ORDER BY 1`)
      expect(await seen(f.downstream), name).toEqual(await seen(f.upstream))
    }
    expect(await ran()).toEqual([mallory])
    const failed = await query(f.downstream, 'SELECT DISTINCT what FROM m.failed')
    if (body.includes('hit := true'))
      expect(await query(f.downstream, 'SELECT count(*) FROM m.hit'), JSON.stringify(failed)).toEqual([
        { count: '4' },
      ])
    else expect(failed[0]?.what).toMatch(/cannot set parameter|permission denied/)
  })
})

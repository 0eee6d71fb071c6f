import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import type pg from 'pg'
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { quoteLiteral } from '../src/postgres/identifier.ts'
import { cleanUp } from './support/cleanup.ts'
import { type Following, follow } from './support/follow.ts'
import { pairs } from './support/pairs.ts'
import { available, databases, inDatabase, type Pair } from './support/servers.ts'
import { client, query, script } from './support/sql.ts'
import { binaryKinds, extensions, type Kind, kinds, userTypes } from './support/types.ts'

/** The seed and the number of cases: FOLLOWER_SEED, FOLLOWER_PROPERTY_RUNS. */
const seed = Number(process.env.FOLLOWER_SEED ?? Date.now() % 2 ** 31)
const runs = Number(process.env.FOLLOWER_PROPERTY_RUNS ?? (process.env.FOLLOWER_SLOW === '1' ? 200 : 20))

/** The judge's own settings, which win over those of roles and databases: it must see every bit. */
const judge = {
  search_path: 'public',
  datestyle: 'ISO,YMD',
  intervalstyle: 'postgres',
  timezone: 'UTC',
  bytea_output: 'hex',
  extra_float_digits: '3',
  lc_monetary: 'C',
  standard_conforming_strings: 'on',
  array_nulls: 'on',
  xmloption: 'content',
  row_security: 'off',
  quote_all_identifiers: 'off',
  default_transaction_read_only: 'off',
  default_transaction_isolation: 'read\\ committed',
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  idle_session_timeout: '0',
}

/** What a role or a database may say to everybody who connects. Timeouts are longer than a connection takes. */
const hostile: Readonly<Record<string, string>> = {
  DateStyle: 'German, DMY',
  IntervalStyle: 'sql_standard',
  TimeZone: 'Asia/Kolkata',
  bytea_output: 'escape',
  extra_float_digits: '-15',
  lc_monetary: 'C.UTF-8',
  search_path: 'nowhere, "$user"',
  statement_timeout: '100ms',
  lock_timeout: '10ms',
  idle_in_transaction_session_timeout: '10ms',
  idle_session_timeout: '300ms',
  default_transaction_read_only: 'on',
  default_transaction_isolation: 'serializable',
  default_transaction_deferrable: 'on',
  standard_conforming_strings: 'off',
  backslash_quote: 'off',
  escape_string_warning: 'on',
  array_nulls: 'off',
  xmlbinary: 'hex',
  xmloption: 'document',
  row_security: 'on',
  client_encoding: 'LATIN1',
  transform_null_equals: 'on',
  quote_all_identifiers: 'on',
  check_function_bodies: 'off',
  enable_indexscan: 'off',
  enable_bitmapscan: 'off',
  plan_cache_mode: 'force_generic_plan',
  synchronous_commit: 'off',
  timezone_abbreviations: 'India',
  default_text_search_config: 'pg_catalog.german',
  'plpgsql.extra_errors': 'all',
  'plpgsql.variable_conflict': 'use_column',
}

/** Half of them by the database, half by the role in it: both ways count. */
const hostilities = Object.entries(hostile).map(([name, value], i) => {
  const quoted = name
    .split('.')
    .map((part) => `"${part}"`)
    .join('.')
  const set = name === 'search_path' ? value : quoteLiteral(value)
  const whom = i % 2 === 0 ? 'DATABASE %1$I' : 'ROLE %2$I IN DATABASE %1$I'
  return `DO $do$ BEGIN EXECUTE format($q$ALTER ${whom} SET ${quoted} = ${set}$q$, current_database(), current_user); END $do$`
})

beforeAll(() => {
  vi.stubEnv(
    'PGOPTIONS',
    Object.entries(judge)
      .map(([name, value]) => `-c ${name}=${value}`)
      .join(' '),
  )
})

/** With a trigger, the rows of a table take another way: in functions of the table's owner. */
const hows = pairs.flatMap((pair) => [
  [pair, 'as they are'] as const,
  [pair, 'as they are, in binary'] as const,
  ...(process.env.FOLLOWER_SLOW === '1' && ['18', '18-15'].includes(pair)
    ? [[pair, "as they are, with the rights of their tables' owner"] as const]
    : []),
])

describe.each(hows)('values of every type, %s, under hostile settings of role and database', (pair, how) => {
  it.skipIf(!available(pair))(`arrive ${how}, in rows and as keys`, { timeout: 120_000 }, async () => {
    const { f, all } = await prepare(pair, how)
    const [up, down] = await Promise.all([client(f.upstream), client(f.downstream)])
    const images: string[] = []
    for (const [i, kind] of all.entries()) images.push(...(await imagesOf(up, kind, i)))
    const compare = async (): Promise<number> => {
      await f.settle()
      const [above, below] = await Promise.all([up, down].map((end) => results(end, images)))
      let rows = 0
      for (const [i, text] of images.entries()) {
        expect(below![i], text).toEqual(above![i])
        rows += above![i]!.length
      }
      return rows
    }
    const run = async (make: (kind: Kind, i: number) => string[]): Promise<number> => {
      await up.query('BEGIN')
      for (const text of all.flatMap(make))
        await up.query(text).catch((error) => expect.fail(`${error.message}: ${text}`))
      await up.query('COMMIT')
      return compare()
    }

    const inserted = await run((kind, i) => {
      const values = [...kind.values, ...kind.large]
      const [element, type] = [`(SELECT v FROM full${i} WHERE n = 0)`, bare(kind)]
      return [
        `INSERT INTO full${i}(n, v) VALUES ${values.map((value, n) => `(${n}, ${value})`).join(', ')}`,
        `INSERT INTO full${i}(n, a) VALUES (100, '{}'), (101, NULL), (102, ARRAY[NULL]::${type}[])`,
        `INSERT INTO full${i}(n, ${kind.values.map((_, n) => `a[${n + 1}]`).join(', ')}) VALUES (103, ${kind.values.join(', ')})`,
        `INSERT INTO full${i}(n, a[-3], a[-2]) VALUES (104, NULL, ${element})`,
        ...(kind.isArray
          ? []
          : [
              `INSERT INTO full${i}(n, a) VALUES (105, ARRAY[[${element}, NULL::${type}], [NULL, ${element}]])`,
              `INSERT INTO full${i}(n, a[-3:-2][2147483640:2147483640]) VALUES (106, ARRAY[[${element}], [NULL::${type}]])`,
            ]),
        // Of values that are equal and not the same, the right one is to go.
        `INSERT INTO only${i} SELECT v FROM full${i} f, generate_series(1, 2) WHERE f.n < ${values.length}`,
        ...(kind.key
          ? kind.values
              .slice(kind.values.length > 1 ? 1 : 0)
              .map((value, n) => `INSERT INTO key${i} VALUES (${value}, ${n}) ON CONFLICT DO NOTHING`)
          : []),
      ]
    })
    expect(inserted).toBeGreaterThan(all.length * 8)

    await run((kind, i) => {
      const count = kind.values.length + kind.large.length
      return [
        `UPDATE full${i} SET n = n + 1000 WHERE n % 2 = 0`,
        `UPDATE full${i} f SET a[7] = v, a[8] = NULL,
           v = (SELECT v FROM full${i} g WHERE g.n % 1000 = (f.n % 1000 + 1) % ${count}) WHERE n % 1000 < 100`,
        `UPDATE full${i} SET n = -n WHERE n % 1000 > 101`,
        `UPDATE only${i} SET v = (SELECT v FROM only${i} WHERE ctid = '(0,1)') WHERE ctid IN ('(0,3)', '(0,4)')`,
        ...(kind.key ? [`UPDATE key${i} SET n = n + 1000`] : []),
        ...(kind.key && kind.values.length > 1
          ? [`UPDATE key${i} SET v = ${kind.values[0]} WHERE n = 1000`]
          : []),
      ]
    })
    const left = await run((kind, i) => [
      `DELETE FROM full${i} WHERE n % 3 = 1`,
      `DELETE FROM only${i} WHERE right(split_part(ctid::text, ',', 2), 2) IN ('2)', '6)', '0)')`,
      ...(kind.key ? [`DELETE FROM key${i} WHERE n % 2 = 1`] : []),
    ])
    expect(left).toBeLessThan(inserted)
    expect(left).toBeGreaterThan(all.length * 4)
    expect(await f.stop(), f.follower.output).toBe(0)
    expect(f.follower.output).not.toMatch(/"level":"error"|step by step/)
    if (how.endsWith('binary')) expect(f.follower.output).not.toMatch(/as text/)
  })
})

const literal = (type: string, arbitrary: fc.Arbitrary<string | number | bigint>): fc.Arbitrary<string> =>
  arbitrary.map((it) => `${quoteLiteral(Object.is(it, -0) ? '-0' : String(it))}::${type}`)
const digits = (max: number) =>
  fc.string({ unit: fc.constantFrom(...'0123456789'), minLength: 1, maxLength: max })
const numeric = literal(
  'numeric',
  fc.oneof(
    fc.tuple(fc.constantFrom('', '-'), digits(60), digits(60)).map(([sign, a, b]) => `${sign}${a}.${b}`),
    fc.tuple(digits(5), fc.integer({ min: -1000, max: 1000 })).map(([a, exponent]) => `${a}e${exponent}`),
    fc.constantFrom('NaN', 'Infinity', '-Infinity', '-0.00'),
  ),
)
const float8 = literal('float8', fc.double())
const text = literal(
  'text',
  fc.string({ unit: 'binary' }).map((it) => it.replaceAll('\0', '')),
)
const json = fc.json().filter((it) => !it.includes('u0000'))
const microseconds = fc.bigInt({ min: -(2n ** 56n), max: 2n ** 56n })
const timestamp = fc
  .tuple(fc.integer({ min: -2_451_500, max: 106_000_000 }), fc.integer({ min: 0, max: 86_399_999_999 }))
  .map(([day, us]) => `((date '2000-01-01' + ${day})::timestamp + interval '${us} microseconds')`)
const mood = literal('mood', fc.constantFrom('sad', "it's", '"', 'a,b', ''))
const array = (type: string, of: fc.Arbitrary<string>) =>
  fc.array(fc.oneof(of, fc.constant('NULL'))).map((list) => `ARRAY[${list.join(', ')}]::${type}[]`)
const time = fc
  .tuple(
    fc.integer({ min: 0, max: 24 }),
    fc.integer({ min: 0, max: 59 }),
    fc.integer({ min: 0, max: 999_999 }),
  )
  .map(([hour, minute, us]) =>
    hour === 24 ? '24:00' : `${hour}:${minute}:${minute}.${String(us).padStart(6, '0')}`,
  )

/** A column of each, with any value. */
const columns: Readonly<Record<string, fc.Arbitrary<string>>> = {
  numeric,
  float8,
  text,
  float4: literal('float4', fc.float()),
  int8: literal('int8', fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })),
  money: literal('money', fc.bigInt({ min: -92233720368547758n, max: 92233720368547758n })),
  bytea: fc.uint8Array().map((it) => `'\\x${Buffer.from(it).toString('hex')}'::bytea`),
  timestamp,
  timestamptz: timestamp.map((it) => `${it} AT TIME ZONE 'Asia/Kolkata'`),
  time: literal('time', time),
  timetz: literal(
    'timetz',
    fc
      .tuple(
        time,
        fc.constantFrom('+', '-'),
        fc.integer({ min: 0, max: 15 }),
        fc.integer({ min: 0, max: 59 }),
      )
      .map(([at, sign, hour, minute]) => `${at}${sign}${hour}:${minute}:${minute}`),
  ),
  interval: literal(
    'interval',
    fc
      .tuple(
        fc.maxSafeInteger().map((it) => it % 2 ** 31),
        fc.integer(),
        microseconds,
      )
      .map(([m, d, us]) => `${m} mons ${d} days ${us} microseconds`),
  ),
  json: literal('json', json),
  jsonb: literal('jsonb', json),
  'bit varying': literal('varbit', fc.string({ unit: fc.constantFrom('0', '1') })),
  inet: fc.oneof(
    literal(
      'inet',
      fc.ipV4Extended().filter((it) => /^\d+(\.\d+){3}$/.test(it) && !/0[x0-9]/.test(it)),
    ),
    literal('inet', fc.ipV6()),
  ),
  'numeric[]': array('numeric', numeric),
  'text[]': array('text', text),
  'mood[]': array('mood', mood),
  '"my Pair"': fc.tuple(fc.integer(), mood, numeric).map((it) => `ROW(${it.join(', ')})::"my Pair"`),
  numrange: fc
    .tuple(numeric, numeric, fc.constantFrom('[]', '()', '[)'))
    .map(([a, b, bounds]) => `numrange(least(${a}, ${b}), greatest(${a}, ${b}), '${bounds}')`),
  '"Floats"': fc
    .array(fc.tuple(float8, float8))
    .map(
      (list) =>
        `"Floats"(${list.map(([a, b]) => `float_range(least(${a}, ${b}), greatest(${a}, ${b}))`).join(', ')})`,
    ),
}
const row = fc.tuple(...Object.values(columns).map((it) => fc.option(it, { freq: 10 })))

describe('any values', () => {
  it(`arrive as they are (seed ${seed}, ${runs} runs)`, { timeout: 120_000 }, async () => {
    const names = Object.keys(columns).map((_, i) => `c${i}`)
    const define = Object.keys(columns)
      .map((type, i) => `c${i} ${type}`)
      .join(', ')
    const f = await follow({
      args: ['--no-identity', 'full'],
      downstreamFirst: ['CREATE TYPE shift AS ENUM ()'],
      before: [
        ...userTypes,
        `CREATE TABLE keyed(n int PRIMARY KEY, ${define})`,
        `CREATE TABLE full_(${define})`,
        ...hostilities,
      ],
      env: { PGOPTIONS: undefined },
    })
    const [up, down] = await Promise.all([client(f.upstream), client(f.downstream)])
    const images = ['keyed', 'full_'].map(
      (table) => `SELECT *, array_send(c16), numeric_send(c0), range_send(c20) FROM ${table}`,
    )
    await fc.assert(
      fc.asyncProperty(fc.array(row, { minLength: 2, maxLength: 6 }), async (rows) => {
        const values = rows.map((each) => each.map((it) => it ?? 'NULL').join(', '))
        const [first, ...others] = values
        const set = names.join(', ')
        await up.query(`TRUNCATE keyed, full_; INSERT INTO keyed VALUES ${values.map((it, n) => `(${n}, ${it})`).join(', ')};
          INSERT INTO full_ VALUES ${[...values, ...others].map((it) => `(${it})`).join(', ')}`)
        await up.query(`UPDATE keyed SET (n, ${set}) = ROW(n + 100, ${first}) WHERE n = 1; DELETE FROM keyed WHERE n = 2; UPDATE keyed SET c0 = NULL;
          UPDATE full_ SET (${set}) = ROW(${first}) WHERE ctid = '(0,2)'; DELETE FROM full_ WHERE ctid IN ('(0,1)', '(0,3)')`)
        await f.settle()
        const [above, below] = await Promise.all([up, down].map((end) => results(end, images)))
        expect(below).toEqual(above)
        expect(above![1]!.length).toBeGreaterThan(0)
      }),
      { seed, numRuns: runs, endOnFailure: true },
    )
  })
})

/** A `full` table without a key and, where the type allows, a `key` table for each kind; OIDs differ at both ends. */
async function prepare(pair: Pair, how: string): Promise<{ f: Following; all: readonly Kind[] }> {
  const major = Math.min(...pair.split('-').map(Number))
  const present = await extensionsOf(pair)
  const walled = how.endsWith('owner')
  const all = how.endsWith('binary') ? binaryKinds(major) : kinds(major, present)
  const owner = `owner_${randomBytes(4).toString('hex')}`
  let server: string | undefined
  // After the database, so registered before it.
  if (walled) cleanUp(() => server && script(inDatabase(server, 'postgres'), `DROP ROLE IF EXISTS ${owner}`))
  const f = await follow({
    pair,
    args: ['--no-identity', 'full'],
    downstreamOnly: walled ? ownedBy(owner) : [],
    downstreamFirst: [
      ...Array.from({ length: 7 }, (_, i) => `CREATE TYPE shift${i} AS ENUM ()`),
      ...present.map((name) => `CREATE EXTENSION ${name}; DROP EXTENSION ${name}`),
    ],
    before: [
      ...present.map((name) => `CREATE EXTENSION ${name}`),
      ...userTypes,
      all
        .flatMap((kind, i) => [
          `CREATE TABLE full${i}(n int, v ${kind.type}, a ${bare(kind)}[])`,
          `CREATE TABLE only${i}(v ${kind.type})`,
          ...(kind.key ? [`CREATE TABLE key${i}(v ${kind.type} PRIMARY KEY, n int)`] : []),
        ])
        .join(';'),
      ...hostilities,
    ],
    env: { PGOPTIONS: undefined },
  })
  server = f.downstream
  return { f, all }
}

/** All tables of the schema public belong to the role, and have a trigger that does nothing. */
function ownedBy(role: string): string[] {
  return [
    `CREATE ROLE ${role}`,
    `GRANT USAGE ON SCHEMA "an Other" TO ${role}`,
    `CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN coalesce(NEW, OLD); END'`,
    `DO $do$ DECLARE t regclass; BEGIN
       FOR t IN SELECT c.oid FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace LOOP
         EXECUTE format('ALTER TABLE %s OWNER TO ${role}', t);
         EXECUTE format('CREATE TRIGGER fire BEFORE INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION public.fire()', t);
         EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER fire', t);
       END LOOP; END $do$`,
  ]
}

/** Queries whose output is all that a kind's tables hold: PostgreSQL's text of the values, and their binary form. */
async function imagesOf(client: pg.Client, kind: Kind, i: number): Promise<string[]> {
  // Binary forms of types with parts hold OIDs, as do those of reg*: there the text is all that may be equal.
  const { rows } = await client.query<Record<string, string | null>>(
    `SELECT CASE WHEN typcategory NOT IN ('A', 'C') AND typsend <> 0 AND typsend::regproc::text !~ '^reg' AND typname <> 'refcursor' THEN typsend::regproc::text END AS send,
       oid < 16384 AS is_builtin FROM pg_type WHERE oid = to_regtype($1)`,
    [bare(kind)],
  )
  const { send, is_builtin } = rows[0]!
  const value = send ? `, encode(${send}(v), 'hex') AS v_image` : ''
  const array = send && is_builtin === 't' ? `, encode(array_send(a), 'hex') AS a_image` : ''
  return [
    `SELECT n, v, a${value}${array} FROM full${i}`,
    `SELECT v${value} FROM only${i}`,
    ...(kind.key ? [`SELECT n, v${value} FROM key${i}`] : []),
  ]
}

/** The rows of each query, in no order. */
async function results(client: pg.Client, texts: readonly string[]): Promise<string[][]> {
  const all = (await client.query(texts.join(';'))) as unknown as pg.QueryResult[]
  return all.map(({ rows }) => rows.map((row) => JSON.stringify(row)).sort())
}

/** The type as an array's element. */
function bare(kind: Kind): string {
  return kind.type.replace(/ COLLATE .*/, '')
}

async function extensionsOf(pair: Pair): Promise<readonly string[]> {
  const { upstream, downstream } = await databases(pair)
  const text = 'SELECT name FROM pg_available_extensions WHERE name = ANY ($1)'
  const [up, down] = await Promise.all(
    [upstream, downstream].map(async (end) => (await query(end, text, [extensions])).map((row) => row.name)),
  )
  const present = extensions.filter((name) => up!.includes(name) && down!.includes(name))
  const absent = extensions.filter((name) => !present.includes(name))
  if (absent.length > 0)
    console.warn(`SKIPPED with ${pair}: types of ${absent.join(', ')}, which one end lacks`)
  return present
}

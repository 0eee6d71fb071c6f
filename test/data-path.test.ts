import { expect, it } from 'vitest'
import { type Following, follow } from './support/follow.ts'

/** What the query gives upstream, which must be what it gives downstream. */
async function same(f: Following, text: string): Promise<Record<string, string | null>[]> {
  const [up, down] = await f.both(text)
  expect(down, text).toBe(up)
  return JSON.parse(up)
}

it('finds rows by types whose operators stand in an extension', { timeout: 60_000 }, async () => {
  const keys = { hstore: '"a"=>"1"', citext: 'AbC', ltree: 'a.b' }
  const types = Object.keys(keys)
  const f = await follow({
    before: [
      ...types.map((type) => `CREATE EXTENSION ${type}`),
      'CREATE DOMAIN label AS citext',
      ...types.map((type) => `CREATE TABLE key_${type}(k ${type} PRIMARY KEY, v int)`),
      ...types.map((type) => `CREATE TABLE full_${type}(k ${type}, a ${type}[], v int)`),
      ...types.map((type) => `ALTER TABLE full_${type} REPLICA IDENTITY FULL`),
      'CREATE TABLE key_domain(k label PRIMARY KEY, v int)',
    ],
  })
  const all = Object.entries(keys)
  await f.run(
    `${all.map(([type, k]) => `INSERT INTO key_${type} VALUES ('${k}', 1); INSERT INTO full_${type} VALUES ('${k}', ARRAY['${k}'::${type}, NULL], 1), (NULL, NULL, 2)`).join('; ')};
     INSERT INTO key_domain VALUES ('AbC', 1)`,
  )
  await f.run(
    `${types.map((type) => `UPDATE key_${type} SET v = 3; UPDATE full_${type} SET v = v + 2`).join('; ')};
     UPDATE key_domain SET k = 'aBc'`,
  )
  for (const type of types) {
    expect(await same(f, `SELECT k, v FROM key_${type}`)).toEqual([{ k: keys[type as 'hstore'], v: '3' }])
    await same(f, `SELECT * FROM full_${type} ORDER BY v`)
  }
  expect(await same(f, 'SELECT * FROM key_domain')).toEqual([{ k: 'aBc', v: '1' }])
})

it('changes, of two rows that are equal and not the same, the one that was changed', async () => {
  const values: Record<string, [kept: string, gone: string]> = {
    float8: ['0', '-0'],
    numeric: ['1.0', '1.00'],
    interval: ['24:00:00', '1 day'],
    jsonb: ['[1.0]', '[1.00]'],
    'numeric[]': ['{1.0}', '{1.00}'],
    numrange: ['[1.0,2)', '[1.00,2)'],
    'text COLLATE nocase': ['a', 'A'],
  }
  const types = Object.entries(values)
  const f = await follow({
    before: [
      "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
      ...types.map(([type], i) => `CREATE TABLE t${i}(a ${type})`),
      ...types.map((_, i) => `ALTER TABLE t${i} REPLICA IDENTITY FULL`),
    ],
  })
  await f.run(
    types.map(([, [kept, gone]], i) => `INSERT INTO t${i} VALUES ('${kept}'), ('${gone}')`).join('; '),
  )
  await f.run(
    types.map(([, [, gone]], i) => `DELETE FROM t${i} WHERE a::text COLLATE "C" = '${gone}'`).join('; '),
  )
  for (const [i, [, [kept]]] of types.entries())
    expect(await same(f, `SELECT a FROM t${i}`)).toEqual([{ a: kept }])
})

it('finds rows of a composite type that has grown since they were written', async () => {
  const f = await follow({
    before: [
      'CREATE TYPE pair AS (a int)',
      'CREATE TABLE t(one pair, many pair[], n int)',
      'ALTER TABLE t REPLICA IDENTITY FULL',
    ],
  })
  await f.run(`INSERT INTO t VALUES ('(1)', '{(1)}', 1), ('(2)', '{(2)}', 2), (NULL, NULL, 3)`)
  await f.run('ALTER TYPE pair ADD ATTRIBUTE b text')
  await f.run('DELETE FROM t WHERE n = 1; UPDATE t SET n = n + 10')
  expect(await same(f, 'SELECT n FROM t ORDER BY n')).toEqual([{ n: '12' }, { n: '13' }])
})

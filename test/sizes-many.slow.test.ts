import { expect, it } from 'vitest'
import { compareDatabases } from './support/comparator.ts'
import { type Following, follow } from './support/follow.ts'
import { runFollower } from './support/follower.ts'
import { cluster } from './support/servers.ts'
import { script, value } from './support/sql.ts'

/** What the query gives upstream, which must be what it gives downstream. */
async function same(f: Following, text: string): Promise<Record<string, string | null>[]> {
  const [up, down] = await f.both(text)
  expect(down, text).toBe(up)
  return JSON.parse(up)
}

it('follows tables of 1,600 columns, by key and by whole rows', async () => {
  const all = Array.from({ length: 1599 }, (_, i) => `c${i}`)
  const define = all.map((name, i) => `${name} ${['bool', 'int2', 'numeric'][i % 3]}`).join(', ')
  const f = await follow({
    before: [
      `CREATE TABLE keyed(id int PRIMARY KEY, ${define})`,
      `CREATE TABLE whole(id int, ${define})`,
      'ALTER TABLE whole REPLICA IDENTITY FULL',
    ],
  })
  const values = all.map((_, i) => [`true`, 'g', 'NULL'][i % 3]).join(', ')
  for (const table of ['keyed', 'whole']) {
    await f.run(`INSERT INTO ${table} SELECT g, ${values} FROM generate_series(1, 20) g`)
    await f.run(
      `UPDATE ${table} SET id = -id, c1598 = 1.50 WHERE id % 3 = 0; DELETE FROM ${table} WHERE id % 3 = 1`,
    )
    const rows = await same(f, `SELECT * FROM ${table} ORDER BY id`)
    expect(rows).toHaveLength(13)
    expect(Object.keys(rows[0]!)).toHaveLength(1600)
  }
})

it('follows names of 63 bytes with quotes and emoji, and those that JavaScript has itself', async () => {
  const names = [
    `${'"'.repeat(7)}'${'😀'.repeat(13)}${'x'.repeat(3)}`,
    `a.b"c'd\\e\tf%sg$1h;--`,
    '__proto__',
    'constructor',
    'toString',
    'Select',
    ' ',
  ]
  const quoted = names.map((name) => `"${name.replaceAll('"', '""')}"`)
  expect(Buffer.byteLength(names[0]!)).toBe(63)
  const f = await follow()
  const columns = quoted.map((name, i) => `${name} ${i === 0 ? 'int PRIMARY KEY' : 'text'}`).join(', ')
  const tables = quoted.map((name, i) => `${quoted[(i + 1) % quoted.length]}.${name}`)
  for (const name of quoted) await f.run(`CREATE SCHEMA ${name}; CREATE TYPE ${name}.${name} AS ENUM ('x')`)
  for (const table of tables) await f.run(`CREATE TABLE ${table}(${columns})`)
  await f.run(
    tables.map((table) => `INSERT INTO ${table} SELECT g, g, g, g FROM generate_series(1, 4) g`).join('; '),
  )
  await f.run(
    tables
      .map((table) =>
        [
          ...quoted.slice(1).map((name) => `UPDATE ${table} SET ${name} = 'new' WHERE ${quoted[0]} = 1`),
          `UPDATE ${table} SET ${quoted[0]} = 10 WHERE ${quoted[0]} = 2`,
          `DELETE FROM ${table} WHERE ${quoted[0]} = 3`,
        ].join('; '),
      )
      .join('; '),
  )
  await f.run(
    `ALTER TABLE ${tables[2]} ADD more int DEFAULT 1, DROP ${quoted[2]}; ALTER TABLE ${tables[3]} RENAME ${quoted[2]} TO other`,
  )
  await f.run(tables.map((table) => `UPDATE ${table} SET ${quoted[3]} = 'newer'; `).join(''))
  await f.run(`TRUNCATE ${tables[4]}; DROP TABLE ${tables[5]}`)
  expect(await compareDatabases(f.upstream, f.downstream)).toEqual([])
  await same(f, `SELECT * FROM ${tables[2]} ORDER BY ${quoted[0]}`)
})

it('follows a transaction of many subtransactions', { timeout: 120_000 }, async () => {
  const f = await follow({ before: ['CREATE TABLE t(a int PRIMARY KEY, b text)'] })
  await script(
    f.upstream,
    `DO $$ BEGIN
       FOR i IN 1..100000 LOOP
         BEGIN
           INSERT INTO t VALUES (i, 'row');
           IF i % 10 = 0 THEN RAISE division_by_zero; END IF;
         EXCEPTION WHEN division_by_zero THEN NULL;
         END;
       END LOOP;
     END $$`,
  )
  await f.settle()
  expect(await same(f, 'SELECT count(*), sum(a), min(b) FROM t')).toEqual([
    { count: '90000', sum: '4500000000', min: 'row' },
  ])
})

const count = process.env.FOLLOWER_SLOW === '1' ? 10_000 : 1000

it(`starts over ${count} tables without a query for each, and looks them up many at a time`, {
  timeout: 300_000,
}, async () => {
  const settings = {
    shared_preload_libraries: 'pg_stat_statements',
    max_locks_per_transaction: '256',
    'pg_stat_statements.max': '50000',
  }
  const up = await cluster({ settings })
  const down = await cluster({ settings })
  const ends = [up.conninfo(), down.conninfo()] as const
  for (const end of ends) {
    await script(end, 'CREATE EXTENSION pg_stat_statements')
    for (let from = 0; from < count; from += 1000)
      await script(
        end,
        `DO $$ BEGIN FOR i IN ${from}..${from + 999} LOOP EXECUTE format('CREATE TABLE t%s(a int PRIMARY KEY, b int)', i); END LOOP; END $$`,
      )
    await script(end, 'VACUUM ANALYZE')
    await script(end, 'SELECT pg_stat_statements_reset()')
  }
  const began = performance.now()
  const follower = runFollower(['start', '--upstream', ends[0], '--downstream', ends[1]])
  await follower.ready({ timeout: 60_000 })
  const seconds = (performance.now() - began) / 1000
  const calls = (end: string) =>
    value(
      end,
      `SELECT sum(calls) FROM pg_stat_statements WHERE query !~ 'pg_replication_slots|pg_stat_statements'`,
    ).then(Number)
  const started = [await calls(ends[0]), await calls(ends[1])]
  console.info(`${count} tables: start in ${seconds.toFixed(1)} s, ${started} statements`)
  expect(Math.max(...started)).toBeLessThan(300)

  await script(
    ends[0],
    `DO $$ BEGIN FOR i IN 0..${count - 1} LOOP EXECUTE format('INSERT INTO t%s VALUES (1, 1), (2, 2)', i); END LOOP; END $$`,
  )
  await script(
    ends[0],
    `DO $$ BEGIN FOR i IN 0..${count - 1} LOOP EXECUTE format('UPDATE t%s SET b = 3 WHERE a = 1', i); END LOOP; END $$`,
  )
  await follower.until(
    async () => (await value(ends[1], `SELECT b FROM t${count - 1} WHERE a = 1`)) === '3',
    'the last table',
    120_000,
  )
  console.info(`applied to all of them ${((performance.now() - began) / 1000).toFixed(1)} s after the start`)
  const lookups = Number(
    await value(
      ends[1],
      `SELECT sum(calls) FROM pg_stat_statements WHERE query LIKE '%must know of downstream tables%' OR query LIKE '%replica_triggers%'`,
    ),
  )
  // One for each of the two large transactions, and for what else there is.
  expect(lookups).toBeGreaterThan(0)
  expect(lookups).toBeLessThan(20)
  expect((await follower.stop()).code).toBe(0)
})

import { describe, expect, it } from 'vitest'
import { failure } from '../support/failure.ts'
import { type Following, follow } from '../support/follow.ts'
import { judged, refresh } from '../support/judged.ts'
import { rights } from '../support/rights.ts'
import { available } from '../support/servers.ts'
import { query, script, statements, value } from '../support/sql.ts'

/** Row filters, column lists and schemas came with 15. */
const modern = rights.filter(([, pair]) => !pair.startsWith('14'))

describe.each(modern)('publications of %s', (_, pair, least) => {
  it('row filters are joined by OR, an update across the edge comes as INSERT or DELETE, columns are those of the list', async () => {
    const f = await judged({
      pair,
      least,
      publications: [
        `CREATE TABLE filtered(a int PRIMARY KEY, b text, c text); CREATE TABLE toasted(a int PRIMARY KEY, b text); ALTER TABLE toasted REPLICA IDENTITY FULL;
         CREATE TABLE root(a int PRIMARY KEY, b text) PARTITION BY LIST (a); CREATE TABLE leaf PARTITION OF root DEFAULT; CREATE TABLE parent(a int PRIMARY KEY);
         CREATE TABLE child() INHERITS (parent); ALTER TABLE child ADD PRIMARY KEY (a); CREATE TABLE wide(a int PRIMARY KEY, b text, c text, d text)`,
        `CREATE PUBLICATION one FOR TABLE settled, filtered WHERE (a > 10 AND a < 100), toasted WHERE (b LIKE 'a%'), parent WHERE (a > 0), wide (a, c)`,
        'CREATE PUBLICATION two FOR TABLE filtered WHERE (a % 10 = 0)',
        'CREATE PUBLICATION three FOR TABLE root WHERE (a > 5) WITH (publish_via_partition_root)',
      ],
      below: [
        `CREATE TABLE filtered(a int PRIMARY KEY, b text, c text); CREATE TABLE toasted(a int PRIMARY KEY, b text); CREATE TABLE root(a int PRIMARY KEY, b text);
         CREATE TABLE parent(a int PRIMARY KEY); CREATE TABLE child() INHERITS (parent); ALTER TABLE child ADD PRIMARY KEY (a); CREATE TABLE wide(c text DEFAULT 'c', a int PRIMARY KEY)`,
      ],
    })
    const numbers = async (table: string): Promise<string> =>
      (await f.alike(`SELECT a FROM ${table} ORDER BY a`)).map((row) => row.a).join(' ')

    await f.run('INSERT INTO filtered SELECT g FROM unnest(ARRAY[1, 10, 11, 50, 100, 101, 200]) g')
    expect(await numbers('filtered')).toBe('10 11 50 100 200')
    await f.run(
      `UPDATE filtered SET a = 12, b = 'in' WHERE a = 1; UPDATE filtered SET a = 9, b = 'out' WHERE a = 11; UPDATE filtered SET a = 60 WHERE a = 50;
       UPDATE filtered SET b = 'x' WHERE a IN (101, 200); DELETE FROM filtered WHERE a IN (10, 101)`,
    )
    expect(await f.alike('SELECT a, b FROM filtered ORDER BY a')).toEqual([
      { a: '12', b: 'in' },
      { a: '60', b: null },
      { a: '100', b: null },
      { a: '200', b: 'x' },
    ])

    await f.run(
      `INSERT INTO toasted VALUES (1, 'a' || repeat(pi()::text, 20000)), (2, 'b' || repeat(pi()::text, 20000))`,
    )
    await f.run(
      `UPDATE toasted SET a = a + 10; UPDATE toasted SET b = 'ab' WHERE a = 12; UPDATE toasted SET b = 'ba' WHERE a = 11`,
    )
    expect(await f.alike('SELECT * FROM toasted')).toEqual([{ a: '12', b: 'ab' }])
    await f.run(
      `INSERT INTO root VALUES (5), (6); UPDATE root SET a = 7 WHERE a = 5; UPDATE root SET a = 4 WHERE a = 6`,
    )
    expect(await numbers('root')).toBe('7')
    await f.run('INSERT INTO parent VALUES (0), (1); INSERT INTO child VALUES (0), (2)')
    expect(await numbers('parent')).toBe(
      await value(f.upstream, `SELECT string_agg(a::text, ' ' ORDER BY a) FROM parent WHERE a > 0`),
    )

    await f.run(
      `INSERT INTO wide VALUES (1, 'b', 'c1', 'd'), (2, 'b', 'c2', 'd'); UPDATE wide SET b = 'x'; UPDATE wide SET c = 'c3' WHERE a = 2; DELETE FROM wide WHERE a = 1`,
    )
    expect(await f.alike('SELECT * FROM wide')).toEqual([{ c: 'c3', a: '2' }])
    await f.run(
      'ALTER TABLE wide DROP CONSTRAINT wide_pkey, ADD PRIMARY KEY (a, c); UPDATE wide SET c = $$c4$$, b = NULL',
    )
    await f.below('ALTER TABLE wide DROP CONSTRAINT wide_pkey, ADD PRIMARY KEY (a, c)')
    await f.run('UPDATE wide SET c = $$c5$$; INSERT INTO wide VALUES (3, $$b$$, $$c$$)')
    expect(await f.alike('SELECT * FROM wide ORDER BY a')).toEqual([
      { c: 'c5', a: '2' },
      { c: 'c', a: '3' },
    ])
  })

  it('tables that are added, dropped, moved between schemas and publications that are renamed, while following', async () => {
    const f = await judged({
      pair,
      least,
      publications: [
        `CREATE SCHEMA inside; CREATE SCHEMA outside; CREATE TABLE inside.a(a int PRIMARY KEY); CREATE TABLE outside.b(a int PRIMARY KEY); CREATE TABLE t1(a int PRIMARY KEY); CREATE TABLE t2(a int PRIMARY KEY);
         CREATE TABLE t3(a int PRIMARY KEY)`,
        'CREATE PUBLICATION schemas FOR TABLES IN SCHEMA inside, TABLE settled',
        'CREATE PUBLICATION tables FOR TABLE t1',
        `CREATE PUBLICATION inserts FOR TABLE t3 WITH (publish = 'insert')`,
      ],
      below: [
        `CREATE SCHEMA inside; CREATE SCHEMA outside; CREATE TABLE inside.a(a int PRIMARY KEY); CREATE TABLE outside.b(a int PRIMARY KEY); CREATE TABLE t1(a int PRIMARY KEY); CREATE TABLE t2(a int PRIMARY KEY);
         CREATE TABLE t3(a int PRIMARY KEY); CREATE TABLE inside.b(a int PRIMARY KEY)`,
      ],
    })
    const tables = ['inside.a', 'inside.b', 'outside.b', 't1', 't2', 't3']
    const all = `SELECT ${tables.map((table) => `(SELECT string_agg(a::text, ' ' ORDER BY a) FROM ${table}) AS "${table}"`).join(', ')}`
    const step = async (text: string): Promise<(string | null)[]> => {
      await script(f.upstream, text)
      // The subscription wants to be told of a new table before its rows come; the follower does not.
      await refresh(f.judge)
      const into = tables.flatMap(
        (table) =>
          `IF to_regclass('${table}') IS NOT NULL THEN INSERT INTO ${table} SELECT coalesce(max(a), 0) + 1 FROM ${table}; END IF;`,
      )
      await f.run(`DO $$ BEGIN ${into.join(' ')} END $$`)
      return Object.values((await f.alike(all))[0]!)
    }
    expect(await step('SELECT 1')).toEqual(['1', null, null, '1', null, '1'])
    expect(await step('ALTER PUBLICATION tables ADD TABLE t2')).toEqual([
      '1 2',
      null,
      null,
      '1 2',
      '2',
      '1 2',
    ])
    expect(await step('ALTER PUBLICATION tables DROP TABLE t1')).toEqual([
      '1 2 3',
      null,
      null,
      '1 2',
      '2 3',
      '1 2 3',
    ])
    expect(await step('ALTER TABLE outside.b SET SCHEMA inside')).toEqual([
      '1 2 3 4',
      '4',
      null,
      '1 2',
      '2 3 4',
      '1 2 3 4',
    ])
    expect(await step('ALTER TABLE inside.a SET SCHEMA outside')).toEqual([
      '1 2 3 4',
      '4 5',
      null,
      '1 2',
      '2 3 4 5',
      '1 2 3 4 5',
    ])
    expect(await step('ALTER PUBLICATION schemas ADD TABLES IN SCHEMA public')).toEqual([
      '1 2 3 4',
      '4 5 6',
      null,
      '1 2 6',
      '2 3 4 5 6',
      '1 2 3 4 5 6',
    ])
    expect(await step('ALTER PUBLICATION schemas DROP TABLES IN SCHEMA public')).toEqual([
      '1 2 3 4',
      '4 5 6 7',
      null,
      '1 2 6',
      '2 3 4 5 6 7',
      '1 2 3 4 5 6 7',
    ])
    // What is published under the name that is asked for counts.
    expect(
      await step(
        'BEGIN; ALTER PUBLICATION tables RENAME TO rest; CREATE PUBLICATION tables FOR TABLE t1; COMMIT',
      ),
    ).toEqual(['1 2 3 4', '4 5 6 7 8', null, '1 2 6 8', '2 3 4 5 6 7', '1 2 3 4 5 6 7 8'])
    await f.run(
      'UPDATE t3 SET a = a + 100; DELETE FROM t3 WHERE a = 101; TRUNCATE t3; INSERT INTO t3 VALUES (1000)',
    )
    expect(await f.alike('SELECT max(a), count(*) FROM t3')).toEqual([{ max: '1000', count: '9' }])
  })
})

/** An upstream of either kind always: from 18 on the server says less. The least rights as everywhere. */
const goneOf: typeof rights = [
  ...(['18', '15'] as const).filter(available).map((pair) => [pair, pair, undefined] as const),
  ...rights.filter(([, , least]) => least !== undefined),
]

describe.each(goneOf)('a publication that goes away, of %s', (_, pair, least) => {
  it('stops the follow before the first change that would be left out', { timeout: 90_000 }, async () => {
    const f: Following = await follow({
      pair,
      least,
      before: ['CREATE TABLE t(a int PRIMARY KEY)'],
      upstreamOnly: ['CREATE PUBLICATION one FOR TABLE settled', 'CREATE PUBLICATION two FOR TABLE t'],
      args: ['--ddl', 'off', '--publication', 'one,two'],
    })
    const rows = () =>
      query(f.downstream, 'SELECT a FROM t ORDER BY a').then((it) => it.map(({ a }) => a).join(' '))
    await f.run('INSERT INTO t VALUES (1)')
    // Away and back while nothing changes: nothing is lost, nothing happens.
    await statements(f.upstream, [
      'ALTER PUBLICATION two RENAME TO second',
      'ALTER PUBLICATION second RENAME TO two',
    ])
    await f.run('INSERT INTO t VALUES (2)')
    expect(await rows()).toBe('1 2')

    await statements(f.upstream, [
      // What comes before the gap is applied, however near to it.
      'INSERT INTO t VALUES (20)',
      'DROP PUBLICATION two',
      'INSERT INTO t VALUES (3)',
      'CREATE PUBLICATION two FOR TABLE t',
      'INSERT INTO t VALUES (4)',
    ])
    const stopped = await failure(f.follower, 7)
    expect(stopped).toMatchObject({
      code: 'FLW-213',
      message: expect.stringContaining('the publication "two" does not exist at this point'),
      effect: expect.stringContaining('nothing was skipped'),
    })
    expect(stopped.fix).toContain('--publication one …')
    // It says so as long as nobody decides, and applies nothing of what comes after it.
    f.start()
    expect(await failure(f.follower, 7)).toMatchObject({ code: 'FLW-213' })
    expect(await rows()).toBe('1 2 20')

    f.start(['--ddl', 'off', '--publication', 'one'])
    await f.settle()
    expect(await f.stop()).toBe(0)
    f.start()
    await f.run('INSERT INTO t VALUES (5)')
    expect(await rows()).toBe('1 2 5 20')
    expect(await f.stop()).toBe(0)
  })

  it('is no reason to begin anew where a start has just added one', { timeout: 90_000 }, async () => {
    const f: Following = await follow({ pair, least, before: ['CREATE TABLE t(a int PRIMARY KEY)'] })
    expect(await f.stop()).toBe(0)
    await script(f.upstream, 'INSERT INTO t VALUES (1)')
    f.start(['--no-identity', 'insert-only'])
    const stopped = await failure(f.follower, 7)
    expect(stopped.code).toBe('FLW-213')
    expect(stopped.fix).toMatch(/--until now .*without/)
    f.start(['--until', 'now'])
    expect((await f.follower.exit).code).toBe(0)
    f.start(['--no-identity', 'insert-only'])
    await f.run('INSERT INTO t VALUES (2)')
    expect(await value(f.downstream, 'SELECT count(*) FROM t')).toBe('2')
    expect(await f.stop()).toBe(0)
  })
})

import { describe, expect, test } from 'vitest'
import { lookAtCopied, lookOnceReady } from './chaos/beginning.ts'
import { type Look, Order } from './chaos/checker.ts'
import { Report } from './chaos/report.ts'
import { measured, Truth } from './chaos/truth.ts'
import { loadTables } from './support/load.ts'
import { Reader } from './support/reader.ts'
import { databases } from './support/servers.ts'
import { client, query, script } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

/** Commits of two writers, as the upstream's decoder has them; numbers of a writer may be left out by a rollback. */
const commits = [
  [0, 1],
  [1, 1],
  [1, 3],
  [0, 2],
  [1, 4],
] as const

const look = (entries: number, ...highest: number[]): Look => ({ entries, highest })

describe('what a reader saw is a beginning of the order of the commits', () => {
  const check = (...looks: Look[]) => {
    const order = new Order()
    order.add(commits)
    return order.check(looks)
  }

  test('each beginning is right, as often as it is seen', () => {
    expect(
      check(look(0, 0, 0), look(1, 1, 0), look(1, 1, 0), look(3, 1, 3), look(4, 2, 3), look(5, 2, 4)),
    ).toBeUndefined()
  })

  test.each([
    ['a commit before its predecessor', [look(1, 0, 1)]],
    ['a commit left out', [look(1, 1, 0), look(2, 1, 3)]],
    ['one twice', [look(5, 2, 4), look(6, 2, 4)]],
    ['one that was never committed', [look(6, 2, 5)]],
    ['going back', [look(4, 2, 3), look(3, 1, 3)]],
    ['another number for as many entries', [look(3, 2, 1)]],
  ])('%s is noticed', (_, looks) => {
    expect(check(...looks)).toMatch(/entries|commits/)
  })

  test('goes on with commits that are told later', () => {
    const order = new Order()
    order.add(commits.slice(0, 2))
    expect(order.check([look(2, 1, 1)])).toBeUndefined()
    order.add(commits.slice(2))
    expect(order.check([look(3, 1, 3), look(5, 2, 4)])).toBeUndefined()
    expect(order.seen).toBe(5)
    expect(order.check([look(4, 2, 3)])).toContain('after there were 5')
  })

  test('where a crash may lose commits that were not flushed yet, what is left has to be a beginning, too', () => {
    const forgot = (entries: number, ...highest: number[]): Look => ({ entries, highest, mayForget: true })
    const order = new Order()
    order.add(commits)
    expect(order.check([look(4, 2, 3), forgot(2, 1, 1), look(5, 2, 4)])).toBeUndefined()
    expect(order.check([forgot(3, 1, 3), look(2, 1, 1)])).toContain('after there were 3')
    expect(order.check([forgot(3, 2, 1)])).toContain('the last of writer 0 is 1')
  })

  test('what was seen at a quiet point may not be lost', () => {
    const order = new Order()
    order.add(commits.slice(0, 3))
    expect(order.check([look(3, 1, 3)])).toBeUndefined()
    order.add(commits.slice(3))
    expect(order.check([{ ...look(2, 1, 1), mayForget: true }])).toContain('after there were 3')
  })
})

describe('a copied table has what upstream had at its place', () => {
  const lines = [
    ['0/10', 'table public.ledger: INSERT: writer[integer]:1 n[integer]:1 what[text]:done'],
    ['0/20', 'table public.hot: INSERT: id[integer]:0 n[bigint]:0'],
    ['0/30', 'COMMIT'],
    ['0/40', 'table public.hot: UPDATE: id[integer]:0 n[bigint]:5'],
    ['0/50', 'table public.ledger: INSERT: writer[integer]:1 n[integer]:2 what[text]:done'],
    ['0/60', 'COMMIT'],
    ['0/70', 'table public.ledger: DELETE: writer[integer]:1 n[integer]:2'],
    ['0/80', 'COMMIT'],
    ['1/0', 'table public.ledger: TRUNCATE: (no-flags)'],
    ['1/10', 'COMMIT'],
  ].map(([lsn, data]) => ({ lsn: lsn!, data: data! }))

  const check = (...copied: (readonly [name: string, lsn: string, measure: number])[]) => {
    const truth = new Truth(20)
    truth.add(lines)
    const wrong = truth.check(copied.map(([name, lsn, measure]) => ({ name, lsn, measure })))
    return { wrong, compared: truth.compared }
  }

  test('at each place, also between commits', () => {
    const right = check(
      ...([
        ['ledger', '0/2F', 0],
        ['ledger', '0/30', 1],
        ['ledger', '0/5F', 1],
        ['hot', '0/60', 5],
      ] as const),
      ...([
        ['ledger', '0/60', 2],
        ['ledger', '0/80', 1],
        ['ledger', '2/0', 0],
        ['bulk', '0/1', 20],
      ] as const),
    )
    expect(right).toEqual({ wrong: undefined, compared: 8 })
  })

  test.each([
    ['a row less', ['ledger', '0/60', 1]],
    ['a row more', ['ledger', '0/30', 2]],
    ['a change less', ['hot', '0/60', 0]],
    ['a part of what nobody changes', ['bulk', '1/10', 19]],
  ] as const)('%s is noticed', (_, table) => {
    expect(check(table).wrong).toContain(`${table[0]} is called copied at ${table[1]}, where it had`)
  })

  test('places are known until the one after the next telling', () => {
    const truth = new Truth(20)
    const wrong = () => truth.check([{ name: 'ledger', lsn: '0/60', measure: 9 }])
    truth.add(lines)
    truth.add([])
    expect(wrong()).toContain('had 2 upstream')
    truth.add([])
    expect([wrong(), truth.compared]).toEqual([undefined, 1])
    expect(truth.check([{ name: 'bulk', lsn: '9/0', measure: 20 }])).toBeUndefined()
    expect(truth.compared).toBe(2)
  })
})

test('what a reader sees of tables that wait, are behind, and are copied', async () => {
  const { downstream } = await databases()
  const tables = measured.filter((name) => ['bulk', 'secret', 'probe'].includes(name))
  await script(
    downstream,
    `${loadTables}; ${tables.map((name) => `CREATE TABLE ${name} (id int)`).join('; ')};
     INSERT INTO bulk VALUES (1), (2); CREATE SCHEMA follower; CREATE TABLE follower.progress (name text, lsn pg_lsn);
     CREATE TABLE follower.copied_table (follow text, schema text, name text, state text, lsn pg_lsn, behind boolean)`,
  )
  const reader = await client(downstream)
  const copied = async () => {
    const [row] = (await reader.query<{ waiting: string; copied: string | null }>(lookAtCopied)).rows
    return row && [Number(row.waiting), JSON.parse(row.copied ?? 'null')]
  }
  const isReady = async () => (await query(downstream, lookOnceReady)).length === 1
  expect([await copied(), await isReady()]).toEqual([undefined, false])
  await script(
    downstream,
    `INSERT INTO follower.progress VALUES ('shop', '0/90');
     INSERT INTO follower.copied_table VALUES ('shop', 'public', 'bulk', 'copied', '0/50', true), ('shop', 'public', 'hot', 'waiting', NULL, false)`,
  )
  const bulk = { name: 'bulk', lsn: '0/50', measure: 2 }
  expect([await copied(), await isReady()]).toEqual([[1, [bulk]], false])
  await script(downstream, `UPDATE follower.copied_table SET state = 'copied' WHERE name = 'hot'`)
  const hot = { name: 'hot', lsn: '0/90', measure: 0 }
  expect([await copied(), await isReady()]).toEqual([[0, expect.arrayContaining([bulk, hot])], false])
  await script(downstream, 'UPDATE follower.copied_table SET behind = false')
  expect([await copied(), await isReady()]).toEqual([
    [0, expect.arrayContaining([{ ...bulk, lsn: '0/90' }, hot])],
    true,
  ])
})

test('a reader that can not look says so, and what is not there yet only where it may be', async () => {
  const { downstream } = await databases()
  const text = "SELECT NULL AS wrong, '{1}'::int[] AS grows"
  const wrong = new Reader(downstream, `${text}, 1 / 0`)
  const lacking = new Reader(downstream, `${text} FROM later`)
  const patient = new Reader(downstream, `${text} FROM later`, { mayLack: true })
  await waitUntil(() => wrong.problem?.includes('division by zero'))
  await waitUntil(() => lacking.problem?.includes('relation "later" does not exist'))
  await script(downstream, 'CREATE TABLE later ()')
  await script(downstream, 'INSERT INTO later DEFAULT VALUES')
  await waitUntil(() => patient.looks > 2)
  await patient.stop()
  await expect(wrong.stop()).rejects.toThrow('the reader could not look')
})

test('a failpoint that is never met is told', () => {
  const report = new Report()
  for (let i = 0; i < 3; i++) {
    report.failpoint('copy.done', false)
    report.failpoint('copy.table', i === 2)
  }
  expect([1, 3, 4].map((times) => report.failpointsNeverMet(times))).toEqual([
    ['copy.done'],
    ['copy.done'],
    [],
  ])
})

import { describe, expect, test } from 'vitest'
import { compareDatabases } from './support/comparator.ts'
import { log } from './support/failure.ts'
import { type Following, follow } from './support/follow.ts'
import { directory, table, text } from './support/spill.ts'
import { client, script, value } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

/** Of what arrives 4 MiB are kept. */
const least = ['--memory-limit', '16MB', '--web-listen', '127.0.0.1:0', '--log-level', 'debug']
const env = { FOLLOWER_ARRIVING_FROM: '100000' }
/** What is larger is sent before its commit. */
const small =
  "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET logical_decoding_work_mem = ''64kB''', current_database()); END $$"
const other = 'CREATE TABLE other(id int PRIMARY KEY, b text)'

/** About 20 kB each. */
const docs = (from: number, to: number) =>
  `INSERT INTO doc SELECT i, ${text('i', 20_000)} FROM generate_series(${from}, ${to}) i`

const start = (args: readonly string[] = []): Promise<Following> =>
  follow({ before: [table, other], upstreamOnly: [small], args: [...least, ...args], env })

async function equal(f: Following): Promise<void> {
  expect(await compareDatabases(f.upstream, f.downstream)).toEqual([])
}

const asked = (f: Following) => log(f.follower).filter((line) => /is asked for again/.test(line.msg)).length

async function metric(f: Following, name: string): Promise<number> {
  const url = log(f.follower).findLast((line) => line.web)?.web as string
  const lines = (await (await fetch(`${url}/metrics`)).text()).split('\n')
  const found = lines.find((line) => line.startsWith(`follower_${name}`))
  return Number(found?.split(' ').at(-1) ?? 0)
}

/** So many rows of an open upstream transaction are at work downstream. */
const ahead = (f: Following, bytes: number) =>
  waitUntil(async () => Number(await value(f.downstream, "SELECT pg_total_relation_size('doc')")) > bytes, {
    what: 'rows that are applied ahead',
    interval: 20,
  })

describe.each([['on'], ['off']])('of a large transaction, streaming %s', (streaming) => {
  const args = ['--streaming', streaming]

  test('what is applied is not kept: nothing goes to disk', { timeout: 120_000 }, async () => {
    const f = await start([...args, '--spill-directory', directory(), '--spill-limit', '5MB'])
    await f.run(docs(1, 2000))
    await equal(f)
    expect(await metric(f, 'apply_arriving_transactions_total')).toBe(1)
    expect(asked(f)).toBe(0)
  })

  test('that has DDL at its end, it is asked for again, and applied in order', {
    timeout: 120_000,
  }, async () => {
    const f = await start(args)
    await f.run(
      `BEGIN; ${docs(1, 1500)}; ALTER TABLE other ADD n int DEFAULT 7; INSERT INTO other VALUES (1, 'b', 8); COMMIT`,
    )
    await equal(f)
    expect(asked(f)).toBe(1)
    // What comes next is kept, since asking again costs the upstream.
    await f.run(`BEGIN; ${docs(2001, 3500)}; ALTER TABLE other ADD m int DEFAULT 7; COMMIT`)
    await equal(f)
    expect(asked(f)).toBe(1)
    expect(await f.stop()).toBe(0)
  })

  test('that meets a conflict late, it is asked for again, and the conflict is met once', {
    timeout: 120_000,
  }, async () => {
    const f = await start([...args, '--on-conflict', 'insert_exists=skip'])
    await script(f.downstream, "INSERT INTO doc VALUES (1499, 'in the way')")
    await f.run(docs(1, 1500))
    expect(log(f.follower).filter((line) => line.conflict === 'insert_exists')).toHaveLength(1)
    expect(await value(f.downstream, 'SELECT count(*) FROM doc')).toBe('1500')
    expect(await value(f.downstream, 'SELECT body FROM doc WHERE id = 1499')).toBe('in the way')
    await f.run("INSERT INTO other VALUES (2, 'goes on')")
    expect(await value(f.downstream, 'SELECT b FROM other')).toBe('goes on')
  })
})

describe('of one that is not committed yet', () => {
  const args = ['--streaming', 'on']

  test('another one that is committed first is applied first', { timeout: 120_000 }, async () => {
    const f = await start(args)
    const writer = await client(f.upstream)
    await writer.query(`BEGIN; ${docs(1, 1500)}`)
    await ahead(f, 10_000_000)
    await f.run("INSERT INTO other VALUES (1, 'first')")
    expect(await value(f.downstream, 'SELECT b FROM other')).toBe('first')
    expect(await value(f.downstream, 'SELECT count(*) FROM doc')).toBe('0')
    expect(asked(f)).toBe(1)
    await writer.query(`${docs(1501, 1600)}; COMMIT`)
    await f.settle()
    await equal(f)
    expect(asked(f)).toBe(1)
  })

  test('a subtransaction that is rolled back is taken back', { timeout: 120_000 }, async () => {
    const f = await start(args)
    const writer = await client(f.upstream)
    await writer.query(`BEGIN; ${docs(1, 10)}; SAVEPOINT a; ${docs(11, 1500)}`)
    await ahead(f, 10_000_000)
    await writer.query(`ROLLBACK TO a; ${docs(2001, 2100)}; COMMIT`)
    await f.settle()
    await equal(f)
    expect(await value(f.downstream, 'SELECT count(*) FROM doc')).toBe('110')
    expect(asked(f)).toBe(1)
  })

  test('one that is rolled back need not come again', { timeout: 120_000 }, async () => {
    const f = await start(args)
    const writer = await client(f.upstream)
    await writer.query(`BEGIN; ${docs(1, 1500)}`)
    await ahead(f, 10_000_000)
    await writer.query('ROLLBACK')
    await f.run(`${docs(5001, 5100)}; INSERT INTO other VALUES (1, 'after it')`)
    await equal(f)
    expect(asked(f)).toBe(0)
    expect(await metric(f, 'apply_batches_redone_total')).toBe(1)
  })
})

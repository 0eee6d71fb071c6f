import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { compareDatabases } from './support/comparator.ts'
import { followerCommand } from './support/follower.ts'
import { expectEqual, type Follow, killed, start } from './support/kill.ts'
import { look, startLoad } from './support/load.ts'
import { seed } from './support/random.ts'
import { Reader } from './support/reader.ts'
import { available, databases, type Pair } from './support/servers.ts'
import { client, query, script, statements, value } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

const pairs: readonly Pair[] = ['18', '15-18']
const load = { ddl: false, writers: 3 }

const waits = "SELECT count(*) FROM follower.copied_table WHERE state <> 'copied'"

async function copy(follow: Follow, ...args: string[]): Promise<void> {
  const { upstream, downstream, name } = follow
  const asked = await followerCommand([
    ...['copy', '--upstream', upstream, '--downstream', downstream, '--name', name],
    ...args,
  ])
  expect(asked.code, asked.stderr).toBe(0)
}

describe.each(pairs.filter(available))('tables that come late, %s', (pair) => {
  test.runIf(pair === '18')('killed in every phase, under load', { timeout: 240_000 }, async () => {
    const all = await databases(pair)
    const more = [1, 2, 3, 4, 5].map((i) => `CREATE TABLE more_${i} (id int PRIMARY KEY, t text)`)
    await (await startLoad(all.downstream, { ...load, seed: 1 })).stop()
    await statements(all.downstream, [...more, 'TRUNCATE account, ledger, hot, cold, scratch, document'])
    const running = await startLoad(all.upstream, { ...load, seed: seed(`late, ${pair}`) })
    await statements(all.upstream, [
      ...more,
      ...more.map(
        (_, i) =>
          `INSERT INTO more_${i + 1} SELECT i, repeat(md5(i::text), 4) FROM generate_series(1, 3000) i`,
      ),
      'CREATE PUBLICATION p FOR TABLE ledger, hot',
    ])
    const follow: Follow = {
      ...all,
      args: ['--copy', 'data', '--publication', 'p', '--copy-jobs', '2', '--copy-split', '128kB'],
    }
    const first = start(follow)
    await first.ready({ slot: all.name })
    await first.stop()
    for (const [add, name, n] of [
      ['account, more_1', 'copy.late', 1],
      ['cold', 'copy.table', 2],
      ['scratch, more_2', 'copy.begun', 1],
      ['document', 'copy.before-commit', 2],
      ['more_3, more_4', 'copy.committed', 2],
      ['more_5', 'copy.done', 1],
    ] as const) {
      await script(all.upstream, `ALTER PUBLICATION p ADD TABLE ${add}`)
      await killed(start(follow, `${name}:kill9:${n}`), name, follow)
      await script(
        all.upstream,
        [1, 2, 3, 4, 5]
          .map(
            (i) =>
              `UPDATE more_${i} SET t = t || 'x' WHERE id % 100 = 7; DELETE FROM more_${i} WHERE id % 300 = 9;`,
          )
          .join(' '),
      )
    }
    // What was left and what is asked for again, while readers look.
    const last = start(follow)
    await last.ready({ slot: all.name })
    await last.until(
      async () => (await value(all.downstream, waits)) === '0',
      'all tables to be copied',
      60_000,
    )
    const reader = new Reader(all.downstream, look)
    for (const table of ['account', 'cold']) {
      await copy(follow, '--tables', `public.${table}`, '--overwrite')
      await last.until(
        async () => (await value(all.downstream, waits)) === '0',
        `${table} to be copied`,
        60_000,
      )
    }
    await reader.stop()
    expect(reader.looks).toBeGreaterThan(2)
    expect(await last.stop(), last.output).toMatchObject({ code: 0 })
    await copy(follow, '--tables', 'public.account,public.more_1', '--overwrite')
    await killed(start(follow, 'copy.before-commit:kill9:2'), 'copy.before-commit', follow)
    await copy(follow, '--tables', 'public.ledger,public.hot', '--overwrite')
    await expectEqual(follow, running)
    expect(await value(all.downstream, waits)).toBe('0')
    const left = await query(
      all.upstream,
      "SELECT slot_name FROM pg_replication_slots WHERE database = current_database() AND slot_name LIKE '%copy'",
    )
    expect(left).toEqual([])
  })

  test('others go on meanwhile, and they catch up, killed in every phase', { timeout: 240_000 }, async () => {
    const all = await databases(pair)
    await (await startLoad(all.downstream, { ...load, seed: 1 })).stop()
    await script(all.downstream, 'TRUNCATE account, ledger, hot, cold, scratch, document')
    const running = await startLoad(all.upstream, { ...load, seed: seed(`late, beside, ${pair}`) })
    await script(all.upstream, 'CREATE PUBLICATION p FOR TABLE ledger, hot, scratch')
    const follow: Follow = { ...all, args: ['--copy', 'data', '--publication', 'p', '--copy-jobs', '1'] }
    const follower = start(follow, 'copy.behind:kill9:1')
    await follower.ready({ slot: all.name })
    const gate = await client(all.downstream)
    await gate.query('BEGIN; LOCK TABLE account, cold, document IN EXCLUSIVE MODE')
    await script(all.upstream, 'ALTER PUBLICATION p ADD TABLE account, cold, document')
    const blocked = `SELECT count(*) FROM pg_locks WHERE NOT granted
      AND relation IN ('account'::regclass, 'cold'::regclass, 'document'::regclass)`
    await waitUntil(async () => (await value(all.downstream, blocked)) !== '0', { what: 'the copy to wait' })
    const entries = async () => Number(await value(all.downstream, 'SELECT count(*) FROM ledger'))
    const before = await entries()
    await follower.until(async () => (await entries()) > before + 50, 'the others to go on')
    expect(await value(all.downstream, blocked)).not.toBe('0')
    await gate.query('COMMIT')
    await killed(follower, 'copy.behind', follow)
    const behind = "SELECT count(*) FROM follower.copied_table WHERE behind AND state = 'copied'"
    expect(await value(all.downstream, behind)).toBe('3')
    for (const name of ['apply.before-commit', 'apply.commit-sent', 'copy.caught-up'] as const) {
      const again = start(follow, `${name}:kill9:1`)
      await killed(again, name, follow)
      expect(again.output).toContain('now their changes from meanwhile')
      expect(await value(all.downstream, behind)).toBe('3')
    }
    const last = start(follow)
    await last.until(async () => (await value(all.downstream, behind)) === '0', 'the tables to catch up')
    expect(await last.stop(), last.output).toMatchObject({ code: 0 })
    // Of what was copied beside the stream, nothing was copied once more.
    expect(last.output).not.toContain('copying tables')
    await expectEqual(follow, running)
  })

  test.runIf(pair === '18')('what happens to them before they are copied', { timeout: 120_000 }, async () => {
    const all = await databases(pair)
    const names = ['truncated', 'both', 'rewritten', 'dropped', 'renamed', 'wider', 'narrower', 'left_alone']
    const schema = [
      'CREATE SCHEMA main; CREATE SCHEMA late',
      'CREATE TABLE main.first (id int PRIMARY KEY)',
      'CREATE TABLE late.gate (id int PRIMARY KEY, t text)',
      ...names.map((name) => `CREATE TABLE late.${name} (id int PRIMARY KEY, a int, b text)`),
    ]
    await statements(all.upstream, [
      ...schema,
      "INSERT INTO late.gate SELECT i, repeat('x', 500) FROM generate_series(1, 2000) i",
      ...names.map(
        (name) => `INSERT INTO late.${name} SELECT i, i, 'row ' || i FROM generate_series(1, 100) i`,
      ),
      'CREATE PUBLICATION p FOR TABLES IN SCHEMA main',
    ])
    await statements(all.downstream, schema)
    const follow: Follow = { ...all, args: ['--copy', 'data', '--publication', 'p', '--copy-jobs', '1'] }
    const gate = await client(all.downstream)
    await gate.query('BEGIN; LOCK TABLE late.gate IN EXCLUSIVE MODE')
    const follower = start(follow)
    await follower.ready({ slot: all.name })
    await script(
      all.upstream,
      'CREATE TABLE main.made (id int PRIMARY KEY); INSERT INTO main.made VALUES (1)',
    )
    await script(all.upstream, 'ALTER PUBLICATION p ADD TABLES IN SCHEMA late; ')
    await script(all.upstream, 'UPDATE late.left_alone SET a = -a; INSERT INTO main.made VALUES (2)')
    await waitUntil(
      async () =>
        (await value(
          all.downstream,
          'SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = $1::regclass',
          ['late.gate'],
        )) !== '0',
      { what: 'the copy of the first table to wait' },
    )
    await statements(all.upstream, [
      'TRUNCATE late.truncated',
      "INSERT INTO late.truncated VALUES (7, 7, 'after')",
      'TRUNCATE late.both, main.first',
      'ALTER TABLE late.rewritten ALTER a TYPE bigint',
      'UPDATE late.rewritten SET a = a + 1',
      'DROP TABLE late.dropped',
      'CREATE TABLE late.dropped (id int PRIMARY KEY, other text)',
      "INSERT INTO late.dropped VALUES (1, 'new')",
      'ALTER TABLE late.renamed RENAME TO other_name',
      "UPDATE late.other_name SET b = 'renamed' WHERE id < 5",
      "ALTER TABLE late.wider ADD c text DEFAULT 'c'",
      'ALTER TABLE late.narrower DROP a',
      "INSERT INTO late.gate VALUES (0, 'late')",
      'CREATE TABLE late.fresh (id int PRIMARY KEY); INSERT INTO late.fresh VALUES (1)',
      'INSERT INTO main.made VALUES (3)',
    ])
    // All of it has been sent, and would be applied within a second, if schema changes did not wait for the copy.
    const until = await value(all.upstream, 'SELECT pg_current_wal_lsn()')
    await waitUntil(
      async () =>
        (await value(
          all.upstream,
          'SELECT count(*) FROM pg_replication_slots s JOIN pg_stat_replication r ON r.pid = s.active_pid WHERE s.slot_name = $1 AND r.sent_lsn >= $2',
          [all.name, until],
        )) === '1',
      { what: 'the schema changes to be sent' },
    )
    await sleep(1500)
    expect(await value(all.downstream, "SELECT to_regclass('late.other_name') IS NULL")).toBe('t')
    await gate.query('COMMIT')
    await follower.until(
      async () =>
        (await value(all.downstream, waits)) === '0' &&
        (await value(all.downstream, "SELECT count(*) FROM follower.copied_table WHERE name = 'fresh'")) ===
          '1',
      'all tables to be copied',
      60_000,
    )
    await follower.stop()
    const last = start(follow, undefined, ['--until', 'now'])
    expect(await last.exit, last.output).toMatchObject({ code: 0 })
    expect(await compareDatabases(all.upstream, all.downstream)).toEqual([])
    // What was made in the stream was never late.
    const come = follower.output.split('\n').filter((line) => line.includes('have come into the follow'))
    expect(come.length, follower.output).toBeGreaterThan(0)
    expect(come.join('\n')).not.toMatch(/main\.made|late\.fresh/)
  })
})

test('what a publication drops is copied no more, and told when it comes back', {
  timeout: 120_000,
}, async () => {
  const all = await databases('18')
  const schema = ['CREATE TABLE a (id int PRIMARY KEY)', 'CREATE TABLE b (id int PRIMARY KEY)']
  await statements(all.upstream, [...schema, 'INSERT INTO a VALUES (1)', 'INSERT INTO b VALUES (1)'])
  await statements(all.downstream, schema)
  await statements(all.upstream, ['CREATE PUBLICATION p FOR TABLE a, b'])
  const follow: Follow = { ...all, args: ['--copy', 'data', '--publication', 'p'] }
  const follower = start(follow)
  await follower.ready({ slot: all.name })
  const states = () => query(all.downstream, 'SELECT name, state FROM follower.copied_table ORDER BY name')
  await script(all.upstream, 'ALTER PUBLICATION p DROP TABLE b')
  await follower.until(async () => (await states()).length === 1, 'b to be forgotten')
  await statements(all.upstream, [
    'INSERT INTO b VALUES (2)',
    'ALTER PUBLICATION p ADD TABLE b',
    'INSERT INTO b VALUES (3)',
  ])
  await follower.line(/"code":"FLW-139".*"public\.b"/)
  await follower.until(
    async () => (await value(all.downstream, 'SELECT count(*) FROM b')) === '2',
    'the row that came with the publication',
  )
  await copy(follow, '--tables', 'public.b', '--overwrite')
  await follower.until(
    async () => (await value(all.downstream, 'SELECT count(*) FROM b')) === '3',
    'b to be copied',
    60_000,
  )
  // Asked for, and dropped from the publication before it was copied.
  expect((await follower.stop()).code).toBe(0)
  await copy(follow, '--tables', 'public.b', '--overwrite')
  await script(all.upstream, 'ALTER PUBLICATION p DROP TABLE b')
  const last = start(follow, undefined, ['--until', 'now'])
  expect(await last.exit, last.output).toMatchObject({ code: 0 })
  expect(await states()).toEqual([{ name: 'a', state: 'copied' }])
})

test('with --copy none nothing is copied unless asked for', { timeout: 120_000 }, async () => {
  const all = await databases('18')
  const schema = ['CREATE TABLE a (id int PRIMARY KEY)', 'CREATE TABLE b (id int PRIMARY KEY)']
  await statements(all.upstream, [
    ...schema,
    'INSERT INTO b SELECT generate_series(1, 9)',
    'CREATE PUBLICATION p FOR TABLE a',
  ])
  await statements(all.downstream, schema)
  const follow: Follow = { ...all, args: ['--copy', 'none', '--publication', 'p'] }
  const ends = ['--upstream', all.upstream, '--downstream', all.downstream, '--name', all.name]
  const refused = (tables: string) => followerCommand(['copy', ...ends, '--tables', tables])
  expect(await refused('public.a')).toMatchObject({ code: 2, stderr: expect.stringContaining('FLW-343') })
  const follower = start(follow)
  await follower.ready({ slot: all.name })
  await script(all.upstream, 'ALTER PUBLICATION p ADD TABLE b')
  await script(all.upstream, 'INSERT INTO b VALUES (10)')
  await follower.until(async () => (await value(all.downstream, 'SELECT max(id) FROM b')) === '10', 'a row')
  expect(await value(all.downstream, 'SELECT count(*) FROM b')).toBe('1')
  const filled = await refused('public.a,public.b')
  expect(filled.code).toBe(2)
  expect(filled.stderr).toMatch(/FLW-122[\s\S]*public\.b/)
  expect(filled.stderr).not.toContain('public.a')
  await copy(follow, '--tables', 'public.b', '--overwrite')
  await follower.until(async () => (await value(all.downstream, 'SELECT count(*) FROM b')) === '10', 'b')
  expect((await follower.stop()).code).toBe(0)
})

import { expect, test } from 'vitest'
import { compareDatabases } from './support/comparator.ts'
import { log } from './support/failure.ts'
import { type Following, follow } from './support/follow.ts'
import { runFollower } from './support/follower.ts'
import { available, cluster, databases, inDatabase, type Pair } from './support/servers.ts'
import { table, text } from './support/spill.ts'
import { client, query, script, value } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

/** What is larger is sent before its commit. */
const small =
  "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET logical_decoding_work_mem = ''64kB''', current_database()); END $$"
const args = ['--streaming', 'on', '--web-listen', '127.0.0.1:0', '--log-level', 'debug']
const env = { FOLLOWER_ARRIVING_FROM: '100000' }
const item = 'CREATE TABLE item(id int PRIMARY KEY, b text, n int NOT NULL DEFAULT 0)'
const items = (from: number, to: number) =>
  `INSERT INTO item SELECT i, md5(i::text) FROM generate_series(${from}, ${to}) i`

const start = (more: Parameters<typeof follow>[0] = {}): Promise<Following> =>
  follow({ before: [item, table], upstreamOnly: [small], args, env, ...more })

async function equal(f: Following): Promise<void> {
  expect(await compareDatabases(f.upstream, f.downstream)).toEqual([])
}

async function metric(f: Following, name: string): Promise<number> {
  const url = log(f.follower).find((line) => line.web)?.web as string
  const lines = (await (await fetch(`${url}/metrics`)).text()).split('\n')
  return Number(
    lines
      .find((line) => line.startsWith(`follower_${name}`))
      ?.split(' ')
      .at(-1) ?? 0,
  )
}

/** Transactions that the upstream has sent before their commit. */
const streamed = (f: Following) =>
  waitUntil(
    async () =>
      Number(
        await value(
          f.upstream,
          `SELECT stream_txns FROM pg_stat_replication_slots WHERE slot_name = '${f.name}'`,
        ),
      ) || false,
    { what: 'a transaction that is streamed' },
  )

/** Rows of an upstream transaction that is still open are at work downstream. */
const ahead = (f: Following) =>
  waitUntil(
    async () =>
      (await value(
        f.downstream,
        `SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
         WHERE l.relation = 'item'::regclass AND l.mode = 'RowExclusiveLock' AND a.application_name LIKE 'follower/%'`,
      )) !== '0',
    { what: 'a transaction that is applied ahead', interval: 5 },
  )

const pairs: readonly Pair[] = ['14-18', '15', '16', '17', '18']

test.each(pairs.filter(available))(
  '%s: savepoints, nested and rolled back, aborts, values that are not sent: ends equal',
  {
    timeout: 120_000,
  },
  async (pair) => {
    const f = await start({ pair })
    await f.run(`INSERT INTO doc SELECT i, ${text('i', 20_000)} FROM generate_series(1, 50) i`)
    await f.run(`BEGIN; ${items(1, 5000)}; SAVEPOINT a; ${items(5001, 9000)}; SAVEPOINT b; ${items(9001, 12000)};
    ROLLBACK TO b; ${items(20_001, 23_000)}; RELEASE b; ROLLBACK TO a; ${items(30_001, 33_000)};
    SAVEPOINT c; ${items(33_001, 36_000)}; RELEASE c; UPDATE doc SET n = n + 1;
    SAVEPOINT d; DELETE FROM item WHERE id < 1000; TRUNCATE doc; ROLLBACK TO d; UPDATE item SET n = 5 WHERE id % 3 = 0; COMMIT`)
    await equal(f)
    await f.run(`DO $$ BEGIN FOR i IN 1..300 LOOP
      BEGIN INSERT INTO item SELECT 100000 + i * 100 + k, 'x' FROM generate_series(1, 50) k;
        IF i % 3 = 0 THEN RAISE EXCEPTION 'no'; END IF;
      EXCEPTION WHEN raise_exception THEN NULL; END;
    END LOOP; END $$`)
    await script(f.upstream, `BEGIN; ${items(200_001, 230_000)}; ROLLBACK`)
    await f.settle()
    await equal(f)
    expect(await streamed(f)).toBeGreaterThan(2)
    expect(await f.stop()).toBe(0)
  },
)

test('one that is alone is applied before it is committed, and seen only then', {
  timeout: 120_000,
}, async () => {
  const f = await start()
  const writer = await client(f.upstream)
  await writer.query('BEGIN')
  await writer.query(items(1, 50_000))
  await ahead(f)
  expect(await value(f.downstream, 'SELECT count(*) FROM item')).toBe('0')
  await writer.query('COMMIT')
  await f.settle()
  await equal(f)
  expect(await metric(f, 'apply_arriving_transactions_total')).toBe(1)
  expect(await metric(f, 'apply_batches_redone_total')).toBe(0)
})

test('one whose upstream does something else gives its locks back, and is applied at its commit', {
  timeout: 120_000,
}, async () => {
  const f = await start()
  const writer = await client(f.upstream)
  await writer.query('BEGIN')
  await writer.query(items(1, 50_000))
  await ahead(f)
  const held = () =>
    value(
      f.downstream,
      `SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
       WHERE l.relation = 'item'::regclass AND a.application_name LIKE 'follower/%'`,
    )
  await waitUntil(async () => (await held()) === '0', { timeout: 15_000, what: 'locks that are given back' })
  await writer.query(items(50_001, 60_000))
  await writer.query('COMMIT')
  await f.settle()
  await equal(f)
  expect(await metric(f, 'apply_arriving_transactions_total')).toBe(0)
})

test('another one that is committed first comes first', { timeout: 120_000 }, async () => {
  const f = await start()
  const [first, second] = [await client(f.upstream), await client(f.upstream)]
  await first.query('BEGIN')
  await first.query(items(1, 50_000))
  await ahead(f)
  await second.query('BEGIN')
  await second.query(items(100_001, 150_000))
  // A small one, seen while both are open, and more comes of the first.
  let settled = false
  const writing = (async () => {
    for (let i = 20; !settled; i++) {
      await first.query(items(i * 10_000 + 1, i * 10_000 + 2000))
      await new Promise((resolve) => setTimeout(resolve, 300))
    }
  })()
  await f.settle().finally(() => {
    settled = true
  })
  await writing
  expect(await value(f.downstream, 'SELECT count(*) FROM item')).toBe('0')
  await second.query('COMMIT')
  await f.settle()
  expect(await value(f.downstream, 'SELECT count(*) FROM item')).toBe('50000')
  await first.query('COMMIT')
  await f.settle()
  await equal(f)
})

test('an abort, of all or of a part, takes back what was applied', { timeout: 120_000 }, async () => {
  const f = await start()
  const writer = await client(f.upstream)
  await writer.query('BEGIN')
  await writer.query(items(1, 50_000))
  await ahead(f)
  await writer.query('ROLLBACK')
  await f.settle()
  await equal(f)
  await writer.query('BEGIN')
  await writer.query(items(1, 50_000))
  await writer.query('SAVEPOINT a')
  await writer.query(items(50_001, 60_000))
  await ahead(f)
  await writer.query('ROLLBACK TO a')
  await writer.query(items(70_001, 80_000))
  await writer.query('COMMIT')
  await f.settle()
  await equal(f)
})

test('a writer that waits for the follower is not held up by what is applied ahead', {
  timeout: 120_000,
}, async () => {
  const up = await cluster({ settings: { logical_decoding_work_mem: '64kB' } })
  const { downstream, name } = await databases()
  await script(up.conninfo(), `CREATE DATABASE ${name}`)
  const upstream = inDatabase(up.conninfo(), name)
  for (const end of [upstream, downstream]) await script(end, item)
  await script(upstream, 'CREATE TABLE apart(a int)')
  const f = runFollower(
    [
      ...['start', '--upstream', upstream, '--downstream', downstream, '--name', name, ...args],
      ...['--tables', 'public.item', '--application-name', 'follower/standby'],
    ],
    { env },
  )
  await f.ready({ slot: name })
  const session = await client(up.conninfo())
  await session.query(`ALTER SYSTEM SET synchronous_standby_names = '"follower/standby"'`)
  await session.query('SELECT pg_reload_conf()')
  await waitUntil(
    async () => (await value(up.conninfo(), 'SELECT sync_state FROM pg_stat_replication')) === 'sync',
  )
  await script(upstream, 'INSERT INTO apart VALUES (0)')
  const writer = await client(upstream)
  await writer.query('BEGIN')
  const began = performance.now()
  for (let i = 0; i < 20; i++) {
    await writer.query(items(i * 10_000, i * 10_000 + 9_999))
    // Only a keepalive tells that it is behind us.
    await script(upstream, `INSERT INTO apart VALUES (${i})`)
  }
  expect(performance.now() - began).toBeLessThan(20_000)
  await writer.query('COMMIT')
  expect(await value(downstream, 'SELECT count(*) FROM item')).toBe('200000')
})

test('schema changes in it come in their place', { timeout: 120_000 }, async () => {
  const f = await start()
  await f.run(`BEGIN; ${items(1, 20_000)}; ALTER TABLE item ADD more text DEFAULT 'x';
    INSERT INTO item SELECT i, 'b', 0, 'y' FROM generate_series(20001, 40000) i;
    CREATE TABLE other AS SELECT * FROM item; ALTER TABLE other ADD PRIMARY KEY (id); UPDATE other SET more = 'z' WHERE id < 100; COMMIT`)
  await equal(f)
  // Whose the message is can't be told: the transaction is asked for whole. Rolled back before it is decoded, it would not be sent.
  const writer = await client(f.upstream)
  await writer.query(`BEGIN; ${items(50_001, 60_000).replace('i, md5(i::text)', "i, md5(i::text), 1, 'q'")};
    SAVEPOINT a; ALTER TABLE item ADD gone int; INSERT INTO item SELECT i, 'b', 0, 'y', 7 FROM generate_series(60001, 70000) i`)
  await f.run('INSERT INTO other VALUES (-1)')
  await writer.query(`ROLLBACK TO a;
    INSERT INTO item SELECT i, 'c', 0, 'y' FROM generate_series(70001, 80000) i; COMMIT`)
  await f.settle()
  await equal(f)
  expect(f.follower.output).toContain('asked for whole')
  await f.run(items(90_001, 99_000).replace('i, md5(i::text)', "i, md5(i::text), 1, 'q'"))
  await equal(f)
  expect(await f.stop()).toBe(0)
})

test.each([['arriving.part:kill9:1'], ['arriving.before-commit:kill9:1'], ['stream.received:kill9:2']])(
  'a kill at %s while several are open',
  { timeout: 120_000 },
  async (failpoint) => {
    const f = await start({ env: { ...env, FOLLOWER_FAILPOINT: failpoint } })
    const [first, second] = [await client(f.upstream), await client(f.upstream)]
    await first.query('BEGIN')
    await first.query(items(1, 50_000))
    if (failpoint.startsWith('arriving.part')) await f.follower.exit
    if (failpoint.startsWith('arriving.before')) await first.query('COMMIT')
    await second.query('BEGIN')
    await second.query(items(100_001, 150_000))
    await script(f.upstream, "INSERT INTO item VALUES (-1, 'small')")
    await script(f.upstream, "INSERT INTO item VALUES (-2, 'small')")
    await second.query('COMMIT')
    expect(await f.follower.exit).toMatchObject({ signal: 'SIGKILL' })
    f.start(args, env)
    await f.follower.ready({ upstream: f.upstream })
    if (!failpoint.startsWith('arriving.before')) {
      await first.query(items(200_001, 220_000))
      await first.query('COMMIT')
    }
    await f.settle()
    await equal(f)
  },
)

test('wal2json goes without it', async () => {
  const f = await start({ args: [] })
  await f.stop()
  f.start(['--plugin', 'wal2json', '--streaming', 'on'])
  expect(await f.follower.exit).toMatchObject({ code: 2 })
  for (const part of ['FLW-030', '--plugin wal2json goes without --streaming on'])
    expect(f.follower.output).toContain(part)
  expect(await query(f.upstream, 'SELECT 1')).toHaveLength(1)
})

test('one that there is no room for is no matter as long as it is not committed', {
  timeout: 120_000,
}, async () => {
  const f = await start({ args: [...args, '--spill-limit', '1MB'] })
  const writer = await client(f.upstream)
  await writer.query('BEGIN')
  await writer.query(`INSERT INTO doc SELECT i, ${text('i', 200_000)} FROM generate_series(1, 250) i`)
  await f.follower.line(/asked for whole: a transaction takes more than the 1048576 bytes/)
  await f.run(items(1, 10))
  await equal(f)
  await writer.query('ROLLBACK')
  await f.run(items(11, 20))
  await equal(f)
  expect(f.follower.output).not.toMatch(/"level":"(error|fatal)"|was lost/)
  expect(await f.stop()).toBe(0)
})

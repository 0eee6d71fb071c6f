import { chownSync, statSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import type { Transaction } from '../src/model/changes.ts'
import { Health } from '../src/telemetry/health.ts'
import { TransactionQueue } from '../src/transaction/queue.ts'
import { failure } from './support/failure.ts'
import { type Following, follow } from './support/follow.ts'
import { runFollower } from './support/follower.ts'
import { cluster } from './support/servers.ts'
import { client, query, script, statements, value } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

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
    bpchar: ['a', 'a  '],
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
    types
      .map(([, [, gone]], i) => `DELETE FROM t${i} WHERE format('%s', a) COLLATE "C" = '${gone}'`)
      .join('; '),
  )
  for (const [i, [, [kept]]] of types.entries())
    expect(await same(f, `SELECT a FROM t${i}`)).toEqual([{ a: kept }])
})

it('finds rows by the index of a key whose type is a domain over a domain', async () => {
  const f = await follow({
    before: [
      'CREATE DOMAIN small AS int CHECK (value < 1000)',
      'CREATE DOMAIN smaller AS small CHECK (value < 900)',
      'CREATE TABLE t(a smaller PRIMARY KEY, b int)',
    ],
  })
  await f.run('INSERT INTO t SELECT g, 0 FROM generate_series(1, 500) g')
  await script(f.downstream, 'ANALYZE t; SELECT pg_stat_reset()')
  await f.run('UPDATE t SET b = 1')
  await f.stop()
  expect(
    await query(f.downstream, "SELECT seq_tup_read, idx_scan FROM pg_stat_user_tables WHERE relname = 't'"),
  ).toEqual([{ seq_tup_read: '0', idx_scan: '500' }])
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

it('applies one by one what a deferred trigger of the downstream keeps from being applied together', async () => {
  const f = await follow({
    before: ['CREATE TABLE t(a int PRIMARY KEY)'],
    args: ['--web-listen', '127.0.0.1:0'],
  })
  const url = await web(f)
  await deferredTrigger(f)
  const session = await client(f.downstream)
  await session.query('BEGIN; LOCK TABLE settled')
  await script(f.upstream, 'INSERT INTO settled VALUES (1000)')
  await waitUntil(
    async () =>
      (await value(
        f.downstream,
        "SELECT count(*) FROM pg_locks WHERE relation = 'settled'::regclass AND NOT granted",
      )) === '1',
    { what: 'a batch of one' },
  )
  await statements(f.upstream, ['INSERT INTO t VALUES (1)', 'TRUNCATE t', 'INSERT INTO t VALUES (2)'])
  await waitUntil(async () => (await get(`${url}/metrics`)).includes(`follower_buffer_transactions 3`), {
    what: 'a batch of three',
  })
  await session.query('COMMIT')
  await f.settle()
  expect(await same(f, 'SELECT a FROM t')).toEqual([{ a: '2' }])
  expect(f.follower.output).not.toContain('pending trigger events')
})

it('halts at what a deferred trigger of the downstream makes impossible, instead of trying for ever', async () => {
  const f = await follow({ before: ['CREATE TABLE t(a int PRIMARY KEY)'] })
  await deferredTrigger(f)
  await script(f.upstream, 'BEGIN; INSERT INTO t VALUES (1); TRUNCATE t; COMMIT')
  expect(await failure(f.follower, 8)).toMatchObject({ code: 'FLW-313', sqlstate: '55006' })
})

it('waits longer each time for a reason that does not pass', async () => {
  const f = await follow({ before: ['CREATE TABLE t(a int PRIMARY KEY)'] })
  await script(
    f.downstream,
    `CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no space' USING ERRCODE = '53100'; END $$;
     CREATE TRIGGER no_space BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION no_space(); ALTER TABLE t ENABLE ALWAYS TRIGGER no_space`,
  )
  await script(f.upstream, 'INSERT INTO t VALUES (1)')
  await f.follower.line(/"times":4,.*no space/)
  await script(f.downstream, 'DROP TRIGGER no_space ON t')
  await f.settle()
  await same(f, 'SELECT a FROM t')
})

it('waits for a downstream that has become a standby', { timeout: 90_000 }, async () => {
  const [up, down] = [await cluster(), await cluster()]
  for (const server of [up, down]) await script(server.conninfo(), 'CREATE TABLE t(a int PRIMARY KEY)')
  const follower = runFollower(['start', '--upstream', up.conninfo(), '--downstream', down.conninfo()])
  await follower.ready()
  await down.stop()
  const owner = statSync(down.dataDir)
  writeFileSync(`${down.dataDir}/standby.signal`, '')
  chownSync(`${down.dataDir}/standby.signal`, owner.uid, owner.gid)
  await down.start()
  await script(up.conninfo(), 'INSERT INTO t VALUES (1)')
  await follower.line(/read-only transaction/)
  await script(down.conninfo(), 'SELECT pg_promote()')
  await waitUntil(() => value(down.conninfo(), 'SELECT a FROM t'))
  expect((await follower.stop()).code).toBe(0)
})

it('counts the batch in hand as lag', async () => {
  const f = await follow({
    before: ['CREATE TABLE t(a int PRIMARY KEY)'],
    args: ['--web-listen', '127.0.0.1:0'],
  })
  const url = await web(f)
  const lag = async () => Number(/^follower_lag_seconds\{.*\} (.*)$/m.exec(await get(`${url}/metrics`))![1])
  const session = await client(f.downstream)
  await session.query('BEGIN; LOCK TABLE t')
  await script(f.upstream, 'INSERT INTO t VALUES (1)')
  await waitUntil(async () => (await lag()) > 1, { what: 'a lag' })
  expect(await get(`${url}/readyz?verbose`)).toMatch(/lag [1-9]/)
  await session.query('COMMIT')
  await waitUntil(async () => (await lag()) === 0, { what: 'no lag' })
})

it('is not ready without its upstream, also while a batch is blocked downstream', async () => {
  const f = await follow({
    before: ['CREATE TABLE t(a int PRIMARY KEY)'],
    args: ['--web-listen', '127.0.0.1:0'],
  })
  const ready = async () => (await fetch(`${url}/readyz`)).status
  const url = await web(f)
  await waitUntil(async () => (await ready()) === 200)
  const session = await client(f.downstream)
  await session.query('BEGIN; LOCK TABLE t')
  await script(f.upstream, 'INSERT INTO t VALUES (1)')
  await waitUntil(() => value(f.downstream, 'SELECT 1 FROM pg_locks WHERE NOT granted LIMIT 1'))
  await query(
    f.upstream,
    'SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1',
    [f.name],
  )
  await waitUntil(async () => (await ready()) === 503, { what: 'unready' })
  await session.query('COMMIT')
  await waitUntil(async () => (await ready()) === 200, { what: 'ready' })
  await same(f, 'SELECT a FROM t')
})

it('takes no state for a sign of life', async () => {
  const health = new Health()
  health.set('streaming')
  const begin = performance.now()
  await sleep(50)
  health.set('streaming')
  expect(health.live(begin + 60_025)).toBe(false)
})

it('counts what a flood of tiny transactions takes beside its rows', () => {
  const queue = new TransactionQueue()
  for (let n = 0; n < 1000; n++) queue.push({ bytes: 24, ddl: false } as Transaction)
  expect(queue.bytes).toBeGreaterThan(500_000)
  while (queue.take(5000, 1000).length > 0);
  expect(queue.bytes).toBe(0)
})

it('acknowledges nothing that the downstream may lose, also when it takes over a position', {
  timeout: 90_000,
}, async () => {
  const up = await cluster()
  const down = await cluster({ settings: { synchronous_commit: 'off', autovacuum: 'off' } })
  for (const server of [up, down]) await script(server.conninfo(), 'CREATE TABLE t(a int PRIMARY KEY)')
  const follower = runFollower([
    ...['start', '--upstream', up.conninfo(), '--downstream', down.conninfo(), '--synchronous-commit', 'off'],
  ])
  await follower.ready()
  // Nobody is left who makes durable what was committed asynchronously.
  await signal(
    down.conninfo(),
    `backend_type IN ('walwriter', 'background writer', 'checkpointer')`,
    'SIGSTOP',
  )
  await script(up.conninfo(), 'INSERT INTO t VALUES (1)')
  await waitUntil(() => value(down.conninfo(), 'SELECT a FROM t'))
  await script(up.conninfo(), 'SELECT pg_terminate_backend(pid) FROM pg_stat_replication')
  await waitUntil(() => follower.stderr.filter((line) => line.includes('"following ')).length === 2)
  await follower.ready()
  await sleep(500)
  const confirmed = await value(up.conninfo(), 'SELECT confirmed_flush_lsn FROM pg_replication_slots')
  await follower.kill9()
  const pids = await query(down.conninfo(), 'SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()')
  const stopped = down.stop('kill')
  for (const { pid } of pids) kill(Number(pid), 'SIGKILL')
  await stopped
  await down.start()
  expect(await value(down.conninfo(), 'SELECT lsn >= $1 FROM follower.progress', [confirmed])).toBe('t')
})

it('overwrites an identity ALWAYS column, too', async () => {
  const f = await follow({
    before: ['CREATE TABLE t(a int PRIMARY KEY, i int GENERATED ALWAYS AS IDENTITY, b text)'],
    args: ['--on-conflict', 'insert_exists=overwrite'],
  })
  await script(f.downstream, `INSERT INTO t OVERRIDING SYSTEM VALUE VALUES (1, 77, 'there')`)
  await f.run(`INSERT INTO t OVERRIDING SYSTEM VALUE VALUES (1, 5, 'new')`)
  expect(await same(f, 'SELECT * FROM t')).toEqual([{ a: '1', i: '5', b: 'new' }])
})

/** A trigger with deferred events, which fires under session_replication_role = replica. */
async function deferredTrigger(f: Following): Promise<void> {
  await script(
    f.downstream,
    `CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
     CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION nothing();
     ALTER TABLE t ENABLE ALWAYS TRIGGER deferred`,
  )
}

/** Where its metrics are. */
async function web(f: Following): Promise<string> {
  return /http:[^"]*/.exec(await f.follower.line(/follower starts/))![0]
}

async function get(url: string): Promise<string> {
  return (await fetch(url)).text()
}

async function signal(conninfo: string, which: string, name: NodeJS.Signals): Promise<void> {
  for (const { pid } of await query(conninfo, `SELECT pid FROM pg_stat_activity WHERE ${which}`))
    kill(Number(pid), name)
}

/** Also where the process has ended by itself. */
function kill(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

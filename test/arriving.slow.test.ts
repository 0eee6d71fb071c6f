import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { cleanUp } from './support/cleanup.ts'
import { compareDatabases } from './support/comparator.ts'
import { failure, log } from './support/failure.ts'
import { type Following, follow } from './support/follow.ts'
import { available, hasWal2json } from './support/servers.ts'
import { table, text } from './support/spill.ts'
import { client, query, script, value } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

/** Small, so that there are many parts. */
const early = { FOLLOWER_ARRIVING_FROM: '100000' }
const never = { FOLLOWER_ARRIVING_FROM: '1e15' }
/** What comes before its commit is for test/streaming.slow.test.ts. */
const args = ['--streaming', 'off', '--web-listen', '127.0.0.1:0', '--log-level', 'debug']
const item = 'CREATE TABLE item(id int PRIMARY KEY, b text, n int NOT NULL DEFAULT 0)'

/** About 60 bytes each. */
const items = (from: number, to: number) =>
  `INSERT INTO item SELECT i, md5(i::text) FROM generate_series(${from}, ${to}) i`

async function metric(f: Following, name: string): Promise<number> {
  const url = log(f.follower).find((line) => line.web)?.web as string
  const lines = (await (await fetch(`${url}/metrics`)).text()).split('\n')
  const found = lines.find((line) => line.startsWith(`follower_${name}`))
  return Number(found?.split(' ').at(-1) ?? 0)
}

async function arrived(f: Following): Promise<{ arrived: number; redone: number }> {
  return {
    arrived: await metric(f, 'apply_arriving_transactions_total'),
    redone: await metric(f, 'apply_batches_redone_total'),
  }
}

async function equal(f: Following): Promise<void> {
  expect(await compareDatabases(f.upstream, f.downstream)).toEqual([])
}

/** Stops the walsender while a transaction is applied; resolves once all that has come is applied and waits for more. */
async function stalled(f: Following): Promise<{ goOn(): void; walsender: number }> {
  const poll = await client(f.downstream)
  const at = (states: string) =>
    poll
      .query(
        `SELECT FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL
           AND application_name LIKE 'follower/%' AND state IN (${states}) AND query NOT LIKE '%pg_stat_activity%'
           AND EXISTS (SELECT FROM pg_locks l WHERE l.pid = pg_stat_activity.pid AND l.relation = 'item'::regclass)`,
      )
      .then(({ rows }) => rows.length > 0)
  const pid = Number(
    await value(f.upstream, `SELECT active_pid FROM pg_replication_slots WHERE slot_name = '${f.name}'`),
  )
  let stopped = false
  const goOn = (): void => {
    if (stopped) process.kill(pid, 'SIGCONT')
    stopped = false
  }
  cleanUp(goOn)
  await waitUntil(() => at("'active', 'idle in transaction'"), {
    what: 'a part that is applied',
    interval: 5,
  })
  process.kill(pid, 'SIGSTOP')
  stopped = true
  await waitUntil(
    async () => {
      for (let i = 0; i < 10; i++) if (!(await at("'idle in transaction'"))) return false
      return true
    },
    { what: 'a session that waits for more' },
  )
  expect(await value(f.downstream, 'SELECT count(*) FROM item')).toBe('0')
  return { goOn, walsender: pid }
}

test('what arrives is applied meanwhile, with all that may be in it, and ends equal', {
  timeout: 120_000,
}, async () => {
  const f = await follow({
    before: [
      table,
      item,
      `CREATE TABLE parent(id int PRIMARY KEY); CREATE TABLE child(id int PRIMARY KEY, p int NOT NULL REFERENCES parent);
       CREATE TABLE place(id int PRIMARY KEY, at int UNIQUE DEFERRABLE INITIALLY DEFERRED);
       CREATE TABLE entire(a int, b text); ALTER TABLE entire REPLICA IDENTITY FULL;
       CREATE TABLE emptied(id int PRIMARY KEY)`,
    ],
    args,
    env: early,
  })
  await f.run(`INSERT INTO doc SELECT i, ${text('i', 20_000)} FROM generate_series(1, 50) i;
    INSERT INTO place SELECT i, i FROM generate_series(1, 2000) i; INSERT INTO entire SELECT i % 10, 'x' FROM generate_series(1, 300) i;
    INSERT INTO emptied SELECT generate_series(1, 100)`)
  const before = await arrived(f)
  await f.run(`BEGIN;
    ${items(1, 89_000)};
    UPDATE doc SET n = n + 1; UPDATE doc SET body = ${text('id', 12_000)} WHERE id % 3 = 0;
    SAVEPOINT a; ${items(90_001, 99_000)}; ROLLBACK TO a;
    INSERT INTO parent SELECT generate_series(1, 5000); INSERT INTO child SELECT i, i FROM generate_series(1, 5000) i;
    UPDATE place SET at = 2001 - at;
    TRUNCATE emptied; INSERT INTO emptied SELECT generate_series(50, 9000);
    UPDATE item SET n = n + 1 WHERE id % 5 = 0; UPDATE item SET id = id + 100000 WHERE id % 70 = 0;
    DELETE FROM entire WHERE ctid IN (SELECT ctid FROM entire WHERE a = 3 LIMIT 20); UPDATE entire SET b = 'y' WHERE a = 4;
    DELETE FROM child WHERE id % 2 = 0; DELETE FROM parent WHERE id % 2 = 0;
    DELETE FROM item WHERE id % 11 = 0; ${items(200_001, 350_000)};
    COMMIT`)
  await equal(f)
  expect(await arrived(f)).toEqual({ arrived: before.arrived + 1, redone: before.redone })
  expect(await f.stop()).toBe(0)
})

describe('in the middle of it', () => {
  test.each([
    ['arriving.part:kill9:1'],
    ['arriving.part:kill9:2'],
    ['arriving.before-commit:kill9:1'],
    ['apply.commit-sent:kill9:1'],
  ])('a kill at %s starts it over', { timeout: 120_000 }, async (failpoint) => {
    const f = await follow({ before: [item], args, env: { ...early, FOLLOWER_FAILPOINT: failpoint } })
    // Three parts at the least.
    await script(f.upstream, `BEGIN; ${items(1, 300_000)}; UPDATE item SET n = 1 WHERE id % 3 = 0; COMMIT`)
    expect(await f.follower.exit).toMatchObject({ signal: 'SIGKILL' })
    f.start(args, early)
    await f.settle()
    await equal(f)
  })

  test.each([['arriving.part:drop:3'], ['arriving.before-commit:drop:1']])(
    'a downstream connection that is lost at %s starts it over',
    { timeout: 120_000 },
    async (failpoint) => {
      const f = await follow({ before: [item], args, env: { ...early, FOLLOWER_FAILPOINT: failpoint } })
      await f.run(items(1, 300_000))
      expect(f.follower.output).toContain(`failpoint ${failpoint.split(':')[0]} drop`)
      await equal(f)
    },
  )

  test('an upstream connection that is lost starts it over', { timeout: 120_000 }, async () => {
    const f = await follow({ before: [item], args, env: early })
    await script(f.upstream, items(1, 500_000))
    const { goOn, walsender } = await stalled(f)
    await query(f.upstream, 'SELECT pg_terminate_backend($1)', [walsender])
    goOn()
    await f.settle()
    await equal(f)
    expect(f.follower.output).toContain('retry')
  })

  test('a wish to stop is met at once', { timeout: 120_000 }, async () => {
    const f = await follow({ before: [item], args, env: early })
    await script(f.upstream, items(1, 500_000))
    const { goOn } = await stalled(f)
    const began = performance.now()
    expect(await f.stop()).toBe(0)
    expect(performance.now() - began).toBeLessThan(5000)
    expect(await value(f.downstream, 'SELECT count(*) FROM item')).toBe('0')
    goOn()
    f.start(args, early)
    await f.settle()
    await equal(f)
    expect(await arrived(f)).toEqual({ arrived: 1, redone: 0 })
  })

  test('what waits for more is alive, and nothing of it is seen', { timeout: 120_000 }, async () => {
    const f = await follow({ before: [item], args, env: early })
    await script(f.upstream, items(1, 500_000))
    const { goOn } = await stalled(f)
    const url = log(f.follower).find((line) => line.web)?.web as string
    await new Promise((resolve) => setTimeout(resolve, 12_000))
    expect((await fetch(`${url}/livez`)).status).toBe(200)
    expect(await (await fetch(`${url}/livez?verbose`)).text()).toMatch(/streaming|catchup/)
    goOn()
    await f.settle()
    await equal(f)
    expect(await arrived(f)).toEqual({ arrived: 1, redone: 0 })
  })

  test('DDL takes it back, and it is applied in order', { timeout: 120_000 }, async () => {
    const f = await follow({ before: [item], args, env: early })
    await f.run(`BEGIN; ${items(1, 200_000)}; ALTER TABLE item ADD more text DEFAULT 'x';
      INSERT INTO item SELECT i, 'b', 0, 'y' FROM generate_series(200001, 210000) i; COMMIT`)
    await equal(f)
    expect(await arrived(f)).toEqual({ arrived: 0, redone: 1 })
    await f.run('CREATE TABLE other AS SELECT * FROM item')
    await equal(f)
  })
})

test('a conflict in it stops the follow just as it did without', { timeout: 120_000 }, async () => {
  const told: unknown[] = []
  for (const env of [never, early]) {
    const f = await follow({ before: [item], args, env })
    await script(f.downstream, "INSERT INTO item VALUES (60000, 'in the way')")
    await script(f.upstream, items(1, 100_000))
    const { code, message, detail, sqlstate, context } = await failure(f.follower, 8)
    told.push({
      ...{ code, sqlstate, message: message.replace(/\d+/, 'N'), detail: detail.replace(/commit \S+/, '') },
      ...{ relation: context.relation, key: context.key, constraint: context.constraint },
    })
    expect(await query(f.downstream, 'SELECT * FROM item')).toHaveLength(1)
    expect(f.follower.output.includes('batch rolled back')).toBe(true)
    await script(f.downstream, 'DELETE FROM item')
    f.start(args, env)
    await f.settle()
    await equal(f)
  }
  expect(told[1]).toEqual(told[0])
})

test('a row that is missing is noticed, though for the server that is no error', {
  timeout: 120_000,
}, async () => {
  const f = await follow({ before: [item], args, env: early })
  await f.run(items(1, 20_000))
  await script(f.downstream, 'DELETE FROM item WHERE id = 19999')
  await script(f.upstream, 'UPDATE item SET n = n + 1')
  const { message, context } = await failure(f.follower, 8)
  expect(message).toMatch(/missing/)
  expect(context).toMatchObject({ relation: 'public.item', key: expect.stringContaining('19999') })
  expect(await value(f.downstream, 'SELECT max(n) FROM item')).toBe('0')
})

test('a conflict that is to be skipped is skipped', { timeout: 120_000 }, async () => {
  const more = [...args, '--on-conflict', 'insert_exists=skip']
  const f = await follow({ before: [item], args: more, env: early })
  await script(f.downstream, "INSERT INTO item VALUES (5000, 'in the way')")
  await f.run(items(1, 15_000))
  expect(log(f.follower).filter((line) => line.conflict === 'insert_exists')).toHaveLength(1)
  expect(await value(f.downstream, 'SELECT count(*) FROM item')).toBe('15000')
  expect(await value(f.downstream, 'SELECT b FROM item WHERE id = 5000')).toBe('in the way')
})

test('a transaction that was to be left out is left out', { timeout: 120_000 }, async () => {
  const f = await follow({ before: [item], args, env: early })
  await script(f.downstream, "INSERT INTO item VALUES (60000, 'in the way')")
  await script(f.upstream, items(1, 100_000))
  const { context } = await failure(f.follower, 8)
  const { runFollower } = await import('./support/follower.ts')
  const skip = runFollower([
    ...['skip', '--name', f.name, '--upstream', f.upstream, '--downstream', f.downstream],
    ...['--lsn', String(context.lsn), '--reason', 'test'],
  ])
  expect(await skip.exit, skip.output).toMatchObject({ code: 0 })
  f.start(args, early)
  await f.settle()
  expect(await value(f.downstream, 'SELECT count(*) FROM item')).toBe('1')
  await f.run(items(200_001, 300_000))
  expect(await value(f.downstream, 'SELECT count(*) FROM item')).toBe('100001')
})

test('it is left by an --until before its end, and taken by one at its end', {
  timeout: 120_000,
}, async () => {
  const f = await follow({ before: [item], args, env: early })
  await f.run("INSERT INTO item VALUES (-1, 'before it')")
  await f.stop()
  await script(f.upstream, `SELECT pg_create_logical_replication_slot('${f.name}_end', 'test_decoding')`)
  cleanUp(() => script(f.upstream, `SELECT pg_drop_replication_slot('${f.name}_end')`))
  await script(f.upstream, items(1, 100_000))
  const [{ lsn: end } = {}] = await query(
    f.upstream,
    `SELECT lsn FROM pg_logical_slot_peek_changes('${f.name}_end', NULL, NULL) WHERE data LIKE 'COMMIT%'`,
  )
  const rows = () => value(f.downstream, 'SELECT count(*) FROM item')
  const run = async (until: string, env: Record<string, string>): Promise<string> => {
    f.start([...args, '--until', until], env)
    expect(await f.follower.exit, f.follower.output).toMatchObject({ code: 0 })
    return f.follower.output
  }
  const at = async (bytes: number) =>
    String(await value(f.upstream, `SELECT '${end}'::pg_lsn - ${bytes}::numeric`))
  // Before its commit record: it does not even begin.
  const begun = { ...early, FOLLOWER_FAILPOINT: 'arriving.part:throw:1' }
  await run(await at(1000), begun)
  expect(await rows()).toBe('1')
  f.start([...args, '--until', String(end)], {
    ...early,
    FOLLOWER_FAILPOINT: 'arriving.before-commit:kill9:1',
  })
  expect(await f.follower.exit).toMatchObject({ signal: 'SIGKILL' })
  expect(await rows()).toBe('1')
  // Within the record: its end was not known when it began.
  expect(await run(await at(1), early)).toContain('--until')
  expect(await rows()).toBe('1')
  await run(String(end), early)
  expect(await rows()).toBe('100001')
})

test('takes no more memory for it', { timeout: 120_000 }, async () => {
  const f = await follow({ before: [table], args })
  await f.run(`INSERT INTO doc SELECT i, ${text('i', 64_000)} FROM generate_series(1, 5000) i`)
  expect(await arrived(f)).toEqual({ arrived: 1, redone: 0 })
  const peak = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${f.follower.pid}/status`, 'utf8'))?.[1]
  expect(Number(peak)).toBeLessThan(256 * 1024)
  await equal(f)
})

test.skipIf(!available('15-18') || !hasWal2json())('by wal2json, too', { timeout: 120_000 }, async () => {
  const f = await follow({
    pair: '15-18',
    before: [item],
    args: [...args, '--plugin', 'wal2json'],
    env: early,
  })
  await f.run(items(1, 100_000))
  expect(await arrived(f)).toEqual({ arrived: 1, redone: 0 })
  await f.run(`BEGIN; ${items(200_001, 230_000)}; UPDATE item SET n = n + 1 WHERE id % 3 = 0; COMMIT`)
  await equal(f)
})

test('where triggers act it is applied in order', { timeout: 120_000 }, async () => {
  const f = await follow({
    before: [item],
    downstreamOnly: [
      `CREATE TABLE noted(id int); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO public.noted VALUES (NEW.id); RETURN NEW; END';
       CREATE TRIGGER note AFTER INSERT ON item FOR EACH ROW EXECUTE FUNCTION note(); ALTER TABLE item ENABLE ALWAYS TRIGGER note`,
    ],
    args,
    env: early,
  })
  await f.run(items(1, 20_000))
  expect(await value(f.downstream, 'SELECT count(*) FROM noted')).toBe('20000')
  expect(await arrived(f)).toEqual({ arrived: 0, redone: 0 })
})

import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { TcpProxy } from './chaos/proxy.ts'
import { compareDatabases } from './support/comparator.ts'
import { failure } from './support/failure.ts'
import { follow } from './support/follow.ts'
import { followerCommand, runFollower } from './support/follower.ts'
import { drain, json, nothingLeft, pulled, pulling, streamedBecause } from './support/pull.ts'
import { available, cluster, databases, hasWal2json, type Pair } from './support/servers.ts'
import { client, query, script, statements, value } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

const table = 'CREATE TABLE t (id int PRIMARY KEY, a text)'
/** So many transactions of one row each. */
const transactions = (from: number, to: number): string =>
  `DO $$BEGIN FOR i IN ${from}..${to} LOOP INSERT INTO t VALUES (i, 'row ' || i); COMMIT; END LOOP; END$$`

describe.each<Pair>(['18', '14-18', '15-18', '16', '17'].filter((it) => available(it as Pair)) as Pair[])(
  'a backlog that is pulled, %s',
  { timeout: 120_000 },
  (pair) => {
    it('arrives whole and in order, schema changes, TOAST and truncates within', async () => {
      const f = await follow({
        pair,
        before: [
          table,
          'CREATE TABLE big (id int PRIMARY KEY, body text, n int); ALTER TABLE big ALTER body SET STORAGE EXTERNAL',
          'CREATE TABLE odd (id int PRIMARY KEY, f float8, b bytea, tz timestamptz, d date, iv interval, na numeric[])',
          'CREATE TABLE gone (id int PRIMARY KEY)',
        ],
      })
      // What a role or a database sets changes no value that travels as text.
      for (const setting of [
        `DateStyle = 'German, DMY'`,
        `IntervalStyle = 'sql_standard'`,
        'extra_float_digits = -15',
        `bytea_output = 'escape'`,
        `TimeZone = 'Asia/Kolkata'`,
        'statement_timeout = 300',
        'search_path = nowhere',
      ])
        await script(f.upstream, `ALTER DATABASE ${f.name} SET ${setting}`)
      await drain(f, [
        'SET statement_timeout = 0',
        'SET search_path = public',
        transactions(1, 60),
        `INSERT INTO big SELECT i, repeat(md5(i::text), 300), 0 FROM generate_series(1, 5) i`,
        'UPDATE big SET n = n + 1',
        `INSERT INTO odd VALUES (1, 0.1::float8 + 0.2, '\\x00ff', '2026-02-03 04:05:06.789+00', '2026-02-03', '1 day 2 hours', '{1.50,NULL}')`,
        'INSERT INTO gone VALUES (1)',
        'ALTER TABLE t ADD c int DEFAULT 7',
        `INSERT INTO t (id, a) SELECT i, 'large' FROM generate_series(1001, 1500) i`,
        'CREATE TABLE made (id int PRIMARY KEY)',
        'INSERT INTO made VALUES (1)',
        'TRUNCATE gone; INSERT INTO gone VALUES (2)',
        'DELETE FROM t WHERE id < 10',
        'UPDATE t SET id = id + 5000 WHERE id < 20',
        'SELECT 1',
      ])
      expect(pulled(f.follower)?.windows).toBeGreaterThan(3)
      expect(await compareDatabases(f.upstream, f.downstream)).toEqual([])
      expect(await value(f.downstream, 'SELECT count(*) FROM t WHERE a = $1', ['large'])).toBe('500')
      await nothingLeft(f)
      // What was applied is acknowledged, though nothing was streamed.
      expect(
        await value(f.downstream, `SELECT lsn - $2::pg_lsn FROM follower.progress WHERE name = $1`, [
          f.name,
          (
            await query(
              f.upstream,
              'SELECT confirmed_flush_lsn AS lsn FROM pg_replication_slots WHERE slot_name = $1',
              [f.name],
            )
          )[0]!.lsn,
        ]),
      ).toBe('0')
    })

    it('is followed by the stream, from where it ended', async () => {
      const f = await follow({ pair, before: [table] })
      await f.stop()
      await script(f.upstream, transactions(1, 100))
      f.start(json, pulling())
      await f.follower.ready({ slot: f.name })
      await f.run(`${transactions(101, 150)}`)
      expect(pulled(f.follower)?.messages).toBeGreaterThanOrEqual(300)
      expect(await compareDatabases(f.upstream, f.downstream)).toEqual([])
      const again = f.follower.stderr.filter((line) => line.includes('"following '))
      expect(again.length).toBe(1)
      expect(await f.stop()).toBe(0)
      await nothingLeft(f)
    })
  },
)

describe('pulling', { timeout: 120_000 }, () => {
  it('is done by two sessions, one of which decodes while the rows of the other arrive', async () => {
    const f = await follow({ before: [table] })
    await f.stop()
    await script(f.upstream, transactions(1, 20_000))
    f.start(['--until', 'now', ...json], pulling(200))
    const copies = `SELECT count(*) FROM pg_replication_slots WHERE temporary AND slot_name LIKE '${f.name}%'`
    const poll = await client(f.upstream)
    await waitUntil(async () => (await poll.query(copies)).rows[0].count === '2', {
      ...{ what: 'two copies of the slot', interval: 1 },
    })
    expect((await f.follower.exit).code, f.follower.output).toBe(0)
    expect(await compareDatabases(f.upstream, f.downstream)).toEqual([])
    await nothingLeft(f)
  })

  it('takes a window that is ready only behind the one before it, which the downstream holds up', async () => {
    const f = await follow({ before: [table] })
    await f.stop()
    // More than sockets hold, wherever it runs.
    const large = `DO $$BEGIN FOR i IN 1..8000 LOOP INSERT INTO t SELECT i, repeat(md5(i::text), 600); COMMIT; END LOOP; END$$`
    await script(f.upstream, large)
    const holder = await client(f.downstream)
    await holder.query('BEGIN; LOCK TABLE t')
    f.start(['--until', 'now', '--memory-limit', '16MB', ...json], pulling(12_000))
    const decoded = `SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'follower/${f.name}%'
      AND state = 'active' AND query LIKE '%COPY%' AND wait_event = 'ClientWrite'`
    await waitUntil(async () => (await value(f.upstream, decoded)) === '2', { what: 'two windows that wait' })
    await holder.query('COMMIT')
    expect((await f.follower.exit).code, f.follower.output).toBe(0)
    expect(pulled(f.follower)?.messages).toBeGreaterThanOrEqual(24_000)
    expect(await compareDatabases(f.upstream, f.downstream)).toEqual([])
  })

  it('ends where --until does, in the middle of a backlog', async () => {
    const f = await follow({ before: [table] })
    await f.stop()
    await script(f.upstream, transactions(1, 100))
    const until = await value(f.upstream, 'SELECT pg_current_wal_lsn()')
    await script(f.upstream, transactions(101, 200))
    f.start(['--until', until!, ...json], pulling())
    expect((await f.follower.exit).code, f.follower.output).toBe(0)
    expect(pulled(f.follower)).toBeDefined()
    expect(await value(f.downstream, 'SELECT max(id) FROM t')).toBe('100')
    await drain(f, [])
    expect(await value(f.downstream, 'SELECT count(*) FROM t')).toBe('200')
  })

  it('leaves a small backlog to the stream, and all of it with --backlog stream', async () => {
    const f = await follow({ before: [table] })
    await drain(f, [transactions(1, 100)], [], {})
    expect(pulled(f.follower)).toBeUndefined()
    await drain(f, [transactions(101, 200)], ['--backlog', 'stream'])
    expect(pulled(f.follower)).toBeUndefined()
    expect(await value(f.downstream, 'SELECT count(*) FROM t')).toBe('200')
  })

  it.skipIf(!(available('15') && hasWal2json()))('leaves wal2json to the stream', async () => {
    const f = await follow({ pair: '15-18', args: ['--plugin', 'wal2json'], before: [table] })
    await drain(f, [transactions(1, 50)], ['--plugin', 'wal2json'])
    expect(pulled(f.follower)).toBeUndefined()
    expect(await value(f.downstream, 'SELECT count(*) FROM t')).toBe('50')
  })

  it('stops at a publication that went away in the backlog, behind what came before', async () => {
    for (const pair of (['18', '15-18'] as const).filter(available)) {
      const f = await follow({
        pair,
        before: [table],
        upstreamOnly: ['CREATE PUBLICATION one FOR TABLE settled', 'CREATE PUBLICATION two FOR TABLE t'],
        args: ['--ddl', 'off', '--publication', 'one,two'],
      })
      await f.stop()
      await statements(f.upstream, [
        transactions(1, 30),
        'DROP PUBLICATION two',
        "INSERT INTO t VALUES (1000, 'lost')",
        'CREATE PUBLICATION two FOR TABLE t',
        "INSERT INTO t VALUES (1001, 'behind')",
      ])
      f.start(['--ddl', 'off', '--publication', 'one,two', ...json], pulling())
      expect(await failure(f.follower, 7)).toMatchObject({ code: 'FLW-213' })
      expect(await value(f.downstream, 'SELECT max(id) FROM t')).toBe('30')
      await nothingLeft(f)
    }
  })

  it('ends at once when it is told to, and goes on', async () => {
    const f = await follow({ before: [table] })
    await f.stop()
    await script(f.upstream, transactions(1, 100))
    f.start(json, { ...pulling(), FOLLOWER_FAILPOINT: 'pull.window:hang:50' })
    await f.follower.line(/failpoint pull.window hang/)
    const began = performance.now()
    expect(await f.stop()).toBe(0)
    expect(performance.now() - began).toBeLessThan(5000)
    await nothingLeft(f)
    await drain(f, [])
    expect(await compareDatabases(f.upstream, f.downstream)).toEqual([])
  })

  it('is begun again where its connection is cut', async () => {
    const f = await follow({ before: [table] })
    await f.stop()
    await script(f.upstream, transactions(1, 100))
    f.start(json, { ...pulling(), FOLLOWER_FAILPOINT: 'pull.window:drop:100,pull.advance:drop:1' })
    await f.follower.line(/failpoint pull.window drop/)
    await f.follower.line(/failpoint pull.advance drop/)
    await f.follower.ready({ slot: f.name })
    await f.settle()
    expect(await compareDatabases(f.upstream, f.downstream)).toEqual([])
    expect(await f.stop()).toBe(0)
    await nothingLeft(f)
  })

  it('moves the own slot while it pulls, never beyond what is durable downstream', async () => {
    const f = await follow({ before: [table] })
    await f.stop()
    await script(f.upstream, transactions(1, 100))
    const lock = await client(f.downstream)
    await lock.query('BEGIN; LOCK TABLE t IN EXCLUSIVE MODE')
    f.start(json, pulling(1000))
    // All of it has arrived, and nothing can be applied.
    await waitUntil(() => /"msg":"window"/.test(f.follower.output), { what: 'a window' })
    await sleep(6000)
    const ahead = await query(
      f.upstream,
      'SELECT confirmed_flush_lsn AS lsn, active FROM pg_replication_slots WHERE slot_name = $1',
      [f.name],
    )
    expect(ahead[0]?.active).toBe('f')
    expect(
      await value(f.downstream, 'SELECT $2::pg_lsn <= lsn FROM follower.progress WHERE name = $1', [
        f.name,
        ahead[0]!.lsn,
      ]),
    ).toBe('t')
    const ends = f.args.slice(1)
    const status = JSON.parse((await followerCommand(['status', ...ends, '--json'])).stdout)
    expect(status).toMatchObject({
      state: 'following',
      slot: { active: false, pulledBy: { applicationName: `follower/${f.name}` } },
    })
    expect((await followerCommand(['status', ...ends])).stdout).toContain(
      'its backlog is pulled by follower/',
    )
    await lock.query('ROLLBACK')
    await lock.end()
    await f.settle()
    expect(JSON.parse((await followerCommand(['status', ...ends, '--json'])).stdout)).toMatchObject({
      slot: { active: true, pulledBy: null },
    })
    expect(await f.stop()).toBe(0)
    expect(await compareDatabases(f.upstream, f.downstream)).toEqual([])
  })

  it('makes way for the stream where a window has to wait for the downstream', async () => {
    const f = await follow({ before: [table] })
    await f.stop()
    await script(f.upstream, `INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 1000) i`)
    // More than may wait in memory, in transactions that are held up by a lock.
    await script(
      f.upstream,
      `DO $$BEGIN FOR i IN 1..120 LOOP INSERT INTO t SELECT 10000 * i + n, repeat('x', 1000) FROM generate_series(1, 1000) n; COMMIT; END LOOP; END$$`,
    )
    const lock = await client(f.downstream)
    await lock.query('BEGIN; LOCK TABLE t IN EXCLUSIVE MODE')
    f.start(json, pulling(100_000))
    await f.follower.line(/the downstream is slow/, 60_000)
    await f.follower.ready({ slot: f.name })
    await lock.query('ROLLBACK')
    await lock.end()
    await f.settle()
    expect(await f.stop()).toBe(0)
    expect(await compareDatabases(f.upstream, f.downstream)).toEqual([])
  })
})

describe('an upstream that is gone without a word while it is pulled', { timeout: 120_000 }, () => {
  it.each([
    ['while a window is read', 'pg_logical_slot_get_binary_changes'],
    ['before the first look at it', 'Where the upstream'],
  ])('is noticed as a silent stream is, and connected to again: %s', async (_, words) => {
    const up = await cluster({ settings: { wal_sender_timeout: '2s' } })
    const proxy = await TcpProxy.listen(() => Number(new URL(up.conninfo()).port))
    const { downstream, name } = await databases('18')
    for (const end of [up.conninfo(), downstream]) await script(end, table)
    const through = new URL(up.conninfo())
    through.hostname = proxy.host
    through.port = String(proxy.port)
    const ends = ['--upstream', through.href, '--downstream', downstream, '--name', name]
    const first = runFollower(['start', ...ends, '--until', 'now', ...json])
    expect((await first.exit).code, first.output).toBe(0)
    await script(up.conninfo(), transactions(1, 5000))
    proxy.stallAt(words)
    const it = runFollower(['start', ...ends, ...json], { env: pulling(30) })
    await it.line(/FLW-411/)
    expect(pulled(it)).toBeUndefined()
    proxy.cut()
    proxy.pass()
    await it.until(async () => (await value(downstream, 'SELECT count(*) FROM t')) === '5000', 'all rows')
    expect((await it.stop()).code).toBe(0)
    expect(await compareDatabases(up.conninfo(), downstream)).toEqual([])
    await nothingLeft({ upstream: up.conninfo(), name })
    // Nor does a start end by it that had reached both ends.
    proxy.stallAt('pg_copy_logical_replication_slot')
    await script(up.conninfo(), transactions(5001, 5100))
    const again = runFollower(['start', ...ends, ...json], { env: pulling(30) })
    await again.line(/FLW-411/)
    proxy.cut()
    proxy.pass()
    await again.until(async () => (await value(downstream, 'SELECT count(*) FROM t')) === '5100', 'the rest')
    expect((await again.stop()).code).toBe(0)
    await proxy.close()
  })
})

describe('a backlog that cannot be pulled', { timeout: 120_000 }, () => {
  /** An upstream of its own, and a backlog of 50 rows; `slot`: what makes it, `$name` its name. */
  async function upstream(settings: Record<string, string>, slot?: string) {
    const up = await cluster({ settings })
    const { downstream, name } = await databases('18')
    for (const end of [up.conninfo(), downstream]) await script(end, table)
    await script(up.conninfo(), 'CREATE PUBLICATION p FOR TABLE t')
    if (slot) await script(up.conninfo(), `SELECT ${slot.replace('$name', `'${name}'`)}`)
    const ends = ['--upstream', up.conninfo(), '--downstream', downstream, '--name', name]
    const given = ['--ddl', 'off', '--publication', 'p', ...(slot ? ['--slot', name] : [])]
    const start = (...args: (string | number)[]) =>
      runFollower(['start', ...ends, ...given, ...json, ...args.filter((each) => typeof each === 'string')], {
        env: pulling(args.find((each) => typeof each === 'number')),
      })
    const first = start('--until', 'now')
    expect((await first.exit).code, first.output).toBe(0)
    await script(up.conninfo(), transactions(1, 50))
    return { upstream: up.conninfo(), downstream, name, start }
  }

  it.each([
    ['no slot is free', { max_replication_slots: '1' }, undefined, /replication slots are in use/],
    [
      'the slot is a two-phase slot',
      {},
      `pg_create_logical_replication_slot($name, 'pgoutput', false, true)`,
      /two-phase/,
    ],
  ])('is streamed: %s', async (_, settings, slot, why) => {
    const f = await upstream(settings as Record<string, string>, slot)
    const it = f.start('--until', 'now')
    expect((await it.exit).code, it.output).toBe(0)
    expect(pulled(it)).toBeUndefined()
    expect(streamedBecause(it)).toMatch(why)
    expect(await value(f.downstream, 'SELECT count(*) FROM t')).toBe('50')
    await nothingLeft(f)
  })

  it('is pulled in smaller windows where the server has no room for a large one', async () => {
    const f = await upstream({ temp_file_limit: '2MB' })
    await script(
      f.upstream,
      `DO $$BEGIN FOR i IN 1001..15000 LOOP INSERT INTO t VALUES (i, repeat('x', 3000)); COMMIT; END LOOP; END$$`,
    )
    // All of it is one window; of smaller ones each fits into memory.
    const it = f.start('--until', 'now', 100_000)
    expect((await it.exit).code, it.output).toBe(0)
    expect(streamedBecause(it)).toBeUndefined()
    expect(pulled(it)?.windows).toBeGreaterThan(1)
    expect(await value(f.downstream, 'SELECT count(*) FROM t')).toBe('14050')
    await nothingLeft(f)
  })

  it('is pulled by one session where no further slot is free', async () => {
    const f = await upstream({ max_replication_slots: '2' })
    const it = f.start('--until', 'now')
    expect((await it.exit).code, it.output).toBe(0)
    expect(pulled(it)?.windows).toBeGreaterThan(2)
    expect(streamedBecause(it)).toBeUndefined()
    expect(it.output).toContain('the backlog is pulled by one session')
    expect(await value(f.downstream, 'SELECT count(*) FROM t')).toBe('50')
    await nothingLeft(f)
  })

  it('is streamed as far as standbys are that the slot waits for', async () => {
    const f = await upstream({})
    const failover = 'SELECT failover FROM pg_replication_slots WHERE slot_name = $1'
    expect(await value(f.upstream, failover, [f.name])).toBe('t')
    await script(f.upstream, "ALTER SYSTEM SET synchronized_standby_slots = 'standby'")
    await script(f.upstream, 'SELECT pg_reload_conf()')
    const it = f.start()
    await it.line(/the slot waits for synchronized_standby_slots/)
    await it.ready({ slot: f.name })
    await sleep(2000)
    expect(await value(f.downstream, 'SELECT count(*) FROM t')).toBe('0')
    await script(f.upstream, 'ALTER SYSTEM RESET ALL')
    await script(f.upstream, 'SELECT pg_reload_conf()')
    await it.until(async () => (await value(f.downstream, 'SELECT count(*) FROM t')) === '50', 'all rows')
    expect((await it.stop()).code).toBe(0)
    expect(pulled(it)).toBeUndefined()
  })

  it('is streamed from where the server has no room for a transaction', async () => {
    const f = await upstream({ temp_file_limit: '2MB' })
    // Of a window 32 MB are held in memory.
    await statements(f.upstream, [
      `INSERT INTO t SELECT i, repeat('x', 3000) FROM generate_series(1001, 21000) i`,
      transactions(51, 60),
    ])
    const it = f.start('--until', 'now')
    expect((await it.exit).code, it.output).toBe(0)
    expect(pulled(it)?.messages).toBeGreaterThan(0)
    expect(streamedBecause(it)).toMatch(/temp_file_limit/)
    expect(await value(f.downstream, 'SELECT count(*) FROM t')).toBe('20060')
    await nothingLeft(f)
  })
})

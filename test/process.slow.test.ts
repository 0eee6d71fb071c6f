import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, it, test } from 'vitest'
import { Repeats } from '../src/telemetry/repeats.ts'
import { cleanUp } from './support/cleanup.ts'
import { log } from './support/failure.ts'
import { type Following, follow } from './support/follow.ts'
import { metric } from './support/incidents.ts'
import { query, script, value } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

const web = ['--web-listen', '127.0.0.1:0']

describe('F10: what nobody caught', () => {
  it.each(['crash', 'reject'])('ends the process with a line of the log and exit 1: %s', async (way) => {
    const f = await follow({
      before: ['CREATE TABLE t(a int PRIMARY KEY)'],
      env: { FOLLOWER_FAILPOINT: `apply.mid-batch:${way}` },
    })
    await script(f.upstream, 'INSERT INTO t VALUES (1)')
    expect(await f.follower.exit).toEqual({ code: 1, signal: null })
    expect(log(f.follower).at(-1)).toMatchObject({
      level: 'fatal',
      code: 'FLW-901',
      err: { message: 'failpoint apply.mid-batch', stack: expect.any(String) },
    })
    f.start()
    await f.settle()
    expect(await value(f.downstream, 'SELECT count(*) FROM t')).toBe('1')
  })

  it('an error that nobody foresaw does, too', async () => {
    const f = await follow({ env: { FOLLOWER_FAILPOINT: 'apply.mid-batch:throw' } })
    await script(f.upstream, 'INSERT INTO settled VALUES (0)')
    expect(await f.follower.exit).toEqual({ code: 1, signal: null })
    expect(log(f.follower).at(-1)).toMatchObject({ level: 'fatal', code: 'FLW-900' })
  })
})

describe('F70: what repeats', () => {
  test('is said at powers of two, and is news again after two minutes of silence', () => {
    const repeats = new Repeats()
    const loud = (from: number, times: number) =>
      Array.from({ length: times }, (_, i) => repeats.count('57P01', from + i * 1000))
        .filter((each) => each.loud)
        .map(({ count }) => count)
    expect(loud(0, 1000)).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 512])
    expect(repeats.count('53100', 1_000_000)).toEqual({ count: 1, loud: true })
    expect(loud(1_200_000, 3)).toEqual([1, 2])
  })
})

/** What the process holds: descriptors, and what its event loop waits for. */
async function held(f: Following) {
  const one = async (name: string) => [...(await metric(f, name)).values()][0]!
  return {
    descriptors: readdirSync(`/proc/${f.follower.pid}/fd`).length,
    handles: await one('nodejs_active_handles_total'),
    heap: await one('nodejs_heap_size_used_bytes'),
    memory: await one('process_resident_memory_bytes'),
  }
}

const reconnects = Number(process.env.FOLLOWER_RECONNECTS ?? 120)

it(`F73: ${reconnects} reconnects leave descriptors, listeners and memory where they were, and a short log`, {
  timeout: 60_000 + reconnects * 3000,
}, async () => {
  const f = await follow({ before: ['CREATE TABLE t(a int PRIMARY KEY)'], args: web })
  const ends = [
    [f.upstream, `backend_type = 'walsender'`],
    [f.upstream, `backend_type <> 'walsender'`],
    [f.downstream, `query ~ 'advance_progress|pg_current_xact_id|SELECT s.oid|COMMIT'`],
    [f.downstream, 'true'],
  ] as const
  const reconnect = async (i: number): Promise<void> => {
    const [end, which] = ends[i % ends.length]!
    const before = await value(f.downstream, 'SELECT epoch FROM follower.progress')
    await query(
      end,
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name LIKE 'follower/%' AND ${which}`,
    )
    // The position moves each time, so that the delay stays at its least: what is counted is sessions, not patience.
    await f.run(`INSERT INTO t VALUES (${i})`)
    // The row may have come before the end of the connection did.
    await waitUntil(
      async () => (await value(f.downstream, 'SELECT epoch FROM follower.progress')) !== before || undefined,
      { what: `a new session after ${which}` },
    )
  }
  for (let i = 0; i < 20; i++) await reconnect(i)
  const first = await held(f)
  for (let i = 20; i < reconnects; i++) await reconnect(i)
  // A socket that was just closed may be there for a moment.
  const last = await waitUntil(
    async () => {
      const now = await held(f)
      return now.descriptors <= first.descriptors && now.handles <= first.handles ? now : undefined
    },
    { what: `no more descriptors and handles than ${JSON.stringify(first)}` },
  )
  console.log(
    `reconnects: ${reconnects}; after 20: ${JSON.stringify(first)}; at the end: ${JSON.stringify(last)}`,
  )
  expect(last.heap - first.heap).toBeLessThan(16e6)
  expect(last.memory - first.memory).toBeLessThan(64e6)
  expect(await value(f.downstream, 'SELECT count(*) FROM t')).toBe(String(reconnects))
  const counted = await metric(f, 'follower_reconnects_total')
  expect([...counted.values()].reduce((sum, n) => sum + n, 0)).toBeGreaterThanOrEqual(reconnects)
  // A handful of reasons, each at powers of two, with the line of the session that follows it.
  expect(log(f.follower).length).toBeLessThan(20 + 2 * counted.size * Math.ceil(Math.log2(reconnects) + 1))
  expect(f.follower.output).not.toMatch(/MaxListenersExceeded|Warning/)
  expect(await f.stop()).toBe(0)
})

const library = '/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1'

describe.skipIf(!existsSync(library))('F69: a wall clock that jumps', () => {
  it('ends no session, delays nothing, and makes no lag of its own', { timeout: 60_000 }, async () => {
    const directory = mkdtempSync(path.join(tmpdir(), 'clock-'))
    cleanUp(() => rmSync(directory, { recursive: true, force: true }))
    const clock = path.join(directory, 'clock')
    writeFileSync(clock, '+0')
    const f = await follow({
      before: ['CREATE TABLE t(a int PRIMARY KEY)'],
      args: web,
      env: {
        LD_PRELOAD: library,
        FAKETIME_TIMESTAMP_FILE: clock,
        FAKETIME_NO_CACHE: '1',
        // As a clock that somebody sets: what is monotonic stays so.
        FAKETIME_DONT_FAKE_MONOTONIC: '1',
      },
    })
    const { web: url } = JSON.parse(await f.follower.line(/follower starts/)) as { web: string }
    let n = 0
    for (const jump of ['+10d', '-10d', '+3600', '-3600', '+0']) {
      const keepalives = async () =>
        [...(await metric(f, 'follower_keepalives_total'))]
          .filter(([labels]) => labels.includes('sent'))
          .reduce((sum, [, count]) => sum + count, 0)
      const before = await keepalives()
      writeFileSync(clock, jump)
      // The jump has come about: the log has the wall clock's time.
      await f.run(`INSERT INTO t VALUES (${n++})`)
      await waitUntil(async () => (await keepalives()) > before)
      expect((await fetch(`${url}/livez`)).status).toBe(200)
      expect((await fetch(`${url}/readyz`)).status).toBe(200)
      for (const [, lag] of await metric(f, 'follower_lag_seconds')) expect(lag).toBeGreaterThanOrEqual(0)
    }
    expect(await metric(f, 'follower_reconnects_total')).toEqual(new Map())
    expect(await value(f.downstream, 'SELECT epoch FROM follower.progress')).toBe('1')
    expect(await value(f.downstream, 'SELECT count(*) FROM t')).toBe(String(n))
    // It also waits no longer than it would.
    writeFileSync(clock, '-10d')
    await query(
      f.upstream,
      `SELECT pg_terminate_backend(pid) FROM pg_stat_replication WHERE application_name LIKE 'follower/%'`,
    )
    await f.run(`INSERT INTO t VALUES (${n})`)
    const times = log(f.follower).map(({ time }) => Date.parse(String(time)))
    expect(Math.max(...times) - Math.min(...times)).toBeGreaterThan(9 * 86_400_000)
    expect(await f.stop()).toBe(0)
  })
})

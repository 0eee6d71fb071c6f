import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { Writable } from 'node:stream'
import fc from 'fast-check'
import pino from 'pino'
import { afterEach, describe, expect, test } from 'vitest'
import { ExitCode, FollowerError } from '../src/errors.ts'
import { Health } from '../src/telemetry/health.ts'
import { serializeError } from '../src/telemetry/log.ts'
import {
  createMetrics,
  failureReason,
  primeMetrics,
  showState,
  showWalStatus,
} from '../src/telemetry/metrics.ts'
import { protectSecret, redact } from '../src/telemetry/redact.ts'
import { listenWeb, type Web } from '../src/telemetry/web.ts'

describe('metrics', () => {
  test('docs/metrics.md lists each metric with its type and labels, and no other', () => {
    const { registry } = createMetrics()
    const listed = [
      ...readFileSync('docs/metrics.md', 'utf8').matchAll(
        /^\| `(follower_\w+)(?:\{(.*?)\})?` *\| (\w+) *\|/gm,
      ),
    ]
    const documented = listed.map(([, name, labels = '', type]) => `${type} ${name}{${labels}}`)
    const made = registry.getMetricsAsArray().flatMap((metric) => {
      const { name, labelNames = [] } = metric as typeof metric & { labelNames?: string[] }
      return name.startsWith('follower_')
        ? [`${metric.constructor.name.toLowerCase()} ${name}{${labelNames.join()}}`]
        : []
    })
    expect(documented.toSorted()).toEqual(made.toSorted())
  })

  test('what nobody measured is absent, not 0', async () => {
    const metrics = createMetrics()
    const samples = async () =>
      (await metrics.registry.metrics()).split('\n').filter((line) => !line.startsWith('#'))
    for (const name of ['slot_safe_wal_bytes', 'received_lsn', 'last_message_timestamp_seconds'])
      expect((await samples()).filter((line) => line.startsWith(`follower_${name} `))).toEqual([])
    metrics.slotSafeWalBytes.set(7)
    expect(await samples()).toContain('follower_slot_safe_wal_bytes 7')
  })

  test('a state set is 1 for one state', async () => {
    const metrics = createMetrics()
    primeMetrics(metrics, 'shop')
    showState(metrics, 'shop', 'starting')
    showState(metrics, 'shop', 'streaming')
    showWalStatus(metrics, 'lost')
    const text = await metrics.registry.metrics()
    expect(text.match(/^follower_state\{.*\} 1$/gm)).toEqual([
      'follower_state{downstream="shop",state="streaming"} 1',
    ])
    expect(text.match(/^follower_slot_wal_status\{.*\} 1$/gm)).toEqual([
      'follower_slot_wal_status{status="lost"} 1',
    ])
    expect(text).toContain('follower_changes_skipped_total{downstream="shop",reason="conflict"} 0')
    expect(text).toContain('process_resident_memory_bytes')
  })

  test('the reason of a failure is never its message', () => {
    expect(failureReason(Object.assign(new Error('x'), { code: '57P01' }))).toBe('57P01')
    expect(failureReason(new Error('wrapped', { cause: { code: 'ECONNRESET' } }))).toBe('ECONNRESET')
    const own = new FollowerError('x', { code: 'FLW-400', exit: ExitCode.upstream, sqlstate: '28P01' })
    expect(failureReason(own)).toBe('28P01')
    expect(failureReason(new Error('relation "secret" does not exist'))).toBe('other')
  })
})

describe('redaction', () => {
  const password = fc.stringMatching(/^[A-Za-z0-9!#$%^*()_+=,;[\]{}|<>~.-]{8,20}$/)

  test('no password of a URI, conninfo, statement or JSON field is left', () => {
    fc.assert(
      fc.property(password, (secret) => {
        const forms = [
          `connect postgres://app:${encodeURIComponent(secret)}@db1:5432/shop?sslmode=require failed`,
          `host=db1 password='${secret}' user=app`,
          `CREATE USER MAPPING FOR app SERVER s OPTIONS (user 'app', password '${secret}')`,
          `ALTER ROLE app PASSWORD '${secret}'`,
          JSON.stringify({ password: secret, sslpassword: secret }),
        ]
        for (const form of forms) {
          expect(redact(form)).not.toContain(secret)
          expect(redact(form)).not.toContain(encodeURIComponent(secret))
        }
      }),
    )
    expect(redact('host=db1 password=s3\\ cret\\\\x user=app')).toBe('host=db1 password=[redacted] user=app')
    expect(redact("password 'it''s' , b 'c'")).toBe("password '[redacted]' , b 'c'")
  })

  test('a protected secret disappears from any text, also as JSON and URI write it', () => {
    protectSecret('hun"ter/2é')
    for (const text of [
      'auth hun"ter/2é',
      JSON.stringify({ a: 'hun"ter/2é' }),
      encodeURIComponent('hun"ter/2é'),
    ])
      expect(redact(text)).toContain('[redacted]')
  })

  test('what is no password stays', () => {
    for (const text of [
      'at 16/B374D848 in public.users',
      'postgres://app@db1:5432/shop',
      'password authentication failed for user "app"',
    ])
      expect(redact(text)).toBe(text)
  })

  test('an error in the log has no connection, row, or stack of a foreseen kind', () => {
    const lines: string[] = []
    const sink = new Writable({ write: (chunk, _encoding, done) => done(void lines.push(String(chunk))) })
    const log = pino({ serializers: { err: serializeError } }, sink)
    log.error(
      Object.assign(new Error('duplicate key value'), {
        code: '23505',
        detail: 'Key (id)=(5521) already exists.',
        where: 'COPY users, line 1: "private"',
        table: 'users',
        client: { connectionParameters: { host: 'db1' } },
      }),
    )
    const { err } = JSON.parse(lines[0] ?? '')
    expect(err).toEqual({ type: 'Error', message: 'duplicate key value', code: '23505', table: 'users' })
    const cause = new AggregateError([
      new Error('connect ECONNREFUSED ::1'),
      new Error('connect ECONNREFUSED 127.0.0.1'),
    ])
    const own = new FollowerError('cannot connect', { code: 'FLW-400', exit: ExitCode.upstream, cause })
    expect(serializeError(own)).toMatchObject({
      code: 'FLW-400',
      exit: 4,
      cause: { message: 'connect ECONNREFUSED ::1; connect ECONNREFUSED 127.0.0.1' },
    })
  })
})

describe('health', () => {
  test('a pipeline without a beat for more than a minute is wedged, unless it rightly waits', () => {
    const health = new Health()
    health.set('streaming')
    const now = performance.now()
    expect(health.live(now + 59_000)).toBe(true)
    expect(health.live(now + 61_000)).toBe(false)
    health.waiting = 'a statement of the downstream'
    expect(health.live(now + 61_000)).toBe(true)
    health.waiting = undefined
    expect(health.live(now + 61_000)).toBe(false)
  })

  test('a halted follow stays halted while it is tried again, until its position has moved', () => {
    const health = new Health()
    const states: string[] = []
    health.onState = (state) => states.push(state)
    health.set('streaming')
    health.halt('FLW-310')
    health.set('streaming')
    health.set('catchup')
    expect(health.summary).toBe('halted: FLW-310')
    expect(health.ready().find(({ name }) => name === 'state')?.ok).toBe(false)
    expect(health.live()).toBe(true)
    // An end that is away meanwhile is told, too.
    health.set('retrying', 'FLW-501')
    health.set('streaming')
    expect(health.summary).toBe('halted: FLW-310')
    health.resume()
    expect(health.summary).toBe('streaming')
    health.resume()
    expect(states).toEqual(['streaming', 'halted', 'retrying', 'halted', 'streaming'])
  })

  test('a new state is a beat; the same one again is none, whoever repeats it', () => {
    const health = new Health()
    health.set('streaming')
    const states: string[] = []
    health.onState = (state) => states.push(state)
    const { now } = performance
    const start = now.call(performance)
    let elapsed = 0
    performance.now = () => start + elapsed
    try {
      for (elapsed = 2_000; elapsed < 70_000; elapsed += 2_000) health.set('streaming')
      expect(health.live()).toBe(false)
      health.set('catchup')
      expect(health.live()).toBe(true)
    } finally {
      performance.now = now
    }
    expect(states).toEqual(['catchup'])
  })

  test('ready needs a following state, both connections and a healthy slot', () => {
    const health = new Health()
    const failing = () => health.ready().flatMap((check) => (check.ok ? [] : [check.name]))
    expect(failing()).toEqual(['state', 'upstream', 'downstream', 'slot'])
    health.set('catchup')
    health.upstreamConnected = health.downstreamConnected = health.slotHealthy = true
    expect(failing()).toEqual([])
    health.set('retrying', 'FLW-500 cannot connect')
    expect(failing()).toEqual(['state'])
    expect(health.ready()[0]?.detail).toContain('FLW-500')
  })
})

describe('web', () => {
  const open: Web[] = []
  const log = pino({ level: 'silent' })
  afterEach(async () => {
    for (const web of open.splice(0)) await web.close()
  })
  async function serve(health = new Health()): Promise<string> {
    const web = await listenWeb(
      { host: '127.0.0.1', port: 0, chosen: true },
      { metrics: createMetrics(), health, log },
    )
    if (!web) throw new Error('not listening')
    open.push(web)
    return web.url
  }

  test('probes answer 200 or 503 and name each check', async () => {
    const health = new Health()
    const url = await serve(health)
    const before = await fetch(`${url}/readyz`)
    expect(before.status).toBe(503)
    expect(await before.text()).toContain('[-] upstream failed: not connected')
    expect((await fetch(`${url}/livez`)).status).toBe(200)
    health.set('streaming')
    health.upstreamConnected = health.downstreamConnected = health.slotHealthy = true
    const after = await fetch(`${url}/readyz?verbose`)
    expect(after.status).toBe(200)
    expect(await after.text()).toBe(
      '[+] state ok: streaming\n[+] upstream ok: connected\n[+] downstream ok: connected\n[+] slot ok: healthy\nok\n',
    )
  })

  test('metrics, HEAD, and nothing else', async () => {
    const url = await serve()
    const metrics = await fetch(`${url}/metrics`)
    expect(metrics.headers.get('content-type')).toContain('version=0.0.4')
    expect(await metrics.text()).toContain('follower_build_info{')
    const head = await fetch(`${url}/metrics`, { method: 'HEAD' })
    expect([head.status, await head.text()]).toEqual([200, ''])
    expect((await fetch(`${url}/livez`, { method: 'POST', body: 'x' })).status).toBe(405)
    for (const path of ['/', '/metrics/', '//metrics', '/api'])
      expect((await fetch(url + path)).status).toBe(404)
  })

  test('a client that never finishes its request is dropped', { timeout: 60_000 }, async () => {
    const { hostname, port } = new URL(await serve())
    const socket = connect(Number(port), hostname)
    socket.write('GET /livez HTTP/1.1\r\nX-Slow: ')
    socket.on('error', () => {})
    socket.resume()
    await new Promise((resolve) => socket.once('close', resolve))
  })

  test('a taken address is an error where it was chosen, else a warning', async () => {
    const { port } = new URL(await serve())
    const taken = { host: '127.0.0.1', port: Number(port) }
    const sources = { metrics: createMetrics(), health: new Health(), log }
    await expect(listenWeb({ ...taken, chosen: true }, sources)).rejects.toMatchObject({
      code: 'FLW-014',
      exit: 3,
    })
    expect(await listenWeb({ ...taken, chosen: false }, sources)).toBeUndefined()
  })
})

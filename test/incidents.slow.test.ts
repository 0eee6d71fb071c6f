import { describe, expect, it } from 'vitest'
import type { Incident } from '../src/provision/incidents.ts'
import { failure, log } from './support/failure.ts'
import { type Following, follow } from './support/follow.ts'
import { command, halted, list, metric } from './support/incidents.ts'
import { client, query, script, statements, value } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

const halt = ['--on-error', 'halt']

/** A trigger downstream that raises `state` at rows for which `when` holds. */
function raises(state: string, when = 'true'): string {
  return `CREATE OR REPLACE FUNCTION raises() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN IF ${when} THEN RAISE 'as asked' USING ERRCODE = '${state}'; END IF; RETURN NEW; END $$;
    CREATE OR REPLACE TRIGGER raises BEFORE INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION raises();
    ALTER TABLE t ENABLE ALWAYS TRIGGER raises`
}

async function nothingSkipped(f: Following): Promise<void> {
  expect(await value(f.downstream, 'SELECT count(*) FROM follower.skip')).toBe('0')
}

it('F27: transient errors are retried until they pass, whatever they are, and are no incident', {
  timeout: 120_000,
}, async () => {
  const f = await follow({ before: ['CREATE TABLE t(a int PRIMARY KEY)'], args: halt })
  const states = [
    ...['08006', '40001', '40P01', '40003', '53000', '53100', '53200', '53300', '55P03'],
    ...['57014', '57P01', '57P02', '57P03', '57P05'],
  ]
  for (const [i, state] of states.entries()) {
    await script(f.downstream, raises(state))
    await script(f.upstream, `INSERT INTO t VALUES (${i})`)
    await f.follower.line(new RegExp(`"sqlstate":"${state}"`))
    await script(f.downstream, 'DROP TRIGGER raises ON t')
    await f.settle()
  }
  expect(await value(f.downstream, 'SELECT count(*) FROM t')).toBe(String(states.length))
  expect(await value(f.downstream, 'SELECT count(*) FROM follower.incident')).toBe('0')
  await nothingSkipped(f)
})

it('F26, F27: a real deadlock, a cancelled statement, a killed session, no free connection', {
  timeout: 120_000,
}, async () => {
  const f = await follow({
    before: ['CREATE TABLE t(a int PRIMARY KEY, n int)', 'INSERT INTO t VALUES (1, 0), (2, 0)'],
    args: ['--copy', 'none', ...halt],
    least: 'replica',
  })
  const role = f.least!.role
  const session = `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename = '${role}'
    AND query ~ 'UPDATE|follower_'  AND wait_event_type = 'Lock'`
  const blocker = await client(f.superuser)

  // The follower has row 1 and waits for row 2, which we have; then we want row 1. Our patience is longer.
  await blocker.query(`SET deadlock_timeout = '1h'; BEGIN; UPDATE t SET n = -1 WHERE a = 2`)
  await script(f.upstream, 'UPDATE t SET n = 1 WHERE a = 1; UPDATE t SET n = 1 WHERE a = 2')
  await waitUntil(() => value(f.superuser, session))
  const wanted = blocker.query('UPDATE t SET n = -1 WHERE a = 1')
  await f.follower.line(/"sqlstate":"40P01"/)
  await wanted
  await blocker.query('ROLLBACK')
  await f.settle()

  for (const [n, act, told] of [
    [2, 'pg_cancel_backend', /"sqlstate":"57014"/],
    [3, 'pg_terminate_backend', /terminating connection|"sqlstate":"57P01"|FLW-511/],
  ] as const) {
    await blocker.query('BEGIN; UPDATE t SET n = -1 WHERE a = 2')
    await script(f.upstream, `UPDATE t SET n = ${n} WHERE a = 2`)
    const pid = await waitUntil(() => value(f.superuser, session))
    await query(f.superuser, `SELECT ${act}($1)`, [pid])
    await f.follower.line(told)
    await blocker.query('ROLLBACK')
    await f.settle()
  }

  await script(
    f.superuser,
    `ALTER ROLE ${role} CONNECTION LIMIT 0;
     SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${role}'`,
  )
  await f.follower.line(/FLW-508/)
  await script(f.superuser, `ALTER ROLE ${role} CONNECTION LIMIT -1`)
  await f.run('UPDATE t SET n = 4')
  expect(await query(f.superuser, 'SELECT a, n FROM t ORDER BY a')).toEqual([
    { a: '1', n: '4' },
    { a: '2', n: '4' },
  ])
  expect(await value(f.superuser, 'SELECT count(*) FROM follower.incident')).toBe('0')
  expect(await f.stop()).toBe(0)
})

it('F27: what stands before a transaction that fails for a passing reason again and again gets through', {
  timeout: 60_000,
}, async () => {
  const f = await follow({ before: ['CREATE TABLE t(a int PRIMARY KEY)'], args: halt })
  await f.stop()
  await script(f.downstream, raises('40001', 'NEW.a = 150'))
  await statements(
    f.upstream,
    Array.from({ length: 300 }, (_, i) => `INSERT INTO t VALUES (${i})`),
  )
  f.start()
  await waitUntil(async () => (await value(f.downstream, 'SELECT count(*) FROM t')) === '150')
  await script(f.downstream, 'DROP TRIGGER raises ON t')
  await f.settle()
  expect(await value(f.downstream, 'SELECT count(*) FROM t')).toBe('300')
})

it('a failing batch is split until each transaction at fault is found, alone', {
  timeout: 120_000,
}, async () => {
  const f = await follow({ before: ['CREATE TABLE t(a int PRIMARY KEY, b int)'], args: halt })
  await f.stop()
  const bad = [0, 7, 8, 199]
  await script(f.downstream, `INSERT INTO t VALUES ${bad.map((a) => `(${a * 2}, -1)`).join(', ')}`)
  await statements(
    f.upstream,
    Array.from({ length: 200 }, (_, i) => `INSERT INTO t VALUES (${2 * i}, 1), (${2 * i + 1}, 1)`),
  )
  f.start()
  let last: Incident | undefined
  for (const a of bad) {
    const incident = await halted(f, last)
    expect(incident).toMatchObject({ key: `(a)=(${2 * a})` })
    // All before it, and nothing of it or behind it.
    expect(await value(f.downstream, 'SELECT max(a) FROM t WHERE b = 1')).toBe(
      a === 0 ? null : String(2 * a - (a === 8 ? 3 : 1)),
    )
    await command(f, 'skip', '--lsn', incident.lsn, '--reason', 'a test')
    last = incident
  }
  await f.settle()
  expect(await value(f.downstream, 'SELECT count(*) FROM t WHERE b = 1')).toBe(String(400 - 2 * bad.length))
})

/** What keeps a row out downstream, the row, how it is told, and the remedy. */
const permanent: readonly {
  name: string
  down: string
  up: string
  told: Record<string, unknown>
  message: RegExp
  remedy: string
}[] = [
  {
    name: 'check',
    down: 'ALTER TABLE t ADD CONSTRAINT small CHECK (n < 10)',
    up: 'INSERT INTO t VALUES (1, 11)',
    told: { code: 'FLW-311', sqlstate: '23514', key: '(a)=(1)' },
    message: /small/,
    remedy: 'ALTER TABLE t DROP CONSTRAINT small',
  },
  {
    name: 'not null',
    down: 'ALTER TABLE t ALTER n SET NOT NULL',
    up: 'INSERT INTO t VALUES (2, NULL)',
    told: { code: 'FLW-311', sqlstate: '23502', key: '(a)=(2)' },
    message: /"n"/,
    remedy: 'ALTER TABLE t ALTER n DROP NOT NULL',
  },
  {
    name: 'exclusion',
    down: 'ALTER TABLE t ADD CONSTRAINT one EXCLUDE USING btree (n WITH =); INSERT INTO t VALUES (-1, 77)',
    up: 'INSERT INTO t VALUES (3, 77)',
    told: { code: 'FLW-311', sqlstate: '23P01', key: '(a)=(3)' },
    message: /one/,
    remedy: 'ALTER TABLE t DROP CONSTRAINT one; DELETE FROM t WHERE a = -1',
  },
  {
    name: 'a type that is too small',
    down: 'ALTER TABLE t ALTER n TYPE smallint',
    up: 'INSERT INTO t VALUES (4, 1234567)',
    told: { code: 'FLW-312', sqlstate: '22003', key: '(a)=(4)' },
    message: /smallint/,
    remedy: 'ALTER TABLE t ALTER n TYPE int',
  },
  {
    name: 'a column that is missing',
    down: 'ALTER TABLE t RENAME n TO m',
    up: 'INSERT INTO t VALUES (5, 5)',
    told: { code: 'FLW-302', relation: 'public.t' },
    message: /\bn\b/,
    remedy: 'ALTER TABLE t RENAME m TO n',
  },
  {
    name: 'a table that is missing',
    down: 'ALTER TABLE t RENAME TO elsewhere',
    up: 'INSERT INTO t VALUES (6, 6)',
    told: { code: 'FLW-301', relation: 'public.t' },
    message: /public\.t/,
    remedy: 'ALTER TABLE elsewhere RENAME TO t',
  },
  {
    name: 'a row that is missing',
    down: 'DELETE FROM t WHERE a = 6',
    up: 'UPDATE t SET n = 66 WHERE a = 6',
    told: { code: 'FLW-330', relation: 'public.t', key: '(a)=(6)' },
    message: /update_missing/,
    remedy: 'INSERT INTO t VALUES (6, 0)',
  },
  {
    name: 'a trigger that says read only, which no server does',
    down: `CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN SET LOCAL transaction_read_only = on; RETURN NEW; END $$;
           CREATE TRIGGER own BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION own(); ALTER TABLE t ENABLE ALWAYS TRIGGER own`,
    up: 'INSERT INTO t VALUES (8, 8); INSERT INTO t VALUES (9, 9)',
    told: { code: 'FLW-313', sqlstate: '25006' },
    message: /read-only/,
    remedy: 'DROP TRIGGER own ON t',
  },
]

describe('F28 to F30: stops with exact names, and goes on after the remedy without a restart', () => {
  it('each kind of error', { timeout: 120_000 }, async () => {
    const f = await follow({ before: ['CREATE TABLE t(a int PRIMARY KEY, n int)'], args: halt })
    const { pid } = f.follower
    let last: Incident | undefined
    for (const { name, down, up, told, message, remedy } of permanent) {
      await script(f.downstream, down)
      await script(f.upstream, up)
      const incident = await halted(f, last)
      expect(incident, name).toMatchObject({
        ...told,
        xid: expect.any(Number),
        lsn: expect.stringMatching('/'),
      })
      expect(incident.message).toMatch(message)
      // The transaction's number is no value of a row.
      expect(incident.message.replace(/transaction \d+/, ''), name).not.toMatch(/1234567|77/)
      await script(f.downstream, remedy)
      await command(f, 'retry')
      await f.settle()
      last = incident
    }
    expect((await f.both('SELECT * FROM t ORDER BY a')).map((rows) => JSON.parse(rows))[1]).toEqual(
      JSON.parse((await f.both('SELECT * FROM t ORDER BY a'))[0]),
    )
    await waitUntil(async () => (await list(f)).incidents.every(({ resolution }) => resolution === 'applied'))
    expect((await list(f)).incidents).toHaveLength(permanent.length)
    expect(f.follower.pid).toBe(pid)
    await nothingSkipped(f)
  })

  it('by itself, also where the first remedy was not the last', { timeout: 60_000 }, async () => {
    const f = await follow({
      before: ['CREATE TABLE t(a int PRIMARY KEY, n int)'],
      downstreamOnly: ['INSERT INTO t VALUES (1, 1), (2, 2)'],
      args: [...halt, '--web-listen', '127.0.0.1:0'],
    })
    await script(f.upstream, 'INSERT INTO t VALUES (1, 0), (2, 0)')
    const first = await halted(f)
    await script(f.downstream, 'DELETE FROM t WHERE a = 1')
    // The same transaction, so the same incident.
    await waitUntil(async () => (await list(f)).incidents[0]?.key === '(a)=(2)')
    expect((await list(f)).incidents).toMatchObject([{ id: first.id, attempts: 2, resolution: null }])
    expect((await metric(f, 'follower_state')).get(`{downstream="${f.name}",state="halted"}`)).toBe(1)
    const { web } = JSON.parse(await f.follower.line(/follower starts/)) as { web: string }
    expect((await fetch(`${web}/livez`)).status).toBe(200)
    expect((await fetch(`${web}/readyz`)).status).toBe(503)
    await script(f.downstream, 'DELETE FROM t WHERE a = 2')
    await f.settle()
    await waitUntil(
      async () => (await metric(f, 'follower_state')).get(`{downstream="${f.name}",state="streaming"}`) === 1,
    )
    expect(await metric(f, 'follower_apply_errors_total')).toEqual(
      new Map([[`{downstream="${f.name}",class="23",action="halt"}`, 2]]),
    )
  })
})

describe('what an incident tells', () => {
  it('no value but the key, unless asked for, and those of the encoding', { timeout: 60_000 }, async () => {
    const f = await follow({
      before: ['CREATE TABLE t(a text PRIMARY KEY, n text)'],
      downstreamOnly: ['ALTER TABLE t ALTER n TYPE int USING 0'],
      encodings: ['UTF8', 'LATIN1'],
      args: halt,
    })
    await script(f.upstream, `INSERT INTO t VALUES ('k', 'the canary')`)
    const incident = await halted(f)
    expect(incident).toMatchObject({
      message: expect.stringContaining('invalid input syntax for type integer: "..."'),
      row: null,
    })
    expect(
      await value(f.downstream, `SELECT count(*) FROM follower.incident AS i WHERE i::text ~ 'canary'`),
    ).toBe('0')
    expect(f.follower.output).not.toContain('canary')
    await f.stop()
    f.start([...halt, '--incident-rows'])
    await waitUntil(async () => (await list(f)).incidents[0]?.row)
    expect((await list(f)).incidents[0]).toMatchObject({ id: incident.id, row: { a: 'k', n: 'the canary' } })
    expect(f.follower.output).not.toContain('canary')
    await script(f.downstream, 'ALTER TABLE t ALTER n TYPE text')
    await command(f, 'retry')
    await f.settle()
    // A key that the downstream can't hold can't stand in its tables, either.
    await script(f.upstream, `INSERT INTO t VALUES ('5 €', 'x')`)
    expect(await halted(f, incident)).toMatchObject({ key: '(a)=(5 ?)', sqlstate: '22P05' })
  })

  it('none of what another follower has applied already', { timeout: 60_000 }, async () => {
    const f = await follow({ before: ['CREATE TABLE t(a int PRIMARY KEY)'] })
    // As after a stall, in which the other one took the follow, the lock and all.
    await statements(f.downstream, [
      'UPDATE follower.progress SET epoch = epoch + 1',
      "CREATE TYPE mood AS ENUM ('sad', 'happy')",
      'INSERT INTO t VALUES (1)',
    ])
    await script(f.upstream, "CREATE TYPE mood AS ENUM ('sad')")
    expect(await failure(f.follower, 11)).toMatchObject({ code: 'FLW-230' })
    await script(f.downstream, 'DROP TYPE mood')
    f.start([])
    await f.settle()
    await script(f.downstream, 'UPDATE follower.progress SET epoch = epoch + 1; INSERT INTO t VALUES (2)')
    await script(f.upstream, 'INSERT INTO t VALUES (2)')
    expect(await failure(f.follower, 11)).toMatchObject({ code: 'FLW-230' })
    expect(await query(f.downstream, 'SELECT FROM follower.incident')).toEqual([])
  })

  it('a downstream that can take no incident hides nothing, and the follow goes on', {
    timeout: 60_000,
  }, async () => {
    const f = await follow({
      before: ['CREATE TABLE t(a int PRIMARY KEY)'],
      downstreamOnly: ['INSERT INTO t VALUES (1)'],
      args: halt,
    })
    await script(
      f.downstream,
      'ALTER TABLE follower.incident ADD CONSTRAINT full_disk CHECK (false) NOT VALID',
    )
    await script(f.upstream, 'INSERT INTO t VALUES (1)')
    await f.follower.line(/"msg":"the incident could not be recorded downstream"/)
    expect(JSON.parse(await f.follower.line(/"msg":"halted: /))).toMatchObject({ code: 'FLW-310' })
    await script(f.downstream, 'DELETE FROM t')
    await f.settle()
  })

  it('a log that does not grow with the attempts', { timeout: 60_000 }, async () => {
    const f = await follow({
      before: ['CREATE TABLE t(a int PRIMARY KEY)'],
      downstreamOnly: ['INSERT INTO t VALUES (1)'],
      args: halt,
    })
    await script(f.upstream, 'INSERT INTO t VALUES (1)')
    const { id } = await halted(f)
    for (let attempts = 1; attempts < 20; attempts++) {
      await waitUntil(
        async () =>
          Number((await query(f.downstream, 'SELECT attempts FROM follower.incident'))[0]?.attempts) >=
          attempts,
      )
      await script(
        f.downstream,
        `UPDATE follower.incident SET retries_asked = retries_asked + 1 WHERE id = ${id}`,
      )
    }
    await waitUntil(
      async () => (await value(f.downstream, 'SELECT attempts FROM follower.incident')) === '20',
    )
    const lines = log(f.follower)
    // 1, 2, 4, 8 and 16 of 20.
    expect(lines.filter(({ msg }) => msg.startsWith('halted: '))).toHaveLength(5)
    expect(lines.filter(({ msg }) => msg.startsWith('following '))).toHaveLength(1)
  })
})

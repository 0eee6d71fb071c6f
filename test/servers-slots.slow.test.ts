import { rmSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { failure, log } from './support/failure.ts'
import { type Follower, followerCommand, runFollower } from './support/follower.ts'
import { cluster, databases, inDatabase } from './support/servers.ts'
import { client, query, script, value } from './support/sql.ts'
import { Patience, waitUntil } from './support/wait.ts'

/** An upstream of its own with an empty table at both ends, and how to follow it with metrics and probes. */
async function upstream(settings: Record<string, string> = {}) {
  const up = await cluster({ settings })
  const { downstream, name } = await databases('18')
  for (const end of [up.conninfo(), downstream])
    await script(end, 'CREATE TABLE t (id int PRIMARY KEY, a text)')
  const ends = ['--upstream', up.conninfo(), '--downstream', downstream, '--name', name]
  const start = (...more: string[]) => startWith({}, ...more)
  const startWith = (env: Record<string, string>, ...more: string[]) =>
    runFollower(['start', ...ends, '--web-listen', '127.0.0.1:0', '--log-format', 'json', ...more], { env })
  const slot = () =>
    query(
      up.conninfo(),
      `SELECT wal_status, restart_lsn, confirmed_flush_lsn, active_pid, pg_current_wal_lsn() - restart_lsn AS retained
         FROM pg_replication_slots WHERE slot_name = $1`,
      [name],
    ).then((rows) => rows[0])
  const status = async () => {
    const it = await followerCommand(['status', ...ends, '--json'])
    return { exit: it.code, ...JSON.parse(it.stdout) }
  }
  const count = () => value(downstream, 'SELECT count(*) FROM t')
  return { up, downstream, name, start, startWith, slot, status, count }
}

async function web(follower: Follower, path: string): Promise<{ status: number; body: string }> {
  const line = await follower.line(/"web":"http/)
  const response = await fetch(`${(JSON.parse(line) as { web: string }).web}${path}`)
  return { status: response.status, body: await response.text() }
}

/** WAL of whole segments; not of this database. */
async function writeWal(conninfo: string, megabytes: number): Promise<void> {
  const session = await client(inDatabase(conninfo, 'template1'))
  for (let n = 0; n < megabytes; n += 8)
    await session.query("SELECT pg_logical_emit_message(false, 'test', repeat('x', 8 * 1024 * 1024))")
  await session.end()
}

describe('a slot', { timeout: 120_000 }, () => {
  test('that falls behind max_slot_wal_keep_size while the downstream is stuck: a warning first, then the end', async () => {
    const f = await upstream({
      max_slot_wal_keep_size: '32MB',
      max_wal_size: '4GB',
      checkpoint_timeout: '1h',
    })
    const follower = f.start()
    await follower.ready({ slot: f.name })
    await script(f.up.conninfo(), "INSERT INTO t VALUES (1, 'a')")
    await follower.until(async () => (await f.count()) === '1', 'the first row')
    const lock = await client(f.downstream)
    await lock.query('BEGIN; LOCK TABLE t')
    await script(f.up.conninfo(), "INSERT INTO t VALUES (2, 'b')")
    await writeWal(f.up.conninfo(), 64)
    await follower.line(/fallen behind max_slot_wal_keep_size/)
    expect((await f.slot())?.wal_status).toBe('unreserved')
    const metrics = (await web(follower, '/metrics')).body
    expect(metrics).toMatch(/^follower_slot_wal_status\{.*unreserved.*\} 1$/m)
    expect(metrics.match(/^follower_slot_safe_wal_bytes.*$/m)?.[0]).toMatch(/ -\d+/)
    const ready = await web(follower, '/readyz')
    expect(ready.status).toBe(503)
    expect(ready.body).toMatch(/in danger/)

    // The batch in hand still waits for its lock: what is lost has to be said before.
    await query(f.up.conninfo(), 'CHECKPOINT')
    const told = await follower.line(/replication cannot continue from it/)
    expect(JSON.parse(told).code ?? JSON.parse(told).err?.code).toBe('FLW-207')
    await lock.query('ROLLBACK')
    const stopped = await failure(follower, 7)
    expect(stopped).toMatchObject({ code: 'FLW-207' })
    expect(stopped.detail).toMatch(/wal_removed/)
    expect(stopped.effect).toMatch(/intact and equal to the upstream as of [0-9A-F]+\/[0-9A-F]+/)
    expect(stopped.fix).toMatch(/follower cleanup[\s\S]*max_slot_wal_keep_size/)
    const again = await failure(f.start(), 7)
    expect(again).toMatchObject({ code: 'FLW-207' })
    expect(await f.status()).toMatchObject({ exit: 7, state: 'slot lost' })
  })

  test('that was idle for longer than idle_replication_slot_timeout', async () => {
    const f = await upstream({ idle_replication_slot_timeout: '1s' })
    const follower = f.start()
    await follower.ready({ slot: f.name })
    await script(f.up.conninfo(), "INSERT INTO t VALUES (1, 'a')")
    await follower.until(async () => (await f.count()) === '1', 'the first row')
    // While it is followed it is not idle.
    await query(f.up.conninfo(), 'SELECT pg_sleep(2)')
    await query(f.up.conninfo(), 'CHECKPOINT')
    expect((await f.slot())?.wal_status).toBe('reserved')
    expect((await follower.stop()).code).toBe(0)
    await waitUntil(async () => {
      await query(f.up.conninfo(), 'CHECKPOINT')
      return (await f.slot())?.wal_status === 'lost'
    })
    const stopped = await failure(f.start(), 7)
    expect(stopped).toMatchObject({ code: 'FLW-207' })
    expect(stopped.detail).toMatch(/idle_timeout/)
    expect(stopped.fix).toMatch(/idle_replication_slot_timeout/)
  })

  test('whose WAL is gone although the server calls it sound', async () => {
    const f = await upstream()
    const follower = f.start()
    await follower.ready({ slot: f.name })
    expect((await follower.stop()).code).toBe(0)
    const needed = await value(
      f.up.conninfo(),
      `SELECT pg_walfile_name(restart_lsn) FROM pg_replication_slots WHERE slot_name = '${f.name}'`,
    )
    await writeWal(f.up.conninfo(), 32)
    rmSync(path.join(f.up.dataDir, 'pg_wal', `${needed}`))
    const stopped = await failure(f.start(), 7)
    expect(stopped).toMatchObject({ code: 'FLW-207' })
    expect(stopped.message).toContain(`lost, replication cannot continue from it: `)
    expect(stopped.message).toContain(needed)
    expect(stopped.fix).toMatch(/begin anew/)
  })

  /**
   * What the first walsender had left to be confirmed moves the slot with the first acknowledgement to the second one, which reads from where the
   * slot stood before: a checkpoint takes that away from it. (Seen with 18.4.)
   */
  test('that moves while it is read from where it stood before: the stream begins again', async () => {
    const f = await upstream({ max_wal_size: '4GB' })
    const conninfo = f.up.conninfo()
    const streamed = ['--backlog', 'stream']
    const first = f.startWith({ FOLLOWER_FAILPOINT: 'apply.commit-sent:kill9:2' }, ...streamed)
    await first.ready({ slot: f.name })
    const lock = await client(f.downstream)
    await lock.query('BEGIN; LOCK TABLE t IN EXCLUSIVE MODE')
    await script(conninfo, "INSERT INTO t VALUES (1, 'a')")
    await writeWal(conninfo, 600)
    await query(conninfo, 'SELECT pg_log_standby_snapshot()')
    await writeWal(conninfo, 64)
    await script(conninfo, "INSERT INTO t VALUES (2, 'b')")
    const end = await value(conninfo, 'SELECT pg_current_wal_lsn()')
    await first.until(
      async () =>
        (await value(conninfo, `SELECT sent_lsn >= '${end}' FROM pg_stat_replication WHERE pid = $1`, [
          (await f.slot())?.active_pid,
        ])) === 't',
      'all of it to be sent',
    )
    await lock.query('ROLLBACK')
    await first.exit
    await script(conninfo, "INSERT INTO t VALUES (3, 'c')")
    const second = f.start(...streamed)
    await second.until(async () => {
      await query(conninfo, 'CHECKPOINT')
      return (await f.count()) === '3'
    }, 'all rows')
    expect(second.output).toMatch(/stream ended: .*has already been removed/)
    expect((await second.stop()).code).toBe(0)
  })

  test('that somebody drops while it is followed: nothing is made in its place', async () => {
    const f = await upstream()
    const follower = f.start()
    await follower.ready({ slot: f.name })
    await script(f.up.conninfo(), "INSERT INTO t VALUES (1, 'a')")
    await follower.until(async () => (await f.count()) === '1', 'the first row')
    await query(
      f.up.conninfo(),
      `SELECT pg_terminate_backend(active_pid, 5000), pg_drop_replication_slot(slot_name)
         FROM pg_replication_slots WHERE slot_name = $1`,
      [f.name],
    )
    const stopped = await failure(follower, 7)
    expect(stopped).toMatchObject({ code: 'FLW-201' })
    expect(stopped.effect).toMatch(/no|none was made/)
    expect(await f.slot()).toBeUndefined()
    expect(await failure(f.start(), 7)).toMatchObject({ code: 'FLW-201' })
    expect(await f.slot()).toBeUndefined()
  })

  test('that another client holds is waited for, by name; with --no-wait not', async () => {
    const f = await upstream()
    const first = f.start()
    await first.ready({ slot: f.name })
    expect((await first.stop()).code).toBe(0)
    const holder = await client(f.up.conninfo(), {
      replication: 'database',
      application_name: 'thief',
    } as object)
    holder
      .query(
        `START_REPLICATION SLOT "${f.name}" LOGICAL 0/0 (proto_version '1', publication_names '${f.name}')`,
      )
      .catch(() => {})
    const pid = await waitUntil(async () => (await f.slot())?.active_pid)
    const refused = await failure(f.start('--no-wait'), 11)
    expect(refused).toMatchObject({ code: 'FLW-231' })
    expect(refused.detail).toContain(`pid ${pid} (thief)`)
    const waiting = f.start()
    await waiting.line(new RegExp(`active for PID ${pid}`))
    expect((await web(waiting, '/livez')).status).toBe(200)
    expect((await web(waiting, '/readyz')).status).toBe(503)
    expect((await f.slot())?.active_pid).toBe(pid)
    await query(f.up.conninfo(), 'SELECT pg_terminate_backend($1)', [pid])
    await script(f.up.conninfo(), "INSERT INTO t VALUES (1, 'a')")
    await waiting.until(async () => (await f.count()) === '1', 'the row')
    expect((await waiting.stop()).code).toBe(0)
  })

  test('that waits for an open transaction: whom, is in the log and in the status, and the process is live', async () => {
    const f = await upstream()
    const open = await client(f.up.conninfo(), { application_name: 'report' })
    const { rows } = await open
      .query<{ pid: string; xid: string }>('BEGIN; SELECT 1; ')
      .then(() => open.query('SELECT pg_backend_pid() AS pid, pg_current_xact_id() AS xid'))
    const [{ pid, xid }] = rows as [{ pid: string; xid: string }]
    const follower = f.start()
    const who = new RegExp(`process ${pid} \\(xid ${xid}, role postgres, report, idle in transaction, since `)
    await follower.line(who)
    expect((await web(follower, '/livez')).status).toBe(200)
    const ready = await web(follower, '/readyz')
    expect(ready.status).toBe(503)
    expect(ready.body).toMatch(/starting/)
    const status = await f.status()
    expect(status).toMatchObject({ exit: 0, state: 'starting' })
    expect(status.slot.waitsFor).toEqual([expect.stringMatching(who)])
    const { stdout } = await followerCommand([
      'status',
      '--upstream',
      f.up.conninfo(),
      '--downstream',
      f.downstream,
      '--name',
      f.name,
    ])
    expect(stdout).toMatch(who)
    await open.query('COMMIT')
    await follower.ready({ slot: f.name })
    await script(f.up.conninfo(), "INSERT INTO t VALUES (1, 'a')")
    await follower.until(async () => (await f.count()) === '1', 'the row')
    expect(log(follower).filter(({ level }) => level === 'error')).toEqual([])
  })

  test('of an idle database follows while another one writes hundreds of megabytes', async () => {
    const up = await cluster({ settings: { max_wal_size: '256MB' } })
    const { downstream, name } = await databases('18')
    const follower = runFollower([
      'start',
      '--upstream',
      up.conninfo(),
      '--downstream',
      downstream,
      '--name',
      name,
    ])
    await follower.ready({ slot: name })
    await script(inDatabase(up.conninfo(), 'template1'), 'CREATE DATABASE busy')
    const busy = await client(inDatabase(up.conninfo(), 'busy'))
    await busy.query('CREATE TABLE b (id int, a text)')
    const retained = () =>
      value(
        up.conninfo(),
        'SELECT pg_current_wal_lsn() - restart_lsn FROM pg_replication_slots WHERE slot_name = $1',
        [name],
      ).then(Number)
    const begin = await value(up.conninfo(), 'SELECT pg_current_wal_lsn()')
    const passed = () =>
      value(up.conninfo(), 'SELECT restart_lsn - $2 FROM pg_replication_slots WHERE slot_name = $1', [
        name,
        begin,
      ]).then(Number)
    // While it writes, not only at the end.
    const patience = new Patience(80_000)
    while ((await passed()) < 100e6 && !patience.isOver) {
      await busy.query("INSERT INTO b SELECT g, repeat('x', 500) FROM generate_series(1, 10000) g")
      await busy.query('SELECT pg_sleep(0.3)')
    }
    expect(await passed()).toBeGreaterThan(100e6)
    await waitUntil(async () => (await retained()) < 32e6, { what: 'the slot to follow', timeout: 60_000 })
    expect((await follower.stop()).code).toBe(0)
  })
})

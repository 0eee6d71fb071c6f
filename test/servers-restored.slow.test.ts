import path from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Cluster } from '../src/demo/cluster.ts'
import { failure } from './support/failure.ts'
import { runFollower } from './support/follower.ts'
import { cluster, databases } from './support/servers.ts'
import { query, script, statements, value } from './support/sql.ts'
import { baseBackup, caughtUp, detach, promote, standby, volumeCopy } from './support/standby.ts'
import { waitUntil } from './support/wait.ts'

const rowsOf = (conninfo: string) => value(conninfo, `SELECT string_agg(id::text, ' ' ORDER BY id) FROM t`)
const slotsOf = (conninfo: string) =>
  query(conninfo, 'SELECT slot_name FROM pg_replication_slots WHERE slot_type = $1', ['logical'])

/** What a start that is refused must leave as it is. */
const remains = (downstream: string) =>
  query(
    downstream,
    'SELECT lsn, epoch, timeline, updated_at, (SELECT count(*) FROM t) AS rows FROM follower.progress',
  )

describe('an upstream of its own', { timeout: 120_000 }, () => {
  async function following() {
    const up = await cluster()
    const { downstream, name } = await databases('18')
    for (const end of [up.conninfo(), downstream]) await script(end, 'CREATE TABLE t (id int PRIMARY KEY)')
    const start = (server: Cluster, ...more: string[]) =>
      runFollower([
        'start',
        '--upstream',
        server.conninfo(),
        '--downstream',
        downstream,
        '--name',
        name,
        ...more,
      ])
    const follower = start(up)
    await follower.ready({ slot: name })
    const until = (rows: string) =>
      follower.until(async () => (await rowsOf(downstream)) === rows, `rows ${rows}`)
    return { up, downstream, name, start, follower, until }
  }

  /** Recovered by WAL to a restore point, as from a backup and an archive. */
  async function restoredTo(point: string, up: Cluster, backup: Cluster): Promise<Cluster> {
    await query(up.conninfo(), 'SELECT pg_switch_wal()')
    await backup.start()
    await waitUntil(async () => (await value(backup.conninfo(), 'SELECT pg_is_in_recovery()')) === 'f', {
      what: `the recovery to ${point}`,
    })
    return backup
  }

  test('that is restored to a time before what is applied: nothing is done to either end', async () => {
    const f = await following()
    const backup = await baseBackup(f.up, 'recovery', {
      settings: {
        restore_command: `cp ${path.join(f.up.dataDir, 'pg_wal')}/%f %p`,
        recovery_target_name: 'before',
        recovery_target_action: 'promote',
      },
    })
    await script(f.up.conninfo(), 'INSERT INTO t VALUES (1)')
    await query(f.up.conninfo(), "SELECT pg_create_restore_point('before')")
    await script(f.up.conninfo(), 'INSERT INTO t VALUES (2)')
    await f.until('1 2')
    expect((await f.follower.stop()).code).toBe(0)
    const restored = await restoredTo('before', f.up, backup)
    expect(await rowsOf(restored.conninfo())).toBe('1')
    const before = await remains(f.downstream)
    for (const more of [[], ['--accept-new-upstream']]) {
      const stopped = await failure(f.start(restored, ...more), 7)
      expect(stopped).toMatchObject({ code: 'FLW-206' })
      expect(stopped.detail).toMatch(/left timeline 1 at .*\nIts slot is gone, too/)
      expect(stopped.effect).toMatch(/exists downstream and not upstream/)
      expect(stopped.fix).not.toMatch(/accept-new-upstream/)
      expect(stopped.fix).toMatch(/follower cleanup/)
    }
    expect(await remains(f.downstream)).toEqual(before)
    expect(await slotsOf(restored.conninfo())).toEqual([])
    // The one that has it all still serves.
    const again = f.start(f.up)
    await script(f.up.conninfo(), 'INSERT INTO t VALUES (3)')
    await again.until(async () => (await rowsOf(f.downstream)) === '1 2 3', 'the next row')
  })

  test('a clone of it, which has everything but the slot, is not followed', async () => {
    const f = await following()
    await script(f.up.conninfo(), 'INSERT INTO t VALUES (1)')
    await f.until('1')
    expect((await f.follower.stop()).code).toBe(0)
    const clone = await standby(f.up, 'clone')
    await caughtUp(clone, f.up)
    // As long as it is a standby it is no upstream at all.
    expect(await failure(f.start(clone), 6)).toMatchObject({ code: 'FLW-102' })
    await promote(clone)
    await script(clone.conninfo(), 'INSERT INTO t VALUES (100)')
    const before = await remains(f.downstream)
    expect(await failure(f.start(clone), 7)).toMatchObject({ code: 'FLW-201' })
    // The slot that somebody then makes stands for a later time.
    await query(clone.conninfo(), "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", [f.name])
    expect(await failure(f.start(clone), 7)).toMatchObject({ code: 'FLW-204' })
    expect(await remains(f.downstream)).toEqual(before)
  })

  test('an older copy of its volume, slot and all, ends before the position', async () => {
    const f = await following()
    await script(f.up.conninfo(), 'INSERT INTO t VALUES (1)')
    await f.until('1')
    expect((await f.follower.stop()).code).toBe(0)
    await f.up.stop()
    const older = volumeCopy(f.up)
    await f.up.start()
    const later = f.start(f.up)
    await script(f.up.conninfo(), 'INSERT INTO t SELECT generate_series(2, 20000)')
    await later.until(
      async () => (await value(f.downstream, 'SELECT max(id) FROM t')) === '20000',
      'the rows',
    )
    expect((await later.stop()).code).toBe(0)
    await older.start()
    const before = await remains(f.downstream)
    const stopped = await failure(f.start(older), 7)
    expect(stopped).toMatchObject({ code: 'FLW-208' })
    expect(stopped.effect).toMatch(/commits that the upstream has not/)
    expect(await remains(f.downstream)).toEqual(before)
  })
})

describe('a downstream of its own', { timeout: 120_000 }, () => {
  async function following({ synchronous = false } = {}) {
    const down = await cluster()
    const { upstream, name } = await databases('18')
    for (const end of [down.conninfo(), upstream]) await script(end, 'CREATE TABLE t (id int PRIMARY KEY)')
    const copy = await standby(down, 'spare')
    if (synchronous) {
      await script(down.conninfo(), "ALTER SYSTEM SET synchronous_standby_names = 'spare'")
      await script(down.conninfo(), 'SELECT pg_reload_conf()')
      await waitUntil(
        async () => (await value(down.conninfo(), 'SELECT sync_state FROM pg_stat_replication')) === 'sync',
      )
    }
    const list = `postgresql://postgres@${down.host}:${down.port},${copy.host}:${copy.port}/postgres?target_session_attrs=read-write`
    const args = ['start', '--upstream', upstream, '--downstream', list, '--name', name]
    const follower = runFollower(args)
    await follower.ready({ upstream, slot: name })
    const until = (rows: string, server: Cluster) =>
      follower.until(async () => (await rowsOf(server.conninfo())) === rows, `rows ${rows}`)
    return { down, copy, upstream, name, args, follower, until }
  }

  test('that fails over to a standby which lags: it stops with the gap, and writes nothing', async () => {
    const f = await following()
    await script(f.upstream, 'INSERT INTO t VALUES (1)')
    await f.until('1', f.down)
    await caughtUp(f.copy, f.down)
    await detach(f.copy)
    await script(f.upstream, 'INSERT INTO t VALUES (2)')
    await f.until('1 2', f.down)
    const confirmed = () =>
      value(f.upstream, 'SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = $1', [f.name])
    const progress = await value(f.copy.conninfo(), 'SELECT lsn FROM follower.progress')
    await waitUntil(async () => (await confirmed()) !== progress, { what: 'the acknowledgement' })
    await f.down.stop('immediate')
    await promote(f.copy)
    const stopped = await failure(f.follower, 7)
    expect(stopped).toMatchObject({ code: 'FLW-204' })
    expect(stopped.context).toMatchObject({ lsn: progress, confirmed: await confirmed() })
    expect(stopped.effect).toMatch(/won't be sent again/)
    const before = await remains(f.copy.conninfo())
    expect(await failure(runFollower(f.args), 7)).toMatchObject({ code: 'FLW-204' })
    expect(await remains(f.copy.conninfo())).toEqual(before)
    // The one that was left behind may come back.
    await f.copy.stop()
    await f.down.start()
    const again = runFollower(f.args)
    await script(f.upstream, 'INSERT INTO t VALUES (3)')
    await again.until(async () => (await rowsOf(f.down.conninfo())) === '1 2 3', 'the next row')
  })

  test('that fails over to its synchronous standby: it goes on there by itself', async () => {
    const f = await following({ synchronous: true })
    await script(f.upstream, 'INSERT INTO t VALUES (1)')
    await f.until('1', f.down)
    await f.down.stop('immediate')
    await statements(f.upstream, ['INSERT INTO t VALUES (2)', 'ALTER TABLE t ADD n int'])
    await promote(f.copy)
    await script(f.upstream, 'INSERT INTO t VALUES (3, 4)')
    await f.until('1 2 3', f.copy)
    expect(await value(f.copy.conninfo(), 'SELECT n FROM t WHERE id = 3')).toBe('4')
    expect((await f.follower.stop()).code).toBe(0)
  })
})

import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import type { FailpointName } from '../src/failpoints.ts'
import { parseLsn } from '../src/model/lsn.ts'
import { type Following, follow } from './support/follow.ts'
import { inDatabase } from './support/servers.ts'
import { query, script, value } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

/** A walsender that expects news every second makes the follower send its position four times a second. */
async function followEagerly(failpoint: string, before: readonly string[]): Promise<Following> {
  const f = await follow({ before })
  await script(inDatabase(f.upstream, 'postgres'), `ALTER DATABASE ${f.name} SET wal_sender_timeout = '1s'`)
  expect(await f.stop()).toBe(0)
  f.start()
  await f.settle()
  expect(await f.stop()).toBe(0)
  await restart(f, failpoint)
  return f
}

async function restart(f: Following, failpoint = ''): Promise<void> {
  f.start(undefined, { FOLLOWER_FAILPOINT: failpoint })
  await f.follower.ready({ upstream: f.upstream, slot: f.name })
}

async function positions(f: Following): Promise<{ confirmed: bigint; progress: bigint }> {
  const confirmed = await value(
    f.upstream,
    'SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = $1',
    [f.name],
  )
  const progress = await value(f.downstream, 'SELECT lsn FROM follower.progress WHERE name = $1', [f.name])
  return { confirmed: parseLsn(confirmed!)!, progress: parseLsn(progress!)! }
}

describe('acknowledgement (P2, P3, P6)', () => {
  it('never goes beyond the progress row while a received commit is unapplied, whatever keepalives say', async () => {
    const f = await followEagerly('apply.before-commit:hang:1', [
      'CREATE TABLE t(n int)',
      'ALTER TABLE t REPLICA IDENTITY FULL',
    ])
    await script(f.upstream, 'INSERT INTO t VALUES (1)')
    await f.follower.line(/failpoint apply.before-commit hang/)
    const before = await positions(f)
    // Other databases write: keepalives carry positions beyond our commit.
    for (let i = 0; i < 20; i++) {
      await script(inDatabase(f.upstream, 'postgres'), 'SELECT pg_switch_wal(), txid_current()')
      const now = await positions(f)
      expect(now.progress).toBe(before.progress)
      expect(now.confirmed <= now.progress).toBe(true)
      await sleep(100)
    }
    await f.follower.kill9()
    await restart(f)
    await f.settle()
    expect(await query(f.downstream, 'SELECT n FROM t')).toEqual([{ n: '1' }])
  })

  it('follows an idle upstream, so that its WAL can be removed', async () => {
    const f = await followEagerly('', [])
    const target = parseLsn((await value(f.upstream, 'SELECT pg_current_wal_lsn()'))!)!
    await script(inDatabase(f.upstream, 'postgres'), 'SELECT pg_switch_wal(), txid_current()')
    await waitUntil(async () => (await positions(f)).confirmed > target, {
      what: 'the idle position',
      timeout: 25_000,
    })
    const { confirmed, progress } = await positions(f)
    expect(confirmed <= progress).toBe(true)
  })
})

describe('exactly once', () => {
  // kill.test.ts goes through all of them by chance; where there is time, each has its own run here.
  const points: FailpointName[] = ['apply.before-commit', 'apply.commit-sent', 'progress.acknowledge']
  if (process.env.FOLLOWER_SLOW === '1')
    points.push(
      'stream.received',
      'apply.begin',
      'apply.mid-batch',
      'apply.committed',
      'progress.acknowledged',
    )

  it.each(points)('survives kill -9 at %s: what has no key comes once', async (point) => {
    const f = await follow({
      before: [
        'CREATE TABLE t(n int)',
        'ALTER TABLE t REPLICA IDENTITY FULL',
        'CREATE TABLE account(id int PRIMARY KEY, balance int)',
      ],
      env: { FOLLOWER_FAILPOINT: `${point}:kill9:3` },
    })
    await script(f.upstream, 'INSERT INTO account VALUES (1, 0)')
    // As many as it takes: on a slow machine several transactions wait, and are one batch.
    let written = 0
    while (written < 8 || (f.follower.running && written < 500)) {
      await script(
        f.upstream,
        `BEGIN; INSERT INTO t VALUES (${++written}); UPDATE account SET balance = balance + 1; COMMIT`,
      )
      await sleep(20)
    }
    await f.follower.exit
    expect(f.follower.output).toContain(`failpoint ${point} kill9 hit 3`)
    await restart(f)
    await f.settle()
    expect(await query(f.downstream, 'SELECT n FROM t ORDER BY n')).toHaveLength(written)
    expect(await value(f.downstream, 'SELECT balance FROM account')).toBe(String(written))
    const { confirmed, progress } = await positions(f)
    expect(confirmed <= progress).toBe(true)
  })
})

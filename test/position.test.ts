import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { formatLsn, parseLsn } from '../src/model/lsn.ts'
import { decidePosition, type PositionFacts, takePosition } from '../src/provision/position.ts'
import { prepare } from '../src/provision/prepare.ts'
import { readState } from '../src/provision/state.ts'
import { lineage, parseTimelineHistory } from '../src/provision/timeline.ts'
import { followSettings, openEnds, refusal, silent } from './provision-follow.ts'
import { cluster, databases } from './support/servers.ts'
import { query, script, value } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

async function started() {
  const db = await databases('18')
  const settings = followSettings(db)
  const ends = await openEnds(settings)
  const prepared = await prepare(settings, ends, silent)
  const row = () =>
    query(db.downstream, 'SELECT lsn, epoch, timeline, system_identifier FROM follower.progress').then(
      (rows) => rows[0],
    )
  return { db, settings, ends, prepared, row, take: () => takePosition(settings, ends, prepared) }
}

describe('the position', () => {
  test('is refused where the slot is ahead of it (P3), and no epoch is taken', async () => {
    const { db, settings, row, take } = await started()
    const before = await row()
    await script(db.upstream, 'CREATE TABLE more (id int PRIMARY KEY)')
    await query(db.upstream, 'SELECT pg_replication_slot_advance($1, pg_current_wal_lsn())', [settings.slot])
    const error = await refusal(take())
    expect(error).toMatchObject({ code: 'FLW-204', exit: 7, transient: false })
    expect(error.detail).toContain(before?.lsn)
    expect(await row()).toEqual(before)
  })

  test('is refused where the upstream ends before it (P5)', async () => {
    const { db, row, take } = await started()
    await script(db.downstream, "UPDATE follower.progress SET lsn = 'FF/0'")
    const before = await row()
    expect(await refusal(take())).toMatchObject({ code: 'FLW-208', exit: 7 })
    expect(await row()).toEqual(before)
  })

  test('is refused on another server (P5), unless a person says so', async () => {
    const { db, settings, ends, prepared, row, take } = await started()
    await script(db.downstream, "UPDATE follower.progress SET system_identifier = '42', lsn = '0/1'")
    expect(await refusal(take())).toMatchObject({ code: 'FLW-205', exit: 7 })
    expect(await refusal(prepare(settings, ends, silent))).toMatchObject({ code: 'FLW-205', exit: 7 })
    const accepting = { ...settings, acceptNewUpstream: true }
    await prepare(accepting, ends, silent)
    const position = await takePosition(accepting, ends, prepared)
    const slot = await value(
      db.upstream,
      'SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = $1',
      [settings.slot],
    )
    expect(formatLsn(position.lsn)).toBe(slot)
    expect(await row()).toMatchObject({ system_identifier: prepared.systemIdentifier, lsn: slot })
    await take()
  })

  test('fences the daemon that took it before (P8)', async () => {
    const { db, settings, take } = await started()
    const first = await take()
    const second = await take()
    expect(second.epoch).toBe(first.epoch + 1n)
    const advance = (epoch: bigint, from: bigint, to: bigint) =>
      query(db.downstream, 'SELECT follower.advance_progress($1, $2, $3, $4, $5)', [
        settings.name,
        String(epoch),
        formatLsn(from),
        formatLsn(to),
        '2026-01-01 00:00:00+00',
      ])
    const { lsn } = first
    await expect(advance(first.epoch, lsn, lsn + 8n)).rejects.toMatchObject({ code: 'FLW11' })
    await expect(advance(second.epoch, lsn - 1n, lsn + 8n)).rejects.toMatchObject({ code: 'FLW11' })
    await advance(second.epoch, lsn, lsn + 8n)
    expect(await value(db.downstream, 'SELECT lsn FROM follower.progress')).toBe(formatLsn(lsn + 8n))
  })

  test('is gone with its row', async () => {
    const { db, take } = await started()
    await script(db.downstream, 'DELETE FROM follower.progress')
    expect(await refusal(take())).toMatchObject({ code: 'FLW-210', exit: 7 })
  })

  test('lives on over a failover, and is refused where the failover lost it (P5)', async () => {
    const upstream = await cluster()
    const db = { ...(await databases('18')), upstream: upstream.conninfo() }
    const settings = followSettings(db)
    const ends = await openEnds(settings)
    const prepared = await prepare(settings, ends, silent)
    await upstream.stop()
    // Recovery that finds no more WAL ends on a new timeline: a promotion without a second server.
    writeFileSync(path.join(upstream.dataDir, 'recovery.signal'), '')
    writeFileSync(path.join(upstream.dataDir, 'postgresql.auto.conf'), "restore_command = 'false'\n")
    await upstream.start()
    await waitUntil(async () => (await value(upstream.conninfo(), 'SELECT pg_is_in_recovery()')) === 'f')

    const again = await openEnds(settings)
    const moved = await prepare(settings, again, silent)
    expect(moved).toEqual({ ...prepared, timeline: 2 })
    expect(await takePosition(settings, again, moved)).toMatchObject({ timeline: 2, epoch: 1n })
    expect((await readState(settings, again)).upstream?.timeline).toBe(2)
    expect(await value(db.downstream, 'SELECT timeline FROM follower.progress')).toBe('2')

    // Applied beyond the point where timeline 1 ended: those commits are lost upstream.
    const end = await value(upstream.conninfo(), 'SELECT pg_current_wal_lsn()')
    await query(db.downstream, 'UPDATE follower.progress SET timeline = 1, lsn = $1', [end])
    const error = await refusal(takePosition(settings, again, moved))
    expect(error).toMatchObject({ code: 'FLW-206', exit: 7 })
    const accepting = { ...settings, acceptNewUpstream: true }
    const accepted = await takePosition(accepting, again, moved)
    expect(error.detail).toContain(`left timeline 1 at ${formatLsn(accepted.lsn)}`)
    expect(accepted.lsn < (parseLsn(end ?? '') ?? 0n)).toBe(true)

    await query(db.downstream, 'UPDATE follower.progress SET timeline = 3')
    expect(await refusal(takePosition(settings, again, moved))).toMatchObject({ code: 'FLW-206', exit: 7 })
  })

  test('is of no use where the slot is lost', async () => {
    const upstream = await cluster({ settings: { max_slot_wal_keep_size: '1MB' } })
    const db = { ...(await databases('18')), upstream: upstream.conninfo() }
    const settings = followSettings(db)
    const ends = await openEnds(settings)
    const prepared = await prepare(settings, ends, silent)
    for (let segment = 0; segment < 4; segment++) {
      await query(db.upstream, "SELECT pg_logical_emit_message(false, 'test', 'x')")
      await query(db.upstream, 'SELECT pg_switch_wal()')
    }
    await query(db.upstream, 'CHECKPOINT')
    const error = await refusal(prepare(settings, ends, silent))
    expect(error).toMatchObject({ code: 'FLW-207', exit: 7 })
    expect(error.detail).toContain('wal_removed')
    expect(await refusal(takePosition(settings, ends, prepared))).toMatchObject({ code: 'FLW-207' })
    expect((await readState(settings, ends)).state).toBe('slot lost')
  })
})

const facts = (more: Partial<PositionFacts>, lsn = 100n): PositionFacts => ({
  progress: {
    systemIdentifier: '1',
    timeline: 1,
    database: 'd',
    slot: 's',
    ownSlot: true,
    commitTime: null,
    epoch: 1n,
    updatedAt: '',
    lsn,
  },
  systemIdentifier: '1',
  timeline: 1,
  walEnd: 200n,
  confirmedFlushLsn: 90n,
  lineage: { kind: 'same' },
  ...more,
})

test.each<[string, Partial<PositionFacts>, bigint | string, bigint | string]>([
  ['all is well', {}, 100n, 100n],
  ['equal everywhere', { walEnd: 100n, confirmedFlushLsn: 100n }, 100n, 100n],
  ['the slot is ahead', { confirmedFlushLsn: 101n }, 'FLW-204', 'FLW-204'],
  ['the upstream ends before', { walEnd: 99n }, 'FLW-208', 'FLW-208'],
  ['the timeline ended behind us', { timeline: 2, lineage: { kind: 'ancestor', end: 100n } }, 100n, 100n],
  ['the timeline ended before us', { timeline: 2, lineage: { kind: 'ancestor', end: 99n } }, 'FLW-206', 99n],
  [
    'it ended before us and before the slot',
    { timeline: 2, lineage: { kind: 'ancestor', end: 89n } },
    'FLW-206',
    'FLW-204',
  ],
  ['an unrelated timeline', { timeline: 2, lineage: { kind: 'unrelated' } }, 'FLW-206', 'FLW-206'],
  ['another server', { systemIdentifier: '2' }, 'FLW-205', 90n],
])('decides: %s', (_, more, plain, accepting) => {
  const decide = (acceptNewUpstream: boolean) => {
    try {
      return decidePosition({ name: 'f', acceptNewUpstream }, facts(more))
    } catch (error) {
      return (error as { code: string }).code
    }
  }
  expect([decide(false), decide(true)]).toEqual([plain, accepting])
})

test('reads a timeline history', () => {
  const text = '1\t0/3000158\tno recovery target specified\n\n2\t1/A0\tbefore 2026-01-01\n'
  const history = parseTimelineHistory(text)
  expect(history).toEqual([
    { timeline: 1, end: 0x3000158n },
    { timeline: 2, end: 0x1000000a0n },
  ])
  expect(lineage(2, 3, history)).toEqual({ kind: 'ancestor', end: 0x1000000a0n })
  expect(lineage(3, 3, [])).toEqual({ kind: 'same' })
  expect(lineage(3, 1, [])).toEqual({ kind: 'unrelated' })
})

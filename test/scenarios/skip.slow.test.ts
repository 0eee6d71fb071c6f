import { describe, expect, it } from 'vitest'
import { parseLsn } from '../../src/model/lsn.ts'
import { askSkip } from '../../src/provision/incidents.ts'
import { failure } from '../support/failure.ts'
import { type Following, follow } from '../support/follow.ts'
import { followerCommand } from '../support/follower.ts'
import { command, halted, list, metric, status } from '../support/incidents.ts'
import { rights } from '../support/rights.ts'
import { client, query, script, statements, value } from '../support/sql.ts'
import { waitUntil } from '../support/wait.ts'

const web = ['--on-error', 'halt', '--web-listen', '127.0.0.1:0']

async function skipped(f: Following): Promise<number> {
  const samples = await metric(f, 'follower_changes_skipped_total')
  return samples.get(`{downstream="${f.name}",reason="skip"}`)!
}

/** Another major at either end, and the least rights. */
const ways = rights.filter(([name]) => ['18', '15-18', '18 (least, origin)'].includes(name))

describe.each(ways)('scenario 13, the skip, of %s', (_, pair, least) => {
  it('exactly that transaction: plain, prepared, large, with schema changes', {
    timeout: 180_000,
  }, async () => {
    const f = await follow({
      ...{ pair, least, args: web },
      before: ['CREATE TABLE t(a int PRIMARY KEY, b text)'],
      downstreamOnly: [`INSERT INTO t SELECT g, 'in the way' FROM generate_series(0, 3) g`],
    })
    const transactions: readonly (readonly [changes: number, rows: readonly string[]])[] = [
      [2, [`BEGIN; INSERT INTO t VALUES (50, 'up'); INSERT INTO t VALUES (0, 'up'); COMMIT`]],
      [
        2,
        [
          `BEGIN; INSERT INTO t VALUES (51, 'up'), (1, 'up'); PREPARE TRANSACTION '${f.name}'`,
          `COMMIT PREPARED '${f.name}'`,
        ],
      ],
      // More than the 32 MiB that wait in memory.
      [
        10_000,
        [
          `INSERT INTO t SELECT CASE g WHEN 10101 THEN 2 ELSE g END, repeat(md5(g::text), 128) FROM generate_series(102, 10101) g`,
        ],
      ],
      [
        3,
        [
          `BEGIN; CREATE TABLE made(a int PRIMARY KEY); INSERT INTO made VALUES (1); INSERT INTO t VALUES (3, 'up'); COMMIT`,
        ],
      ],
    ]
    const down = await client(f.superuser)
    const total = transactions.reduce((sum, [changes]) => sum + changes, 0)
    let before: Awaited<ReturnType<typeof halted>> | undefined
    for (const [i, [, rows]] of transactions.entries()) {
      await script(f.upstream, `INSERT INTO t VALUES (${20_000 + i}, 'before')`)
      await statements(f.upstream, rows)
      await script(f.upstream, `INSERT INTO t VALUES (${30_000 + i}, 'after')`)
      const incident = await halted(f, before)
      before = incident
      expect(incident).toMatchObject({ code: 'FLW-310', relation: 'public.t', key: `(a)=(${i})` })
      // Before it and behind it, its own commit record, and what is no position at all.
      const near = [-8n, 8n, 56n].map((by) => move(incident.lsn, by))
      const { progress } = await status(f)
      for (const lsn of [...near, progress!.lsn!, '0/0', 'FFFFFFFF/FFFFFFFF'])
        await expect(askSkip(down, f.name, parseLsn(lsn)!, 'a mistake')).rejects.toMatchObject({
          code: 'FLW-340',
          exit: 2,
        })
      expect((await list(f)).skips).toHaveLength(i)
      expect((await command(f, 'skip', '--lsn', incident.lsn, '--reason', `the way ${i}`)).code).toBe(0)
      await f.settle()
      // Nothing of any of them.
      expect(await query(f.superuser, 'SELECT b, count(*) FROM t WHERE a < 20000 GROUP BY b')).toEqual([
        { b: 'in the way', count: '4' },
      ])
      const ends = 'SELECT count(*) FROM t WHERE a >= 20000'
      expect(await value(f.superuser, ends)).toBe(await value(f.upstream, ends))
    }
    expect(
      await value(f.superuser, 'SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()'),
    ).toBe('0')
    expect(await value(f.superuser, `SELECT to_regclass('public.made')`)).toBe(null)
    const { skips, incidents } = await list(f)
    expect(skips.map(({ reason, changes }) => [reason, changes])).toEqual(
      transactions.map(([changes], i) => [`the way ${i}`, changes]).toReversed(),
    )
    expect(incidents.map(({ resolution }) => resolution)).toEqual(transactions.map(() => 'skipped'))
    expect(await skipped(f)).toBe(total)
    expect(await status(f)).toMatchObject({
      exit: 0,
      state: 'following',
      incident: null,
      skips: [{}, {}, {}, {}],
    })
    // Kept for good, also in a new process.
    expect(await f.stop()).toBe(0)
    f.start(web)
    await f.settle()
    expect(await skipped(f)).toBe(total)
  })
})

describe.each(rights.slice(0, 1))('skip, with %s', (_, pair) => {
  it('is asked for while no follower runs, killed on its way, and done once', {
    timeout: 120_000,
  }, async () => {
    const f = await follow({
      pair,
      before: ['CREATE TABLE t(a int PRIMARY KEY)'],
      downstreamOnly: ['INSERT INTO t VALUES (1)'],
    })
    await script(f.upstream, 'BEGIN; INSERT INTO t VALUES (2); INSERT INTO t VALUES (1); COMMIT')
    await script(f.upstream, 'INSERT INTO t VALUES (3)')
    const stopped = await failure(f.follower, 8)
    expect(stopped.fix).toContain(`follower start --name ${f.name}`)
    expect(stopped.fix).toContain(`follower skip --name ${f.name} --lsn ${stopped.context.lsn} `)
    const shown = await status(f)
    expect(shown).toMatchObject({ exit: 8, state: 'halted', incident: { lsn: stopped.context.lsn } })
    expect(shown.downstream?.holder).toBe(null)
    expect((await command(f, 'retry')).stdout).toContain('no follower is running')
    for (const args of [
      ['--reason', 'no place'],
      ['--lsn', String(stopped.context.lsn), '--reason', ' '],
    ])
      expect(await command(f, 'skip', ...args)).toMatchObject({
        code: 2,
        stderr: expect.stringContaining('FLW-012'),
      })
    const asked = await command(f, 'skip', '--lsn', String(stopped.context.lsn), '--reason', 'a test')
    expect(asked.stdout).toContain('at the next start')
    const again = await command(f, 'skip', '--lsn', String(stopped.context.lsn), '--reason', 'a test')
    expect(again.stdout).toContain('asked for already')
    for (const place of ['apply.before-commit', 'apply.commit-sent', 'apply.committed']) {
      f.start([], { FOLLOWER_FAILPOINT: `${place}:kill9` })
      expect(await f.follower.exit).toMatchObject({ signal: 'SIGKILL' })
    }
    f.start()
    await f.settle()
    expect(await query(f.downstream, 'SELECT a FROM t ORDER BY a')).toEqual([{ a: '1' }, { a: '3' }])
    expect(await query(f.downstream, 'SELECT changes, void_at FROM follower.skip')).toEqual([
      { changes: '2', void_at: null },
    ])
  })

  it('is void where the transaction was applied before', async () => {
    const f = await follow({
      pair,
      before: ['CREATE TABLE t(a int PRIMARY KEY)'],
      downstreamOnly: ['INSERT INTO t VALUES (1)'],
    })
    await script(f.upstream, 'INSERT INTO t VALUES (1)')
    const { context } = await failure(f.follower, 8)
    // Asked for, and withdrawn by hand; asked for again when it is too late.
    await command(f, 'skip', '--lsn', String(context.lsn), '--reason', 'a test')
    await script(f.downstream, 'UPDATE follower.skip SET xid = xid + 1; TRUNCATE t')
    f.start()
    await f.settle()
    expect(await query(f.downstream, 'SELECT a FROM t')).toEqual([{ a: '1' }])
    await waitUntil(async () => (await list(f)).skips[0]?.voidAt)
    expect((await list(f)).incidents).toMatchObject([{ resolution: 'applied' }])
    expect((await command(f, 'skip', '--lsn', String(context.lsn), '--reason', 'late')).code).toBe(2)
  })

  it('cleanup of one follow forgets its incidents and skips, and those of no other', async () => {
    const f = await follow({
      pair,
      before: ['CREATE TABLE t(a int PRIMARY KEY)'],
      downstreamOnly: ['INSERT INTO t VALUES (1)'],
    })
    await script(f.upstream, 'INSERT INTO t VALUES (1)')
    await failure(f.follower, 8)
    await script(
      f.downstream,
      `INSERT INTO follower.progress SELECT 'other', system_identifier, timeline, database, slot, false, lsn FROM follower.progress;
       INSERT INTO follower.incident (name, code, message) VALUES ('other', 'FLW-310', 'another follow')`,
    )
    const ends = f.args.slice(1)
    expect((await followerCommand(['cleanup', ...ends, '--yes'])).code).toBe(0)
    expect(await query(f.downstream, 'SELECT name FROM follower.incident')).toEqual([{ name: 'other' }])
    await script(f.downstream, `DELETE FROM follower.progress`)
    expect((await followerCommand(['cleanup', ...ends, '--yes'])).code).toBe(0)
    expect(await value(f.downstream, `SELECT to_regnamespace('follower')`)).toBe(null)
  })
})

function move(lsn: string, by: bigint): string {
  const [high, low] = lsn.split('/').map((part) => BigInt(`0x${part}`))
  const moved = (high! << 32n) + low! + by
  return `${(moved >> 32n).toString(16)}/${(moved & 0xffffffffn).toString(16)}`
}

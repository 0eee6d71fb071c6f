import { describe, expect, test } from 'vitest'
import type { Cluster } from '../src/demo/cluster.ts'
import { failure, log } from './support/failure.ts'
import { type Follower, followerCommand, runFollower } from './support/follower.ts'
import { available, cluster, databases } from './support/servers.ts'
import { query, script, statements, value } from './support/sql.ts'
import { caughtUp, detach, promote, standby } from './support/standby.ts'
import { waitUntil } from './support/wait.ts'

/** Of all servers that are named, the one that accepts writes. */
function listOf(...servers: Cluster[]): string {
  const hosts = servers.map(({ host, port }) => `${host}:${port}`).join(',')
  return `postgresql://postgres@${hosts}/postgres?target_session_attrs=read-write`
}

interface Failover {
  readonly primary: Cluster
  readonly copy: Cluster
  readonly upstream: string
  readonly downstream: string
  readonly slot: string
  readonly args: readonly string[]
  readonly follower: Follower
  rows(): Promise<string | null>
  until(rows: string): Promise<unknown>
}

/** A primary and its standby upstream, followed by one list of hosts. */
async function failover(major: 17 | 18, settings: Record<string, string> = {}): Promise<Failover> {
  const primary = await cluster({ major })
  const { downstream, name: slot } = await databases('18')
  for (const end of [primary.conninfo(), downstream]) await script(end, 'CREATE TABLE t (id int PRIMARY KEY)')
  const copy = await standby(primary, 'spare', { settings })
  const upstream = listOf(primary, copy)
  const args = ['start', '--upstream', upstream, '--downstream', downstream, '--name', slot]
  const follower = runFollower(args)
  await follower.ready({ upstream: primary.conninfo(), slot })
  const rows = () => value(downstream, `SELECT string_agg(id::text, ' ' ORDER BY id) FROM t`)
  return {
    ...{ primary, copy, upstream, downstream, slot, args, follower, rows },
    until: (wanted) => follower.until(async () => (await rows()) === wanted, `rows ${wanted}`),
  }
}

const slotOf = (server: Cluster, slot: string) =>
  query(
    server.conninfo(),
    `SELECT confirmed_flush_lsn AS lsn, to_jsonb(s) ->> 'synced' AS synced, to_jsonb(s) ->> 'failover' AS failover, temporary
       FROM pg_replication_slots s WHERE slot_name = $1`,
    [slot],
  )

async function synced({ copy, primary, slot }: Failover): Promise<void> {
  await caughtUp(copy, primary)
  await waitUntil(
    async () => {
      // The worker looks every half minute; where there is none, at once.
      if ((await value(copy.conninfo(), 'SHOW sync_replication_slots')) === 'off')
        await query(copy.conninfo(), 'SELECT pg_sync_replication_slots()')
      const found = (await slotOf(copy, slot))[0]
      return found?.synced === 'true' && found.temporary === 'f'
    },
    { what: 'the slot on the standby', timeout: 60_000 },
  )
}

describe.each([18, 17] as const)('the upstream, PostgreSQL %s, fails over to a standby', (major) => {
  describe.skipIf(!available(`${major}-18`))('that has the slot', () => {
    test('it goes on there by itself', { timeout: 120_000 }, async () => {
      const f = await failover(major, { sync_replication_slots: 'on' })
      await statements(f.primary.conninfo(), ['INSERT INTO t VALUES (1)', 'ALTER TABLE t ADD n int'])
      await f.until('1')
      expect((await slotOf(f.primary, f.slot))[0]).toMatchObject({ failover: 'true' })
      await synced(f)
      await f.primary.stop('immediate')
      await f.follower.line(/ECONNREFUSED|was lost|terminat/)
      await promote(f.copy)
      await statements(f.copy.conninfo(), [
        'INSERT INTO t VALUES (2)',
        'ALTER TABLE t ADD m int',
        'INSERT INTO t VALUES (3, 4, 5)',
      ])
      await f.until('1 2 3')
      expect(await query(f.downstream, 'SELECT * FROM t WHERE id = 3')).toEqual([{ id: '3', n: '4', m: '5' }])
      expect(await value(f.downstream, 'SELECT timeline FROM follower.progress')).toBe('2')
      expect((await f.follower.stop()).code).toBe(0)
    })

    // What tells it is the same in both majors.
    test.runIf(major === 18)(
      'and lacks commits that are applied: it stops, and goes on only when told to',
      {
        timeout: 120_000,
      },
      async () => {
        const f = await failover(major)
        await script(f.primary.conninfo(), 'INSERT INTO t VALUES (1)')
        await f.until('1')
        await synced(f)
        await detach(f.copy)
        await script(f.primary.conninfo(), 'INSERT INTO t VALUES (2)')
        await f.until('1 2')
        await f.primary.stop('immediate')
        await promote(f.copy)
        const stopped = await failure(f.follower, 7)
        expect(stopped).toMatchObject({ code: 'FLW-206' })
        expect(stopped.effect).toMatch(/exists downstream and not upstream/)
        await script(f.copy.conninfo(), 'INSERT INTO t VALUES (3)')
        // As long as nobody says more, another start says the same, and writes nothing.
        expect(await failure(runFollower(f.args), 7)).toMatchObject({ code: 'FLW-206' })
        expect(await f.rows()).toBe('1 2')
        const again = runFollower([...f.args, '--accept-new-upstream'])
        await again.until(async () => (await f.rows()) === '1 2 3', 'the row of the new primary')
        expect((await again.stop()).code).toBe(0)
        // The word is said once.
        const later = runFollower(f.args)
        await script(f.copy.conninfo(), 'INSERT INTO t VALUES (4)')
        await later.until(async () => (await f.rows()) === '1 2 3 4', 'the next row')
      },
    )
  })
})

describe('the upstream fails over to a standby that has no slot', () => {
  test('it stops and makes none, also where somebody made one later', { timeout: 120_000 }, async () => {
    const f = await failover(18)
    await script(f.primary.conninfo(), 'INSERT INTO t VALUES (1)')
    await f.until('1')
    await caughtUp(f.copy, f.primary)
    await f.primary.stop('immediate')
    await promote(f.copy)
    const stopped = await failure(f.follower, 7)
    expect(stopped).toMatchObject({ code: 'FLW-201' })
    expect(stopped.effect).toMatch(/equal to the upstream as of/)
    expect(await slotOf(f.copy, f.slot)).toEqual([])
    const status = await followerCommand([
      'status',
      '--upstream',
      f.upstream,
      '--downstream',
      f.downstream,
      '--name',
      f.slot,
      '--json',
    ])
    expect([status.code, JSON.parse(status.stdout).state]).toEqual([7, 'slot missing'])

    await script(f.copy.conninfo(), 'INSERT INTO t VALUES (2)')
    await query(f.copy.conninfo(), "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", [f.slot])
    const made = runFollower(f.args)
    expect(await failure(made, 7)).toMatchObject({ code: 'FLW-204' })
    expect(await f.rows()).toBe('1')
    expect(log(made).some(({ level }) => level === 'error')).toBe(false)
  })

  test('synchronized_standby_slots keeps the follow behind the standby', { timeout: 120_000 }, async () => {
    const f = await failover(18)
    await script(f.primary.conninfo(), "ALTER SYSTEM SET synchronized_standby_slots = 'spare'")
    await script(f.primary.conninfo(), 'SELECT pg_reload_conf()')
    await script(f.primary.conninfo(), 'INSERT INTO t VALUES (1)')
    await f.until('1')
    await synced(f)
    await detach(f.copy)
    await script(f.primary.conninfo(), 'INSERT INTO t VALUES (2)')
    // The walsender says so itself, and holds the row back.
    await f.follower.line(/slot \\?"spare\\?" .*does not have active_pid/)
    expect(await f.rows()).toBe('1')
    await f.primary.stop('immediate')
    await promote(f.copy)
    await script(f.copy.conninfo(), 'INSERT INTO t VALUES (3)')
    await f.until('1 3')
  })
})

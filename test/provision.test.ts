import { beforeEach, describe, expect, test, vi } from 'vitest'
import type { FollowSettings } from '../src/model/follow.ts'
import { formatLsn, lsnFromServer } from '../src/model/lsn.ts'
import { cleanup } from '../src/provision/cleanup.ts'
import type { Ends } from '../src/provision/ends.ts'
import { lockKey } from '../src/provision/lock.ts'
import { takePosition } from '../src/provision/position.ts'
import { prepare } from '../src/provision/prepare.ts'
import { slotHolder } from '../src/provision/slot.ts'
import { readState } from '../src/provision/state.ts'
import { catalog, followSettings, logToArray, openEnds, refusal, silent } from './provision-follow.ts'
import { cleanUp } from './support/cleanup.ts'
import { pairs } from './support/pairs.ts'
import { available, type Databases, databases, inDatabase, type Pair } from './support/servers.ts'
import { client, query, script, value } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

const schema = 'CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE u (id int PRIMARY KEY)'

const slotLsn = (conninfo: string, slot: string) =>
  value(conninfo, 'SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = $1', [slot])
const progressLsn = (conninfo: string, name: string) =>
  value(conninfo, 'SELECT lsn FROM follower.progress WHERE name = $1', [name])
const published = async (conninfo: string, publication: string) =>
  (
    await query(
      conninfo,
      "SELECT DISTINCT schemaname || '.' || tablename AS t FROM pg_publication_tables WHERE pubname = $1 AND schemaname <> 'follower' ORDER BY 1",
      [publication],
    )
  ).map((row) => row.t)

async function fresh(
  pair: Pair,
  more: Partial<FollowSettings> = {},
): Promise<{ db: Databases; settings: FollowSettings; ends: Ends }> {
  const db = await databases(pair)
  await script(db.upstream, schema)
  await script(db.downstream, schema)
  const settings = followSettings(db, more)
  return { db, settings, ends: await openEnds(settings) }
}

describe.each(pairs)('on %s', (pair) => {
  describe.skipIf(!available(pair))('with servers', () => {
    test('makes everything once, and cleanup leaves nothing', async () => {
      const { db, settings, ends } = await fresh(pair)
      const before = [await catalog(db.upstream), await catalog(db.downstream)]
      const first = await prepare(settings, ends, silent)
      expect(first.publications).toEqual([settings.name])
      const slot = await slotLsn(db.upstream, settings.slot)
      expect(await progressLsn(db.downstream, settings.name)).toBe(slot)
      const position = await takePosition(settings, ends, first)
      expect(position).toMatchObject({ epoch: 1n, timeline: 1 })
      expect(formatLsn(position.lsn)).toBe(slot)
      expect(await value(db.upstream, 'SELECT count(*) FROM pg_event_trigger')).toBe('6')

      // A second start writes nothing upstream, where it would be WAL and locks on a database that works.
      const rows = 'SELECT xmin, name FROM follower.follow'
      const objects =
        "SELECT oid, xmin FROM pg_proc WHERE pronamespace = 'follower'::regnamespace UNION ALL SELECT oid, xmin FROM pg_publication ORDER BY 1"
      const made = [await query(db.upstream, rows), await query(db.upstream, objects)]
      expect(await prepare(settings, ends, silent)).toEqual(first)
      expect([await query(db.upstream, rows), await query(db.upstream, objects)]).toEqual(made)
      expect(await takePosition(settings, ends, first)).toEqual({ ...position, epoch: 2n })

      const report = await cleanup(settings, ends, silent)
      expect(report.remains).toEqual([])
      expect(report.removed).toContain(`slot "${settings.slot}" (upstream)`)
      expect([await catalog(db.upstream), await catalog(db.downstream)]).toEqual(before)
      expect(await cleanup(settings, ends, silent)).toEqual({ removed: [], remains: [] })
    })

    test('two follows share the capture objects until the last is gone', async () => {
      const { db, settings, ends } = await fresh(pair)
      const before = [await catalog(db.upstream), await catalog(db.downstream)]
      await prepare(settings, ends, silent)
      const other = followSettings(db, { name: `${db.name}_2`, tables: [{ schema: 'public', table: 't' }] })
      await prepare(other, ends, silent)
      expect(await published(db.upstream, other.name)).toEqual(['public.t'])
      await cleanup(settings, ends, silent)
      expect(await value(db.upstream, 'SELECT count(*) FROM pg_event_trigger')).toBe('6')
      expect(await value(db.upstream, 'SELECT string_agg(name, $$,$$) FROM follower.follow')).toBe(other.name)
      expect(await progressLsn(db.downstream, other.name)).toBe(await slotLsn(db.upstream, other.slot))
      await cleanup(other, ends, silent)
      expect([await catalog(db.upstream), await catalog(db.downstream)]).toEqual(before)
    })

    test('tables: a list, a schema, and a change of mind', async () => {
      const tables = [
        { schema: 'public', table: 't' },
        { schema: 'Odd "one"', table: '*' },
      ]
      const { db, settings } = await fresh(pair, { tables })
      const odd = 'CREATE SCHEMA "Odd ""one"""; CREATE TABLE "Odd ""one"""."X" (id int PRIMARY KEY)'
      await script(db.upstream, odd)
      await script(db.downstream, odd)
      const ends = await openEnds(settings)
      await prepare(settings, ends, silent)
      expect(await published(db.upstream, settings.name)).toEqual(['Odd "one".X', 'public.t'])
      const narrower = { ...settings, tables: tables.slice(0, 1) }
      await prepare(narrower, ends, silent)
      expect(await published(db.upstream, settings.name)).toEqual(['public.t'])
      expect(await value(db.upstream, 'SELECT tables FROM follower.follow')).toBe('{"\\"public\\".\\"t\\""}')
    })

    test('partitions come with their root', async () => {
      const db = await databases(pair)
      const parted = `CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)`
      await script(db.upstream, parted)
      await script(db.downstream, parted)
      const settings = followSettings(db, { tables: [{ schema: 'public', table: 'p' }] })
      const ends = await openEnds(settings)
      await prepare(settings, ends, silent)
      expect(await published(db.upstream, settings.name)).toEqual(['public.p1'])
      await prepare(settings, ends, silent)
      expect((await readState(settings, ends)).upstream?.tables).toBe(1)
    })

    test.each(['full', 'insert-only'] as const)('tables without identity: %s', async (noIdentity) => {
      const { db, settings, ends } = await fresh(pair, { noIdentity })
      for (const uri of [db.upstream, db.downstream])
        await script(
          uri,
          'CREATE TABLE bare (v text); CREATE TABLE nothing (v text); ALTER TABLE nothing REPLICA IDENTITY NOTHING',
        )
      const before = await catalog(db.upstream)
      await prepare(settings, ends, silent)
      // Twice, since the second start sees what the first made.
      await prepare(settings, ends, silent)
      await script(
        db.upstream,
        "INSERT INTO bare VALUES ('a'); UPDATE bare SET v = 'b'; DELETE FROM bare; UPDATE nothing SET v = 'c'",
      )
      if (noIdentity === 'insert-only') {
        expect(await published(db.upstream, settings.name)).toEqual(['public.t', 'public.u'])
        expect(await published(db.upstream, `${settings.name}_insert_only`)).toHaveLength(4)
      } else expect(await published(db.upstream, settings.name)).toHaveLength(4)
      await cleanup(settings, ends, silent)
      expect(await catalog(db.upstream)).toEqual(before)
    })
  })
})

describe('a start that dies', () => {
  beforeEach(() => vi.resetModules())

  test.each(['start.captured', 'start.progress', 'start.slot'])(
    'at %s is finished by the next',
    async (at) => {
      const { db, settings, ends } = await fresh('18')
      vi.stubEnv('FOLLOWER_FAILPOINT', `${at}:throw:1`)
      const broken = await import('../src/provision/prepare.ts')
      await expect(broken.prepare(settings, ends, silent)).rejects.toThrow(`failpoint ${at}`)
      vi.unstubAllEnvs()
      // A row between the two starts: it must lie behind the position that the second one finds if there was a slot.
      const behind = await value(db.upstream, 'SELECT pg_current_wal_insert_lsn()')
      await script(db.upstream, 'INSERT INTO t VALUES (1)')
      const again = { ...settings, ...(at === 'start.slot' ? {} : { copy: 'none' as const }) }
      if (at === 'start.slot') {
        await script(db.downstream, 'INSERT INTO t VALUES (1)')
        expect(await progressLsn(db.downstream, settings.name)).toBeNull()
        expect((await readState(settings, ends)).state).toBe('starting')
      }
      await prepare(again, ends, silent)
      const lsn = lsnFromServer((await progressLsn(db.downstream, settings.name)) ?? '')
      expect(formatLsn(lsn)).toBe(await slotLsn(db.upstream, settings.slot))
      expect(lsn <= lsnFromServer(behind ?? '')).toBe(at === 'start.slot')
      expect(
        await value(
          db.upstream,
          'SELECT count(*) FROM pg_replication_slots WHERE database = current_database()',
        ),
      ).toBe('1')
    },
  )

  test('while its slot waits for others: the next one adopts the slot', async () => {
    const { db, settings, ends } = await fresh('18')
    const blocker = await client(db.upstream)
    await blocker.query('BEGIN; SELECT pg_current_xact_id()')
    const dying = prepare(settings, ends, silent).catch(() => 'died')
    await waitUntil(() =>
      value(db.upstream, 'SELECT 1 FROM pg_replication_slots WHERE slot_name = $1', [settings.slot]),
    )
    // The process dies; its server process notices nothing as long as it waits.
    ;(ends.upstream as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy()
    expect(await dying).toBe('died')
    const next = await openEnds(settings)
    const { log, lines } = logToArray()
    const second = prepare(settings, next, log)
    await waitUntil(() => lines.some((line) => line.waitsFor?.some((who) => who.startsWith('process'))))
    await blocker.query('COMMIT')
    await second
    expect(await progressLsn(db.downstream, settings.name)).toBe(await slotLsn(db.upstream, settings.slot))
  })

  test('names the open transactions that a new slot waits for', async () => {
    const { db, settings, ends } = await fresh('18')
    const blocker = await client(db.upstream, { application_name: 'slow report' })
    await blocker.query('BEGIN; SELECT pg_current_xact_id()')
    const { log, lines } = logToArray()
    const start = prepare(settings, ends, log)
    await waitUntil(() => lines.some((line) => line.waitsFor?.some((who) => who.includes('slow report'))))
    await blocker.query('COMMIT')
    await start
  })

  test('takes no offence at rows and tables that the stream brings', async () => {
    const { db, settings, ends } = await fresh('18')
    for (const uri of [db.upstream, db.downstream]) await script(uri, 'CREATE TABLE bare (a int PRIMARY KEY)')
    const writer = await client(db.upstream)
    const ask = ends.upstream.query.bind(ends.upstream) as (...args: unknown[]) => unknown
    let written = false
    // The first question after the slot is there comes after a row and a table.
    ends.upstream.query = (async (...args: unknown[]) => {
      const slot = 'SELECT FROM pg_replication_slots WHERE slot_name = $1 AND confirmed_flush_lsn IS NOT NULL'
      if (!written && (await writer.query(slot, [settings.slot])).rowCount) {
        written = true
        await writer.query('INSERT INTO bare VALUES (1); CREATE TABLE later AS SELECT 1 AS a')
      }
      return ask(...args)
    }) as typeof ends.upstream.query
    await prepare(settings, ends, silent)
    expect(written).toBe(true)
  })

  test('sees rows that an open transaction brought meanwhile', async () => {
    const { db, settings, ends } = await fresh('18')
    for (const uri of [db.upstream, db.downstream]) await script(uri, 'CREATE TABLE bare (a int PRIMARY KEY)')
    const other = await client(db.upstream)
    await other.query('BEGIN; INSERT INTO bare VALUES (1)')
    const start = refusal(prepare(settings, ends, silent))
    await waitUntil(() =>
      value(db.upstream, 'SELECT 1 FROM pg_replication_slots WHERE slot_name = $1', [settings.slot]),
    )
    await other.query('COMMIT')
    expect((await start).code).toBe('FLW-120')
  })

  test('sees tables that an open transaction brought meanwhile, and leaves no slot', async () => {
    const { db, settings, ends } = await fresh('18')
    const other = await client(db.upstream)
    await other.query('BEGIN; CREATE TABLE late (v text)')
    const start = refusal(prepare(settings, ends, silent))
    await waitUntil(() =>
      value(db.upstream, 'SELECT 1 FROM pg_replication_slots WHERE slot_name = $1', [settings.slot]),
    )
    await other.query('COMMIT')
    expect((await start).context.codes).toBe('FLW-131 FLW-119')
    expect(
      await query(db.upstream, 'SELECT 1 FROM pg_replication_slots WHERE slot_name = $1', [settings.slot]),
    ).toEqual([])
  })
})

describe('the slot', () => {
  test('is never made anew where a position exists', async () => {
    const { db, settings, ends } = await fresh('18')
    const prepared = await prepare(settings, ends, silent)
    await query(db.upstream, 'SELECT pg_drop_replication_slot($1)', [settings.slot])
    for (const start of [() => prepare(settings, ends, silent), () => takePosition(settings, ends, prepared)])
      expect(await refusal(start())).toMatchObject({ code: 'FLW-201', exit: 7 })
    expect((await readState(settings, ends)).state).toBe('slot missing')
    expect(
      await query(db.upstream, 'SELECT 1 FROM pg_replication_slots WHERE slot_name = $1', [settings.slot]),
    ).toEqual([])
  })

  test('of somebody else is not taken', async () => {
    const { db, settings, ends } = await fresh('18')
    await query(db.upstream, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", [settings.slot])
    const before = await catalog(db.upstream)
    expect(await refusal(prepare(settings, ends, silent))).toMatchObject({ code: 'FLW-202', exit: 7 })
    expect(await catalog(db.upstream)).toEqual(before)
  })

  test('of another kind or database is not used', async () => {
    const { db, settings, ends } = await fresh('18', { slotGiven: true })
    const slot = settings.slot
    const make = [
      "SELECT pg_create_logical_replication_slot($1, 'test_decoding')",
      'SELECT pg_create_physical_replication_slot($1)',
    ]
    for (const sql of make) {
      await query(db.upstream, sql, [slot])
      expect(await refusal(prepare(settings, ends, silent))).toMatchObject({ code: 'FLW-203', exit: 7 })
      await query(db.upstream, 'SELECT pg_drop_replication_slot($1)', [slot])
    }
    const elsewhere = inDatabase(db.upstream, 'postgres')
    await query(elsewhere, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", [slot])
    cleanUp(() => query(elsewhere, 'SELECT pg_drop_replication_slot($1)', [slot]))
    expect(await refusal(prepare(settings, ends, silent))).toMatchObject({ code: 'FLW-203', exit: 7 })
  })

  test('that the user named must exist, is taken where it stands, and stays', async () => {
    const { db, settings, ends } = await fresh('18', { slotGiven: true })
    expect(await refusal(prepare(settings, ends, silent))).toMatchObject({ code: 'FLW-117', exit: 6 })
    await query(db.upstream, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", [settings.slot])
    const at = await slotLsn(db.upstream, settings.slot)
    await prepare(settings, ends, silent)
    expect(await progressLsn(db.downstream, settings.name)).toBe(at)
    const report = await cleanup({ name: settings.name }, ends, silent)
    expect(report.remains).toEqual([expect.stringContaining('--slot')])
    expect(await slotLsn(db.upstream, settings.slot)).toBe(at)
  })

  test('of a follow is not changed for another', async () => {
    const { settings, ends } = await fresh('18')
    await prepare(settings, ends, silent)
    const other = { ...settings, slot: `${settings.slot}_b`, slotGiven: true }
    expect(await refusal(prepare(other, ends, silent))).toMatchObject({ code: 'FLW-209', exit: 7 })
  })

  test('has a holder while somebody streams', async () => {
    const { db, settings, ends } = await fresh('18')
    await prepare(settings, ends, silent)
    expect(await slotHolder(ends.upstream, settings.slot)).toBeUndefined()
    const walsender = await client(db.upstream, {
      replication: 'database',
      application_name: 'holder',
    } as object)
    walsender
      .query(
        `START_REPLICATION SLOT "${settings.slot}" LOGICAL 0/0 (proto_version '1', publication_names '${settings.name}')`,
      )
      .catch(() => {})
    const holder = await waitUntil(() => slotHolder(ends.upstream, settings.slot))
    expect(holder.applicationName).toBe('holder')
    expect((await readState(settings, ends)).state).toBe('following')
    expect(await refusal(cleanup(settings, ends, silent))).toMatchObject({ code: 'FLW-212', exit: 11 })
    ;(walsender as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy()
    await waitUntil(async () => !(await slotHolder(ends.upstream, settings.slot)))
  })
})

describe('cleanup', () => {
  test('refuses while a follower holds the lock', async () => {
    const { db, settings, ends } = await fresh('18')
    await prepare(settings, ends, silent)
    const before = await catalog(db.upstream)
    const daemon = await client(db.downstream, { application_name: 'the daemon' })
    await daemon.query('SELECT pg_advisory_lock($1)', [lockKey(settings.name)])
    const error = await refusal(cleanup(settings, ends, silent))
    expect(error).toMatchObject({ code: 'FLW-212', exit: 11 })
    expect(error.detail).toContain('the daemon')
    expect(await catalog(db.upstream)).toEqual(before)
    expect((await readState(settings, ends)).state).toBe('following')
  })

  test('works with one end, and with the other later', async () => {
    const { db, settings, ends } = await fresh('18')
    const before = [await catalog(db.upstream), await catalog(db.downstream)]
    await prepare(settings, ends, silent)
    const below = await cleanup(settings, { upstream: undefined, downstream: ends.downstream }, silent)
    expect(below.remains[0]).toContain(`pg_drop_replication_slot('${settings.slot}')`)
    expect(await catalog(db.downstream)).toEqual(before[1])
    const above = await cleanup(settings, { upstream: ends.upstream, downstream: undefined }, silent)
    expect(above.remains[0]).toContain('DELETE FROM follower.progress')
    expect(await catalog(db.upstream)).toEqual(before[0])
  })

  test('of one follow leaves what another needs in the same database', async () => {
    const a = await fresh('18')
    const before = await catalog(a.db.downstream)
    const third = await databases('18')
    await script(third.downstream, schema)
    // a.upstream → a.downstream → third.downstream
    const chain = followSettings(
      { upstream: a.db.downstream, downstream: third.downstream, name: `${a.db.name}_chain` },
      { copy: 'none' },
    )
    const chainEnds = await openEnds(chain)
    cleanUp(() => cleanup(chain, chainEnds, silent))
    await prepare(a.settings, a.ends, silent)
    await prepare(chain, chainEnds, silent)
    const both = await catalog(a.db.downstream)

    await cleanup(a.settings, a.ends, silent)
    expect(
      await query(
        a.db.downstream,
        "SELECT to_regclass('follower.progress') AS t, to_regclass('follower.follow') AS f",
      ),
    ).toEqual([{ t: null, f: 'follower.follow' }])
    await script(a.db.downstream, 'CREATE TABLE captured (id int PRIMARY KEY); DROP TABLE captured')
    await prepare(a.settings, a.ends, silent)
    expect(await catalog(a.db.downstream)).toEqual(both)

    await cleanup(chain, chainEnds, silent)
    const prepared = await prepare(a.settings, a.ends, silent)
    await takePosition(a.settings, a.ends, prepared)
    await cleanup(a.settings, a.ends, silent)
    expect(await catalog(a.db.downstream)).toEqual(before)
  })
})

test('the state, from nothing to stopped', async () => {
  const { db, settings, ends } = await fresh('18')
  expect((await readState(settings, ends)).state).toBe('absent')
  await prepare(settings, ends, silent)
  const state = await readState({ name: settings.name }, ends)
  expect(state).toMatchObject({
    schema: 'follower.status/1',
    state: 'stopped',
    slot: { name: settings.slot, active: false, walStatus: 'reserved' },
    upstream: { tables: 2, publications: [settings.name], database: db.name },
    progress: { lsn: await slotLsn(db.upstream, settings.slot), commitTime: null, epoch: '0' },
  })
  expect(state.lagBytes).toBeGreaterThanOrEqual(0)
  expect((await readState(settings, { ...ends, upstream: undefined })).state).toBe('unknown')
})

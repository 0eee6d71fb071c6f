import { describe, expect, test } from 'vitest'
import { compareDatabases } from './support/comparator.ts'
import { type Follower, followerCommand } from './support/follower.ts'
import { type Follow, killed, start } from './support/kill.ts'
import { grant, poor } from './support/poor.ts'
import { available, type Databases, databases, type Pair } from './support/servers.ts'
import { client, query, script, statements, value } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

const pairs: readonly Pair[] = ['18', '15-18']

/** `first` is followed; `late` has rows upstream, and none downstream. */
const tables = ['first', 'late'].map((name) => `CREATE TABLE ${name} (id int PRIMARY KEY, t text)`)

async function prepared(pair: Pair, more: readonly string[] = []): Promise<Databases & Follow> {
  const all = await databases(pair)
  await statements(all.upstream, [
    ...[...tables, ...more],
    "INSERT INTO first VALUES (1, 'first')",
    "INSERT INTO late SELECT i, 'late' FROM generate_series(1, 100) i",
    'CREATE PUBLICATION p FOR TABLE first',
  ])
  await statements(all.downstream, [...tables, ...more])
  return { ...all, args: ['--copy', 'data', '--publication', 'p'] }
}

async function copied(follow: Follow, follower: Follower, name: string): Promise<void> {
  await follower.until(
    async () =>
      (await value(
        follow.downstream,
        "SELECT state = 'copied' AND NOT behind FROM follower.copied_table WHERE name = $1",
        [name],
      )) === 't',
    `${name} to be copied`,
    // A snapshot waits for all that is open on the server, which others use, too.
    60_000,
  )
}

async function expectEqual(follow: Follow, follower: Follower): Promise<void> {
  expect((await follower.stop()).code, follower.output).toBe(0)
  const last = start(follow, undefined, ['--until', 'now'])
  expect(await last.exit, last.output).toMatchObject({ code: 0 })
  expect(await compareDatabases(follow.upstream, follow.downstream)).toEqual([])
}

/** Holds up the copy of `late` until the result is called. */
async function hold(follow: Follow): Promise<{ reached(): Promise<void>; release(): Promise<void> }> {
  const gate = await client(follow.downstream)
  await gate.query('BEGIN; LOCK TABLE late IN EXCLUSIVE MODE')
  const waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'late'::regclass"
  return {
    reached: async () => {
      await waitUntil(async () => (await value(follow.downstream, waits)) !== '0', {
        what: 'the copy to wait',
      })
    },
    release: async () => {
      await gate.query('COMMIT')
    },
  }
}

interface Gate {
  readonly gate: Awaited<ReturnType<typeof client>>
  readonly update: string
}

/** Whether somebody waits downstream for what the session holds. */
async function blockedBy({ downstream }: Follow, gate: Gate['gate']): Promise<boolean> {
  const { rows } = await gate.query('SELECT pg_backend_pid() AS pid')
  const waits = 'SELECT count(*) FROM pg_stat_activity WHERE $1::int = ANY (pg_blocking_pids(pid))'
  return (await value(downstream, waits, [rows[0].pid])) !== '0'
}

describe.each(pairs.filter(available))('late tables at the edge, %s', { timeout: 120_000 }, (pair) => {
  test('made in the transaction of their first rows, where its making does not tell', async () => {
    const all = await prepared(pair)
    await script(all.upstream, 'DROP PUBLICATION p; CREATE PUBLICATION p FOR ALL TABLES')
    const follower = start(all, undefined, ['--on-rewrite', 'replay'])
    await follower.ready({ slot: all.name })
    await script(
      all.upstream,
      `BEGIN; CREATE UNLOGGED TABLE kept (id int PRIMARY KEY, t text); INSERT INTO kept VALUES (1, 'unlogged');
       ALTER TABLE kept SET LOGGED; INSERT INTO kept VALUES (2, 'logged'); COMMIT`,
    )
    await script(all.upstream, "INSERT INTO kept VALUES (3, 'after')")
    await copied(all, follower, 'kept')
    await expectEqual(all, follower)
  })

  test('the stream goes on beyond the snapshot while nothing followed changes: copied once', async () => {
    const all = await prepared(pair, ['CREATE TABLE aside (id int)'])
    const writes = { on: true }
    const writing = (async () => {
      while (writes.on) await script(all.upstream, 'INSERT INTO aside SELECT generate_series(1, 100)')
    })()
    const follower = start(all)
    await follower.ready({ slot: all.name })
    await script(all.upstream, 'ALTER PUBLICATION p ADD TABLE late')
    await copied(all, follower, 'late')
    writes.on = false
    await writing
    expect(follower.output.match(/"msg":"copying tables"/g)).toHaveLength(2)
    await statements(all.upstream, ['TRUNCATE aside'])
    await expectEqual(all, follower)
  })

  test('what is no table downstream is told, and takes changes', async () => {
    const all = await prepared(pair)
    await statements(all.downstream, [
      'ALTER TABLE late RENAME TO under',
      'CREATE VIEW late AS SELECT * FROM under',
    ])
    const follower = start(all)
    await follower.ready({ slot: all.name })
    await statements(all.upstream, [
      'ALTER PUBLICATION p ADD TABLE late',
      "INSERT INTO late VALUES (101, 'changed')",
    ])
    await follower.line(/no table downstream/)
    await follower.until(
      async () => (await value(all.downstream, 'SELECT t FROM under WHERE id = 101')) === 'changed',
      'a change to be applied',
    )
    expect((await follower.stop()).code, follower.output).toBe(0)
  })

  test('TRUNCATE of a partitioned table whose partitions are published', async () => {
    const all = await prepared(pair, [
      'CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id)',
      'CREATE TABLE part PARTITION OF root FOR VALUES FROM (0) TO (1000)',
    ])
    await script(all.upstream, 'INSERT INTO root VALUES (1); ALTER PUBLICATION p ADD TABLE root')
    const follower = start(all)
    await follower.ready({ slot: all.name })
    // One that has come just now, too.
    await statements(all.upstream, [
      'TRUNCATE root, first',
      'INSERT INTO root VALUES (2)',
      'ALTER PUBLICATION p ADD TABLE late',
      "BEGIN; TRUNCATE late; INSERT INTO late VALUES (1, 'after'); COMMIT",
      "INSERT INTO first VALUES (3, 'after')",
    ])
    await follower.until(
      async () => (await value(all.downstream, 'SELECT count(*) FROM first WHERE id = 3')) === '1',
      'what comes after',
    )
    await expectEqual(all, follower)
    expect(follower.output).not.toMatch(/public\.root/)
  })

  // PostgreSQL 15 does not open the tables of a publication to list them.
  test.runIf(pair === '18')(
    'a table of the publication that is held, or dropped while it is looked at',
    async () => {
      const all = await prepared(pair)
      const follower = start(all)
      await follower.ready({ slot: all.name })
      const gate = await client(all.upstream)
      await gate.query('BEGIN; LOCK TABLE first IN ACCESS EXCLUSIVE MODE')
      const asks = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
                    AND query LIKE '%pg_publication_tables%' AND pid <> pg_backend_pid()`
      await follower.until(async () => (await value(all.upstream, asks)) !== '0', 'a look that waits')
      await follower.until(async () => (await value(all.upstream, asks)) === '0', 'the look to give up')
      await follower.until(async () => (await value(all.upstream, asks)) !== '0', 'the next look')
      await gate.query('DROP TABLE first; COMMIT')
      await script(all.upstream, 'ALTER PUBLICATION p ADD TABLE late')
      await copied(all, follower, 'late')
      await expectEqual(all, follower)
    },
  )

  test('changes that come between the look at the publication and the end of the session', async () => {
    const all = await prepared(pair, ['CREATE TABLE gone (id int PRIMARY KEY)'])
    await script(all.upstream, 'ALTER PUBLICATION p ADD TABLE gone')
    const follower = start(all)
    await follower.ready({ slot: all.name })
    // The look writes what has come, and then waits for this.
    const gate = await client(all.downstream)
    await gate.query("BEGIN; SELECT FROM follower.copied_table WHERE name = 'gone' FOR UPDATE")
    await script(all.upstream, 'ALTER PUBLICATION p SET TABLE first, late')
    await follower.until(() => blockedBy(all, gate), 'the look to wait')
    await statements(all.upstream, [
      "UPDATE late SET t = 'changed' WHERE id = 7; INSERT INTO late VALUES (101, 'new')",
      "INSERT INTO first VALUES (2, 'after')",
    ])
    await follower.until(
      async () => (await value(all.downstream, 'SELECT count(*) FROM first')) === '2',
      'what comes after',
    )
    await gate.query('COMMIT')
    await copied(all, follower, 'late')
    await expectEqual(all, follower)
  })

  test('seen while there is always something left to apply', async () => {
    const all = await prepared(pair)
    await script(all.upstream, "INSERT INTO first SELECT i, 'first' FROM generate_series(2, 4) i")
    const follower = start(all)
    await follower.ready({ slot: all.name })
    const gates = await Promise.all(
      [2, 3, 4].map(async (id) => {
        const gate = await client(all.downstream)
        await gate.query(`BEGIN; SELECT FROM first WHERE id = ${id} FOR UPDATE`)
        return { gate, update: `UPDATE first SET t = 'changed' WHERE id = ${id}` }
      }),
    )
    const [before, between, after] = gates as [Gate, Gate, Gate]
    await script(all.upstream, before.update)
    await follower.until(() => blockedBy(all, before.gate), 'a change to wait')
    await script(all.upstream, 'ALTER PUBLICATION p ADD TABLE late')
    const now = await value(all.upstream, 'SELECT clock_timestamp()')
    const looks = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_publication_tables%'
                      AND query_start > $1 AND state = 'idle'`
    await follower.until(async () => (await value(all.upstream, looks, [now])) !== '0', 'a look')
    for (const [one, next] of [
      [before, between],
      [between, after],
    ] as const) {
      await script(all.upstream, next.update)
      await one.gate.query('COMMIT')
      await follower.until(() => blockedBy(all, next.gate), 'the next change to wait')
    }
    const come = "SELECT count(*) FROM follower.copied_table WHERE name = 'late'"
    await follower.until(async () => (await value(all.downstream, come)) === '1', 'the table to be noted')
    expect(await blockedBy(all, after.gate)).toBe(true)
    await after.gate.query('COMMIT')
    await copied(all, follower, 'late')
    await expectEqual(all, follower)
  })

  test('a session that fails while tables are copied is told and recorded at once', async () => {
    const all = await prepared(pair)
    const follower = start(all, undefined, ['--on-error', 'halt'])
    await follower.ready({ slot: all.name })
    const gate = await hold(all)
    await script(all.upstream, 'ALTER PUBLICATION p ADD TABLE late')
    await gate.reached()
    await script(all.downstream, 'DELETE FROM first')
    await script(all.upstream, "UPDATE first SET t = 'changed'")
    const open = 'SELECT count(*) FROM follower.incident WHERE resolved_at IS NULL AND lsn IS NOT NULL'
    await follower.until(async () => (await value(all.downstream, open)) === '1', 'the incident')
    await follower.line(/while tables are copied, the others have stopped/)
    await gate.reached()
    await script(all.downstream, "INSERT INTO first VALUES (1, 'first')")
    await gate.release()
    await copied(all, follower, 'late')
    await follower.until(async () => (await value(all.downstream, open)) === '0', 'the incident to be over')
    await expectEqual(all, follower)
  })

  test('a change that does not fit where tables catch up: the remedy is another copy', async () => {
    const all = await prepared(pair)
    const gate = await hold(all)
    const first = start(all, 'copy.behind:kill9:1')
    await first.ready({ slot: all.name })
    await script(all.upstream, 'ALTER PUBLICATION p ADD TABLE late')
    await gate.reached()
    await script(
      all.upstream,
      "UPDATE late SET t = 'changed' WHERE id = 7; INSERT INTO first VALUES (2, 'beside')",
    )
    await first.until(
      async () => (await value(all.downstream, 'SELECT count(*) FROM first')) === '2',
      'the others to go on',
    )
    await gate.release()
    await killed(first, 'copy.behind', all)
    await script(all.downstream, 'DELETE FROM late WHERE id = 7')
    const follower = start(all, undefined, ['--on-error', 'halt'])
    const told = await follower.line(/halted: /)
    expect(told).toContain(`follower copy --name ${all.name} --tables public.late --overwrite`)
    expect(told).not.toContain('follower skip')
    const incidents = () =>
      query(all.downstream, 'SELECT lsn, relation, resolution FROM follower.incident ORDER BY id')
    const incident = { lsn: null, relation: 'public.late', resolution: null }
    expect(await incidents()).toEqual([incident])
    // The next attempt is the same incident.
    const attempts = 'SELECT attempts > 1 FROM follower.incident'
    await follower.until(async () => (await value(all.downstream, attempts)) === 't', 'another attempt')
    expect(await incidents()).toEqual([incident])
    const asked = await followerCommand([
      ...['copy', '--upstream', all.upstream, '--downstream', all.downstream, '--name', all.name],
      ...['--tables', 'public.late', '--overwrite'],
    ])
    expect(asked.code, asked.stderr).toBe(0)
    await copied(all, follower, 'late')
    await expectEqual(all, follower)
  })

  test('made in the stream for a list that could not take it: copied when the right comes', async () => {
    const db = await poor(pair)
    await grant(db)
    await script(db.upstream, "INSERT INTO a.t VALUES (1, 'one')")
    const follower = await db.start('--copy', 'data')
    await statements(db.as(db.bob), [
      'CREATE SCHEMA b; CREATE TABLE b.made (id int PRIMARY KEY)',
      'INSERT INTO b.made VALUES (1)',
    ])
    await follower.until(
      async () => (await value(db.downstream, "SELECT to_regclass('b.made') IS NOT NULL")) === 't',
      'the table to be made',
    )
    await statements(db.upstream, [`GRANT ${db.bob} TO "${db.role}"`])
    await script(
      db.upstream,
      `GRANT SELECT ON b.made TO "${db.role}"; GRANT USAGE ON SCHEMA b TO "${db.role}"`,
    )
    expect((await follower.stop()).code, follower.output).toBe(0)
    const again = await db.start()
    await script(db.as(db.bob), 'INSERT INTO b.made VALUES (2)')
    expect(await db.alike('SELECT * FROM b.made ORDER BY id')).toBe('[{"id":"1"},{"id":"2"}]')
    expect((await again.stop()).code, again.output).toBe(0)
  })
})

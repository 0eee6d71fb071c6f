import { execFileSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { serverAccount } from '../src/demo/binaries.ts'
import { formatLsn, parseLsn } from '../src/model/lsn.ts'
import { compareDatabases } from './support/comparator.ts'
import { followerCommand, runFollower } from './support/follower.ts'
import { cluster, databases, program } from './support/servers.ts'
import { client, query, script, statements, value } from './support/sql.ts'

const reset = program('pg_resetwal')

/**
 * A server of PostgreSQL 15, the only one whose pg_resetwal is at hand, near the end of its numbers: all transaction ids of
 * an epoch but a few are used up, its WAL positions have the highest bit of 64, and its timeline two digits.
 */
test.skipIf(!reset)(
  'positions beyond 2^63 and transaction ids that wrap around are followed, rows and schema',
  { timeout: 120_000 },
  async () => {
    const up = await cluster({ major: 15, settings: { autovacuum: 'off' } })
    const { downstream, name } = await databases('18')
    // Nothing may be left that only a transaction id of before explains.
    for (const database of ['postgres', 'template1']) await script(up.conninfo(database), 'VACUUM FREEZE')
    await statements(up.conninfo(), ['ALTER DATABASE template0 ALLOW_CONNECTIONS true'])
    await script(up.conninfo('template0'), 'VACUUM FREEZE')
    await up.stop()
    const xid = 2 ** 32 - 300
    const account = serverAccount()
    execFileSync(
      reset!,
      [
        ...['-f', '-D', up.dataDir, '-x', String(xid), '-u', String(xid - 1000), '-e', '6'],
        // The name of a WAL file: timeline, high half of the position, file of 16 MB.
        ...['-l', '000000FEFFFFFF00000000F0'],
      ],
      { ...account, stdio: 'pipe', env: { LC_ALL: 'C', PATH: process.env.PATH } },
    )
    // The page of that id; the server makes such files only when it comes to their beginning.
    const page = path.join(
      up.dataDir,
      'pg_xact',
      Math.floor(xid / 2 ** 20)
        .toString(16)
        .toUpperCase()
        .padStart(4, '0'),
    )
    if (!existsSync(page)) {
      writeFileSync(page, Buffer.alloc(256 * 1024))
      if (account) execFileSync('chown', [`${account.uid}:${account.gid}`, page])
    }
    await up.start()
    const lsn = () => value(up.conninfo(), 'SELECT pg_current_wal_lsn()').then((text) => parseLsn(text!)!)
    expect((await lsn()) > 2n ** 63n).toBe(true)
    expect(formatLsn(await lsn())).toMatch(/^FFFFFF00\//)

    const ends = ['--upstream', up.conninfo(), '--downstream', downstream, '--name', name]
    for (const end of [up.conninfo(), downstream])
      await script(end, 'CREATE TABLE t (id int PRIMARY KEY, a text)')
    const start = () => runFollower(['start', ...ends])
    let follower = start()
    await follower.ready({ upstream: up.conninfo(), slot: name })
    const session = await client(up.conninfo())
    const now = async () =>
      BigInt((await session.query('SELECT pg_current_xact_id()::text AS xid')).rows[0].xid)
    const count = () => value(downstream, 'SELECT count(*) FROM t')
    let id = 0
    const some = async (transactions: number): Promise<void> => {
      for (let n = 0; n < transactions; n++) await session.query(`INSERT INTO t VALUES (${++id}, 'x')`)
      await follower.until(async () => (await count()) === String(id), `${id} rows`)
    }
    await some(50)
    await session.query('ALTER TABLE t ADD n int')
    // A large transaction and a schema change that begin before the wrap, and a restart within it.
    const before = await now()
    expect(before >> 32n).toBe(6n)
    const open = await client(up.conninfo())
    await open.query(
      'BEGIN; CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u SELECT generate_series(1, 1000)',
    )
    await some(100)
    expect((await follower.stop()).code).toBe(0)
    follower = start()
    await some(200)
    const after = await now()
    expect(after >> 32n).toBe(7n)
    await open.query('UPDATE u SET id = -id; COMMIT')
    await session.query('ALTER TABLE t DROP a')
    await session.query('UPDATE t SET n = id')
    await session.query('SELECT pg_switch_wal()')
    await session.query('DELETE FROM t WHERE id % 2 = 0')
    await follower.until(async () => (await count()) === String(id / 2), 'the rest')
    expect(await value(downstream, 'SELECT sum(id) FROM u')).toBe('-500500')
    expect(await compareDatabases(up.conninfo(), downstream)).toEqual([])

    expect(await value(downstream, 'SELECT timeline FROM follower.progress')).toBe('254')
    const progress = parseLsn((await value(downstream, 'SELECT lsn FROM follower.progress'))!)!
    expect(progress > 2n ** 63n).toBe(true)
    const { stdout, code } = await followerCommand(['status', ...ends, '--json'])
    expect(code).toBe(0)
    const status = JSON.parse(stdout)
    expect(parseLsn(status.progress.lsn)! >= progress).toBe(true)
    expect(status.lagBytes).toBeLessThan(2 ** 26)
    expect((await follower.stop()).code).toBe(0)
    expect(
      (await query(up.conninfo(), 'SELECT confirmed_flush_lsn FROM pg_replication_slots'))[0]
        ?.confirmed_flush_lsn,
    ).toMatch(/^FFFFFF/)
  },
)

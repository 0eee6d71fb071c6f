import { describe, expect, it } from 'vitest'
import { cleanUp } from '../support/cleanup.ts'
import { failure } from '../support/failure.ts'
import { follow } from '../support/follow.ts'
import { pairsByDownstream } from '../support/pairs.ts'
import { available } from '../support/servers.ts'
import { query, script, statements } from '../support/sql.ts'

/** Where there is time, also as a role that may set session_replication_role. */
const modes = process.env.FOLLOWER_SLOW === '1' ? (['origin', 'replica'] as const) : (['origin'] as const)

/**
 * Scenario 12. The model differs from a subscription's, which acts as the table's owner (16 and later): follower acts
 * with the rights of its role, its memberships among them. What a lack is, and what comes after it, is the same.
 */
describe.each(
  pairsByDownstream.filter(available).flatMap((pair) => modes.map((least) => [pair, least] as const)),
)('scenario 12: permissions of %s (%s)', (pair, least) => {
  it('each lack stops with a clear error and no new row, each grant goes on without loss', {
    timeout: 180_000,
  }, async () => {
    const f = await follow({
      pair,
      least,
      args: ['--ddl', 'off', '--publication', 'permissions'],
      before: ['CREATE TABLE alice(i int)', 'ALTER TABLE alice REPLICA IDENTITY FULL'],
      upstreamOnly: ['CREATE PUBLICATION permissions FOR TABLE settled, alice'],
    })
    const alice = `alice_${f.name}`
    const role = f.least!.role
    await statements(f.superuser, [
      `CREATE ROLE ${alice}`,
      `GRANT ${alice} TO ${role}`,
      `ALTER TABLE alice OWNER TO ${alice}`,
    ])
    // After this, by the order of cleaning up, the database goes, and with it what alice owns.
    cleanUp(() => script(f.superuser, `DROP OWNED BY ${alice}; DROP ROLE ${alice}`))
    const seen = async (): Promise<string> => {
      const rows = await query(f.superuser, 'SELECT count(*), min(i), max(i) FROM alice')
      return Object.values(rows[0]!).join('/')
    }
    const does = async (text: string, expected: string): Promise<void> => {
      await f.run(text)
      expect(await seen()).toBe(expected)
    }
    /** Takes a right away, so that `text` stops the follow; gives it back, and it is done. */
    const lacks = async (
      take: string,
      text: string,
      says: RegExp,
      give: string,
      expected: string,
    ): Promise<void> => {
      const before = await seen()
      await script(f.superuser, take)
      await script(f.upstream, text)
      const stopped = await failure(f.follower, 8)
      expect(stopped).toMatchObject({
        code: 'FLW-313',
        sqlstate: '42501',
        message: expect.stringMatching(says),
        context: { relation: 'public.alice', lsn: expect.stringMatching('/') },
      })
      expect(stopped.fix).toContain(`TO "${role}"`)
      expect(await seen()).toBe(before)
      await script(f.superuser, give)
      f.start()
      await f.settle()
      expect(await seen()).toBe(expected)
    }
    const denied = /permission denied for table alice/
    await does('INSERT INTO alice VALUES (5), (7)', '2/5/7')
    const membership = [`REVOKE ${alice} FROM ${role}`, `GRANT ${alice} TO ${role}`] as const
    await lacks(membership[0], 'UPDATE alice SET i = 9 WHERE i = 5', denied, membership[1], '2/7/9')
    await does('INSERT INTO alice VALUES (11)', '3/7/11')
    await does('UPDATE alice SET i = 13 WHERE i = 7', '3/9/13')
    await does('DELETE FROM alice WHERE i = 9', '2/11/13')
    // A subscription can't apply either; follower must not take a policy for a condition, and bring fewer rows.
    await lacks(
      'ALTER TABLE alice ENABLE ROW LEVEL SECURITY; ALTER TABLE alice FORCE ROW LEVEL SECURITY; CREATE POLICY odd ON alice USING (i % 2 = 0)',
      'INSERT INTO alice VALUES (15)',
      /query would be affected by row-level security policy for table "alice"/,
      'ALTER TABLE alice NO FORCE ROW LEVEL SECURITY',
      '3/11/15',
    )
    const without = (right: string): readonly [string, string] => [
      `REVOKE ${right} ON alice FROM ${alice}`,
      `GRANT ${right} ON alice TO ${alice}`,
    ]
    const [noInsert, insert] = without('INSERT')
    await lacks(noInsert, 'INSERT INTO alice VALUES (17)', denied, insert, '4/11/17')
    const [noUpdate, update] = without('UPDATE, DELETE')
    await script(f.superuser, noUpdate)
    await does('INSERT INTO alice VALUES (19)', '5/11/19')
    await lacks('SELECT 1', 'UPDATE alice SET i = 21 WHERE i = 11', denied, update, '5/13/21')
    await lacks(noUpdate, 'DELETE FROM alice WHERE i = 13', denied, update, '4/15/21')
    const [noSelect, select] = without('SELECT')
    await script(f.superuser, noSelect)
    // INSERT needs no SELECT; UPDATE and DELETE, which look for their row, do.
    await does('INSERT INTO alice VALUES (23)', '5/15/23')
    await lacks('SELECT 1', 'UPDATE alice SET i = 25 WHERE i = 15', denied, select, '5/17/25')
    await lacks(noSelect, 'DELETE FROM alice WHERE i = 17', denied, select, '4/19/25')
    const [noTruncate, truncate] = without('TRUNCATE')
    await lacks(noTruncate, 'TRUNCATE alice', denied, truncate, '0//')
  })
})

import { expect, test } from 'vitest'
import { follow } from './support/follow.ts'
import { client, query } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

test.each(['downstream', 'upstream'] as const)(
  'a session %s that ends while a follower only starts is made again',
  async (end) => {
    const f = await follow({ before: ['CREATE TABLE t (a int PRIMARY KEY)'] })
    expect(await f.stop()).toBe(0)
    const holder = await client(f[end])
    const held = end === 'downstream' ? 'follower.progress' : 'follower.follow'
    await holder.query(`BEGIN; LOCK TABLE ${held}`)
    f.start()
    const waiting = `SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'follower/%'
      AND datname = current_database()`
    const pid = await waitUntil(async () => (await query(f[end], waiting))[0]?.pid, { what: 'its question' })
    await query(f[end], 'SELECT pg_terminate_backend($1)', [pid])
    await f.follower.line(/terminating connection|was lost/)
    await holder.query('ROLLBACK')
    await f.run('INSERT INTO t VALUES (1)')
    expect(await f.stop()).toBe(0)
  },
)

import { expect, it } from 'vitest'
import { log } from './support/failure.ts'
import { follow } from './support/follow.ts'
import { command, status } from './support/incidents.ts'
import { query, script, value } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

it('a halted follow is shown, refuses a wrong LSN, skips exactly the one transaction, and goes on', {
  timeout: 60_000,
}, async () => {
  const f = await follow({
    before: ['CREATE TABLE t(a int PRIMARY KEY, b text)'],
    args: ['--on-error', 'halt'],
  })
  await script(f.downstream, `INSERT INTO t VALUES (1, 'in the way')`)
  await script(f.upstream, `INSERT INTO t VALUES (0, 'before')`)
  await script(f.upstream, `INSERT INTO t VALUES (1, 'the secret'), (2, 'with it')`)
  await script(f.upstream, `INSERT INTO t VALUES (3, 'after')`)
  const line = await f.follower.line(/"msg":"halted: /)
  expect(line).not.toContain('the secret')

  const shown = await status(f)
  expect(shown).toMatchObject({
    ...{ exit: 8, state: 'halted', skips: [] },
    incident: { code: 'FLW-310', sqlstate: '23505', relation: 'public.t', key: '(a)=(1)', row: null },
  })
  expect(JSON.stringify(shown)).not.toContain('the secret')

  const lsn = shown.incident!.lsn!
  const other = await value(f.upstream, 'SELECT pg_current_wal_lsn()')
  const wrong = await command(f, 'skip', '--lsn', other!, '--reason', 'a mistake')
  expect(wrong.code).toBe(2)
  expect(wrong.stderr).toContain('FLW-340')
  expect(wrong.stderr).toContain(lsn)
  expect(await query(f.downstream, 'SELECT * FROM follower.skip')).toEqual([])

  const right = await command(f, 'skip', '--lsn', lsn, '--reason', 'agreed')
  expect(right).toMatchObject({ code: 0, stdout: expect.stringContaining('is skipped now') })
  await f.settle()
  expect(await query(f.downstream, 'SELECT * FROM t ORDER BY a')).toEqual([
    { a: '0', b: 'before' },
    { a: '1', b: 'in the way' },
    { a: '3', b: 'after' },
  ])
  expect(await query(f.downstream, 'SELECT resolution FROM follower.incident')).toEqual([
    { resolution: 'skipped' },
  ])
  expect(
    await query(
      f.downstream,
      'SELECT reason, lsn::text, changes, asked_by = session_user AS by FROM follower.skip WHERE skipped_at IS NOT NULL',
    ),
  ).toEqual([{ reason: 'agreed', lsn, changes: '2', by: 't' }])

  // Once more: what a person mends goes on by a word, without a new process.
  await script(f.downstream, `INSERT INTO t VALUES (10, 'in the way')`)
  await script(f.upstream, `INSERT INTO t VALUES (10, 'up')`)
  await waitUntil(async () => log(f.follower).filter(({ msg }) => msg.startsWith('halted: ')).length === 2)
  await waitUntil(async () => (await value(f.downstream, 'SELECT count(*) FROM follower.incident')) === '2')
  await script(f.downstream, 'DELETE FROM t WHERE a = 10')
  expect(await command(f, 'retry')).toMatchObject({ code: 0, stdout: expect.stringContaining('now') })
  await f.settle()
  expect(await value(f.downstream, 'SELECT b FROM t WHERE a = 10')).toBe('up')
  await waitUntil(
    async () =>
      (await value(f.downstream, 'SELECT resolution FROM follower.incident ORDER BY id DESC LIMIT 1')) ===
      'applied',
  )
  expect(await f.stop()).toBe(0)
})

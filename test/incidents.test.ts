import { expect, it } from 'vitest'
import { log } from './support/failure.ts'
import { type Following, follow } from './support/follow.ts'
import { followerCommand } from './support/follower.ts'
import { query, script, value } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

/** `follower …` about the follow, with only the downstream. */
function command(f: Following, ...args: string[]) {
  return followerCommand([...args, '--name', f.name, '--downstream', f.downstream])
}

it('a halted follow is shown, refuses a wrong LSN, skips exactly the one transaction, and goes on', async () => {
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

  const status = await followerCommand(['status', '--json', ...f.args.slice(1, 5), '--name', f.name])
  expect(status.code).toBe(8)
  const shown = JSON.parse(status.stdout)
  expect(shown).toMatchObject({
    state: 'halted',
    incident: {
      code: 'FLW-310',
      sqlstate: '23505',
      relation: 'public.t',
      key: '(a)=(1)',
      row: null,
      resolvedAt: null,
    },
    skips: [],
  })
  expect(status.stdout).not.toContain('the secret')

  const { lsn } = shown.incident
  const other = await value(f.upstream, 'SELECT pg_current_wal_lsn()')
  const wrong = await command(f, 'skip', '--lsn', other!, '--reason', 'a mistake')
  expect(wrong.code).toBe(2)
  expect(wrong.stderr).toContain('FLW-340')
  expect(wrong.stderr).toContain(lsn)
  expect(await query(f.downstream, 'SELECT * FROM follower.skip')).toEqual([])
  expect((await command(f, 'skip', '--lsn', lsn, '--reason', ' ')).code).toBe(2)

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
  expect(await command(f, 'retry')).toMatchObject({ stdout: expect.stringContaining('nothing has stopped') })
  expect(await f.stop()).toBe(0)
})

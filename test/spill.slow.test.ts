import { mkdirSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { compareDatabases } from './support/comparator.ts'
import { failure, log } from './support/failure.ts'
import { type Following, follow } from './support/follow.ts'
import { directory, table, text, unnamed } from './support/spill.ts'
import { query, script, value } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

/** What is applied while it arrives is not kept: see test/arriving-again.slow.test.ts. */
const whole = { FOLLOWER_ARRIVING_FROM: '1e15' }

async function equal(f: Following): Promise<void> {
  expect(await compareDatabases(f.upstream, f.downstream)).toEqual([])
}

test('a conflict in it is met step by step, a kill in it starts it over, and nothing is left on the disk', {
  timeout: 120_000,
}, async () => {
  const spill = directory()
  const args = [
    '--spill-directory',
    spill,
    '--on-conflict',
    'insert_exists=skip',
    '--web-listen',
    '127.0.0.1:0',
  ]
  const f = await follow({
    before: [table],
    args,
    env: { ...whole, FOLLOWER_FAILPOINT: 'apply.before-commit:kill9:1' },
  })
  await script(f.downstream, "INSERT INTO doc VALUES (300, 'in the way')")
  await script(
    f.upstream,
    `INSERT INTO doc SELECT i, ${text('i', 128_000)} FROM generate_series(1, 500) i; INSERT INTO doc VALUES (0, 'behind it')`,
  )
  expect(await f.follower.exit).toMatchObject({ signal: 'SIGKILL' })
  expect(readdirSync(spill)).toEqual([])
  expect(await value(f.downstream, 'SELECT count(*) FROM doc')).toBe('1')

  f.start(args, whole)
  await f.settle()
  expect(log(f.follower).filter((line) => line.conflict === 'insert_exists')).toHaveLength(1)
  const rows = 'SELECT count(*), sum(hashtext(body)) FROM doc WHERE id <> 300'
  expect(await query(f.downstream, rows)).toEqual(await query(f.upstream, rows))
  expect(await value(f.downstream, 'SELECT body FROM doc WHERE id = 300')).toBe('in the way')
  const url = log(f.follower).find((line) => line.web)?.web as string
  await waitUntil(async () =>
    /^follower_spilled_bytes 0$/m.test(await (await fetch(`${url}/metrics`)).text()),
  )
  expect(unnamed(f.follower.pid)).toEqual([])
})

test('a limit for it stops the follow by name; without one it goes on', { timeout: 120_000 }, async () => {
  const f = await follow({
    before: [table],
    args: ['--spill-directory', directory(), '--spill-limit', '10MB'],
    env: whole,
  })
  await script(f.upstream, `INSERT INTO doc SELECT i, ${text('i', 128_000)} FROM generate_series(1, 400) i`)
  const stopped = await failure(f.follower, 8)
  expect(stopped).toMatchObject({ code: 'FLW-335', fix: expect.stringContaining('--spill-limit') })
  expect(await value(f.downstream, 'SELECT count(*) FROM doc')).toBe('0')
  f.start(['--spill-directory', directory()], whole)
  await f.settle()
  await equal(f)
})

test('without a place for it the follow says so and tries again until there is one', {
  timeout: 120_000,
}, async () => {
  const spill = path.join(directory(), 'not yet')
  const f = await follow({ before: [table], args: ['--spill-directory', spill], env: whole })
  expect(f.follower.output).toContain('no room on disk for large transactions')
  await script(f.upstream, `INSERT INTO doc SELECT i, ${text('i', 128_000)} FROM generate_series(1, 400) i`)
  await f.follower.until(() => log(f.follower).some((line) => line.err?.code === 'FLW-334'), 'the error')
  mkdirSync(spill)
  await f.settle()
  await equal(f)
})

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { compareDatabases } from './support/comparator.ts'
import { log } from './support/failure.ts'
import { follow } from './support/follow.ts'
import { directory, table, text } from './support/spill.ts'
import { client, script, statements } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

const MB = 1024 * 1024

test('where the downstream waits, no more is held than --memory-limit; then all of it is applied', {
  timeout: 180_000,
}, async () => {
  const f = await follow({
    before: [table],
    args: [
      ...['--memory-limit', '16MB', '--spill-directory', directory()],
      ...['--web-listen', '127.0.0.1:0', '--backlog', 'stream'],
    ],
  })
  await f.settle()
  const url = log(f.follower).find((line) => line.web)?.web as string
  const metric = async (name: string): Promise<number> => {
    const found = new RegExp(`^follower_${name} (\\S+)$`, 'm').exec(
      await (await fetch(`${url}/metrics`)).text(),
    )
    return Number(found?.[1])
  }
  const resident = (): number =>
    Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${f.follower.pid}/status`, 'utf8'))?.[1]) / 1024
  expect(await metric('buffer_limit_bytes')).toBe(2 * MB)
  const before = resident()

  const locker = await client(f.downstream)
  await locker.query('BEGIN')
  await locker.query('LOCK TABLE doc')
  // Small ones, and one of 60 MB, a quarter of the limit of which stays in memory.
  await statements(
    f.upstream,
    Array.from(
      { length: 600 },
      (_, i) => `INSERT INTO doc SELECT i, ${text('i', 100_000)} FROM generate_series(${i + 1}, ${i + 1}) i`,
    ),
  )
  await script(
    f.upstream,
    `INSERT INTO doc SELECT i, ${text('i', 100_000)} FROM generate_series(1001, 1600) i`,
  )
  const held: number[] = []
  await waitUntil(async () => {
    held.push(await metric('buffer_bytes'))
    return held.length > 20 && held.at(-1)! > 1.5 * MB && held.at(-1) === held.at(-10)
  })
  // The one that reaches the limit is taken whole.
  expect(Math.max(...held)).toBeLessThan(4 * MB)
  expect(resident() - before).toBeLessThan(64)
  await locker.query('COMMIT')
  await locker.end()
  await f.settle()
  expect(await compareDatabases(f.upstream, f.downstream)).toEqual([])
  expect(resident()).toBeLessThan(256)
})

import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { failure } from './support/failure.ts'
import { type Following, follow } from './support/follow.ts'
import { available, type Pair } from './support/servers.ts'
import { script, value } from './support/sql.ts'

const MB = 1024 * 1024

/** Most that the process has held so far, in bytes: resident, with buffers. */
function peak(f: Following): number {
  const status = readFileSync(`/proc/${f.follower.pid}/status`, 'utf8')
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) * 1024
}

it('carries 300 MB of bytea and 700 MB of text in one field', { timeout: 300_000 }, async () => {
  const f = await follow({
    before: ['CREATE TABLE t(a int PRIMARY KEY, n int, b bytea, c text)'],
  })
  const check =
    'SELECT a, n, octet_length(b), md5(b), octet_length(c) AS length, md5(c) AS md5_text FROM t ORDER BY a'
  await script(f.upstream, `INSERT INTO t SELECT 1, 0, decode(repeat('00ff5c27', ${75 * MB}), 'hex')`)
  await script(f.upstream, `INSERT INTO t SELECT 2, 0, NULL, repeat('ä"\\', ${175 * MB})`)
  await f.follower.until(
    async () => (await value(f.downstream, 'SELECT count(*) FROM t')) === '2',
    'both rows',
    240_000,
  )
  await f.run('UPDATE t SET n = n + 1; UPDATE t SET a = a + 10')
  const [up, down] = await f.both(check)
  expect(down).toBe(up)
  expect(JSON.parse(down)).toMatchObject([{ a: '11' }, { a: '12' }])
  expect(down).toContain(String(300 * MB))
  expect(down).toContain(String(700 * MB))
  console.info(`300 MB of bytea, 700 MB of text: ${Math.round(peak(f) / MB)} MB resident at most`)
})

const asText = ['--binary', 'off']
const tooLarge: readonly [what: string, pair: Pair, values: string, args: readonly string[]][] = [
  ['field', '18', 'v, NULL', asText],
  ['row', '15', 'v, v', asText],
  ['row in binary', '18', 'v, v', []],
]

it.each(tooLarge.filter(([, pair]) => available(pair)))(
  'stops by name at a %s that an upstream of %s cannot send',
  {
    timeout: 300_000,
  },
  async (_, pair, values, args) => {
    const f = await follow({ pair, args, before: ['CREATE TABLE t(a int PRIMARY KEY, b bytea, c bytea)'] })
    await script(
      f.upstream,
      `CREATE TEMP TABLE x AS SELECT v || v AS v FROM (SELECT decode(repeat('00ff5c27', ${75 * MB}), 'hex') AS v) y;
       INSERT INTO t SELECT 1, ${values} FROM x`,
    )
    const stopped = await failure(f.follower, 8)
    expect(stopped).toMatchObject({ code: 'FLW-333', context: { lsn: expect.stringMatching(/\//) } })
    expect(await value(f.downstream, 'SELECT count(*) FROM t')).toBe('0')
  },
)

it('carries in binary a row that is too large as text', { timeout: 300_000 }, async () => {
  const f = await follow({ before: ['CREATE TABLE t(a int PRIMARY KEY, b bytea, c bytea)'] })
  await script(
    f.upstream,
    `INSERT INTO t SELECT 1, v, v FROM (SELECT decode(repeat('00ff5c27', ${75 * MB}), 'hex') AS v) x`,
  )
  await f.follower.until(
    async () => (await value(f.downstream, 'SELECT count(*) FROM t')) === '1',
    'the row',
    240_000,
  )
  const [up, down] = await f.both('SELECT a, md5(b) AS b, md5(c) AS c FROM t')
  expect(down).toBe(up)
})

it('holds of a large transaction no more than a small part', { timeout: 900_000 }, async () => {
  const rows = Number(process.env.FOLLOWER_ROWS ?? 3_000_000)
  const f = await follow({ before: ['CREATE TABLE t(a int PRIMARY KEY, b int, c text)'] })
  await f.run('INSERT INTO t SELECT -g, g, $$a row$$ FROM generate_series(1, 1000) g')
  const before = peak(f)
  const began = performance.now()
  await script(f.upstream, `INSERT INTO t SELECT g, g, 'row ' || g FROM generate_series(1, ${rows}) g`)
  await f.follower.until(
    async () => (await value(f.downstream, `SELECT 1 FROM t WHERE a = ${rows}`)) === '1',
    'the last row',
    800_000,
  )
  const megabytes = Math.round((peak(f) - before) / MB)
  const seconds = Math.round((performance.now() - began) / 1000)
  console.info(
    `${rows} rows in ${seconds} s: ${megabytes} MB more than without, ${Math.round(peak(f) / MB)} in all`,
  )
  const [up, down] = await f.both('SELECT count(*), sum(a), sum(b), sum(hashtext(c)) FROM t')
  expect(down).toBe(up)
  // Each takes about 50 bytes of the stream.
  expect(megabytes).toBeLessThan(150)
})

import { createHash } from 'node:crypto'
import { serialize } from 'pg-protocol'
import { expect, test } from 'vitest'
import { blockSize, giveBlock, takeBlock } from '../src/postgres/blocks.ts'
import { connect } from '../src/postgres/connect.ts'
import { parseConninfo } from '../src/postgres/conninfo.ts'
import { socketOf, takeSocket } from '../src/postgres/socket.ts'
import { databases } from './support/servers.ts'

test('a block comes back to whoever takes one of its size next, and to nobody else', () => {
  const block = takeBlock(100_000)
  expect(block.length).toBe(2 * blockSize)
  const other = takeBlock(100_000)
  expect(other.buffer).not.toBe(block.buffer)
  giveBlock(block.subarray(5, 10))
  expect(takeBlock(blockSize).buffer).not.toBe(block.buffer)
  expect(takeBlock(2 * blockSize).buffer).toBe(block.buffer)
  expect(takeBlock(2 * blockSize).buffer).not.toBe(block.buffer)
})

test('memory of others is not taken, nor what is too large to be kept', () => {
  const foreign = Buffer.allocUnsafeSlow(blockSize)
  giveBlock(foreign)
  const large = takeBlock(5_000_000)
  expect(large.length).toBe(5_000_000)
  giveBlock(large)
  const taken = [takeBlock(blockSize), takeBlock(5_000_000)]
  for (const each of taken) expect([foreign.buffer, large.buffer]).not.toContain(each.buffer)
})

test('a socket that reads into one buffer serves queries as any other, and whoever takes it', async () => {
  const { upstream, name } = await databases()
  const client = await connect({
    ...{ end: 'upstream', conninfo: parseConninfo(upstream, {}), applicationName: name, bulk: true },
  })
  try {
    // Messages of many reads, and many messages of one.
    for (const [rows, length] of [
      [3, 3_000_000],
      [20_000, 50],
    ] as const) {
      const result = await client.query<{ i: string; t: string }>(
        `SELECT i, repeat(md5(i::text), ${length} / 32) AS t FROM generate_series(1, ${rows}) i`,
      )
      const expected = await client.query<{ md5: string }>(
        `SELECT md5(string_agg(repeat(md5(i::text), ${length} / 32), '' ORDER BY i)) FROM generate_series(1, ${rows}) i`,
      )
      const hash = createHash('md5')
      for (const { t } of result.rows) hash.update(t)
      expect(hash.digest('hex')).toBe(expected.rows[0]?.md5)
    }
    const chunks: string[] = []
    const seen = new Set<ArrayBufferLike>()
    const giveBack = takeSocket(client, (chunk) => {
      seen.add(chunk.buffer)
      chunks.push(chunk.toString('latin1'))
    })
    socketOf(client).write(serialize.query('SELECT generate_series(1, 9)'))
    while (!chunks.join('').endsWith('Z\0\0\0\x05I')) await new Promise((resolve) => setTimeout(resolve, 10))
    giveBack()
    expect(seen.size).toBe(1)
    expect((await client.query<{ n: string }>('SELECT 7 AS n')).rows).toEqual([{ n: '7' }])
  } finally {
    await client.end()
  }
})

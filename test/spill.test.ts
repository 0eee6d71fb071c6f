import { readdirSync } from 'node:fs'
import { expect, test } from 'vitest'
import { Assembler } from '../src/transaction/assembler.ts'
import { SpillFile } from '../src/transaction/spill.ts'
import { cleanUp } from './support/cleanup.ts'
import { compareDatabases } from './support/comparator.ts'
import { follow } from './support/follow.ts'
import { available, type Pair } from './support/servers.ts'
import { directory, table, text, unnamed } from './support/spill.ts'
import { script } from './support/sql.ts'

const plugins: readonly (readonly [Pair, string])[] =
  process.env.FOLLOWER_SLOW === '1'
    ? [
        ['18', 'pgoutput'],
        ['15-18', 'wal2json'],
      ]
    : [['18', 'pgoutput']]

test.each(plugins.filter(([pair]) => available(pair)))(
  'from %s by %s: a transaction larger than the memory for it, with schema changes and savepoints in it',
  { timeout: 120_000 },
  async (pair, plugin) => {
    const spill = directory()
    const f = await follow({
      pair,
      before: [table],
      args: ['--spill-directory', spill, '--plugin', plugin],
    })
    let seen = 0
    const looking = setInterval(() => {
      seen = Math.max(seen, unnamed(f.follower.pid).length)
    }, 20)
    cleanUp(() => clearInterval(looking))
    await script(
      f.upstream,
      `BEGIN;
       INSERT INTO doc SELECT i, ${text('i', 128_000)} FROM generate_series(1, 200) i;
       SAVEPOINT a; INSERT INTO doc SELECT i, 'gone' FROM generate_series(1001, 1100) i; ROLLBACK TO a;
       ALTER TABLE doc ADD more text DEFAULT 'x';
       INSERT INTO doc SELECT i, ${text('i', 128_000)}, 1, 'y' FROM generate_series(201, 400) i;
       UPDATE doc SET n = n + 1 WHERE id % 7 = 0; UPDATE doc SET id = id + 10000 WHERE id % 50 = 0;
       CREATE TABLE copy AS SELECT id, body FROM doc WHERE id < 100; ALTER TABLE copy ADD PRIMARY KEY (id);
       DELETE FROM doc WHERE id % 11 = 0;
       COMMIT`,
    )
    await f.settle()
    clearInterval(looking)
    expect(seen).toBe(1)
    expect(await compareDatabases(f.upstream, f.downstream)).toEqual([])
    expect(unnamed(f.follower.pid)).toEqual([])
    expect(readdirSync(spill)).toEqual([])
  },
)

test('what is counted on disk comes to nothing in the end, also where the limit was met', () => {
  let bytes = 0
  const file = new SpillFile({
    directory: directory(),
    limit: 150,
    unwritten: 100,
    pressure: () => {},
    changed: (more) => {
      bytes += more
    },
    failed: (error) => {
      throw error
    },
  })
  const chunk = Buffer.from('x'.repeat(100))
  const stored = file.store(chunk)
  expect(() => file.store(chunk)).toThrow('more than the 150 bytes')
  expect([bytes, stored.load().toString()]).toEqual([100, chunk.toString()])
  file.close()
  expect(bytes).toBe(0)
})

test.each([4, 32])('of tiny rows no more is held in memory than of large ones: %i MiB', (mebibytes) => {
  const memory = mebibytes * 1024 * 1024
  const held: number[] = []
  for (const length of [12, 100_000]) {
    const assembler = new Assembler(0n, {
      transaction: (transaction) => {
        const { chunks, memory } = transaction
        const bytes = chunks.reduce((sum, chunk) => sum + ('load' in chunk ? 0 : chunk.length), 0)
        held.push(Math.max(bytes, memory))
        transaction.release?.()
      },
      passed: () => {},
      forged: () => {},
      memory,
      spill: () =>
        new SpillFile({
          ...{
            directory: directory(),
            limit: 1e12,
            unwritten: 2 ** 23,
            pressure: () => {},
            changed: () => {},
          },
          failed: (error) => {
            throw error
          },
        }),
    })
    assembler.relation({ oid: 1, schema: 'public', name: 't', identity: 'd', columns: [] })
    assembler.begin(1n, 0n, 1)
    const row = Buffer.alloc(length, 'I')
    for (let bytes = 0; bytes < 80_000_000; bytes += length + 8) assembler.row(1, row, 0, length)
    assembler.commit(1n, 2n, 0n)
  }
  for (const bytes of held) expect(bytes).toBeLessThan(memory + 2 * 1024 * 1024)
})

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ChangeWriter } from '../src/model/change-writer.ts'
import { ChangeCursor, separate, type Transaction, transactionsIn } from '../src/model/changes.ts'
import { ddlPrefix } from '../src/model/ddl-message.ts'
import { Assembler } from '../src/transaction/assembler.ts'
import { TransactionQueue } from '../src/transaction/queue.ts'

/** Row messages: their type, the table's OID, and something. */
interface Row {
  readonly type: 'I' | 'U' | 'D'
  readonly oid: number
  readonly bytes: number
}

const row = fc.record({
  type: fc.constantFrom<Row['type']>('I', 'U', 'D'),
  oid: fc.constantFrom(1, 2),
  bytes: fc.oneof({ weight: 20, arbitrary: fc.nat(40) }, fc.constantFrom(60_000, 300_000)),
})
/** Each mostly does what the one before did; some have a schema change, and nothing else now and then. */
const histories = fc
  .array(
    fc.record({
      rows: fc.array(row, { maxLength: 4 }),
      ddlAt: fc.nat(60),
      times: fc.integer({ min: 1, max: 20 }),
    }),
    { minLength: 1, maxLength: 20 },
  )
  .map((runs) =>
    runs.flatMap(({ rows, ddlAt, times }) =>
      Array.from({ length: times }, (_, i) => ({ rows, ddl: i === ddlAt || rows.length === 0 })),
    ),
  )

function message({ type, oid, bytes }: Row): Buffer {
  const buffer = Buffer.alloc(5 + bytes, `${type}${bytes}`)
  buffer.write(type, 0)
  buffer.writeUInt32BE(oid, 1)
  return buffer
}

/** What arrives, pushed into a queue of each kind. */
function arrive(
  history: { rows: Row[]; ddl: boolean }[],
): [bundled: TransactionQueue, single: TransactionQueue] {
  const queues: [TransactionQueue, TransactionQueue] = [new TransactionQueue(), new TransactionQueue(false)]
  const assembler = new Assembler(0n, {
    transaction: (transaction) => {
      for (const queue of queues) queue.push(transaction)
    },
    passed: () => {},
    forged: () => {},
    memory: Number.POSITIVE_INFINITY,
    spill: () => {
      throw new Error('no spill')
    },
  })
  for (const oid of [1, 2])
    assembler.relation({ oid, schema: 'public', name: `t${oid}`, identity: 'd', columns: [] })
  for (const [i, { rows, ddl }] of history.entries()) {
    const at = BigInt(i + 1) * 100n
    assembler.begin(at, BigInt(i), i + 7)
    for (const each of rows) {
      const bytes = message(each)
      assembler.row(each.oid, bytes, 0, bytes.length)
    }
    if (ddl) assembler.message(true, at, ddlPrefix, Buffer.from('x'))
    assembler.commit(at, at + 10n, -BigInt(i))
  }
  return queues
}

function rowsOf(transaction: Transaction): string[] {
  const cursor = new ChangeCursor()
  const rows: string[] = []
  cursor.seek(transaction)
  while (cursor.advance())
    rows.push(
      `${cursor.index} ${cursor.buffer.toString('latin1', cursor.offset, cursor.offset + cursor.length)}`,
    )
  return rows
}

function told({ chunks, relations, release, ...rest }: Transaction): unknown {
  const { xid, commitLsn, endLsn, commitTime, ddl, changes, inserts, updates, deletes, truncates, bytes } =
    rest
  const numbers = {
    xid,
    commitLsn,
    endLsn,
    commitTime,
    ddl,
    changes,
    inserts,
    updates,
    deletes,
    truncates,
    bytes,
  }
  return {
    ...numbers,
    relations: [...relations].map(([{ name }, done]) => [name, done]),
    rows: rowsOf({ ...rest, chunks, relations }),
  }
}

function drain(queue: TransactionQueue, most: number): Transaction[] {
  const all: Transaction[] = []
  for (let batch = queue.take(1e9, most); batch.length > 0; batch = queue.take(1e9, most)) all.push(...batch)
  return all
}

test('small transactions are held together, and each is the same by itself', () => {
  let bundles = 0
  fc.assert(
    fc.property(histories, fc.integer({ min: 1, max: 100 }), (history, most) => {
      const [bundled, single] = arrive(history)
      expect([bundled.transactions, single.transactions]).toEqual([history.length, history.length])
      const counted = bundled.memory
      const held = drain(bundled, most)
      const stands = held.reduce(
        (sum, { start, end, chunks }) => sum + (chunks.length > 1 ? 0 : end - start),
        0,
      )
      expect(counted).toBeGreaterThanOrEqual(stands)
      bundles += held.filter(({ count }) => (count ?? 1) > 1).length
      const each = drain(single, most)
      expect(transactionsIn(held)).toBe(history.length)
      expect(held.flatMap(rowsOf)).toEqual(each.flatMap(rowsOf))
      expect(separate(held).map(told)).toEqual(each.map(told))
      expect([bundled.bytes, bundled.memory, bundled.transactions]).toEqual([0, 0, 0])
    }),
  )
  expect(bundles).toBeGreaterThan(100)
})

test('what has no room for its mark stays by itself', () => {
  const writer = new ChangeWriter(64)
  writer.append(0, Buffer.alloc(40), 0, 40)
  expect(writer.mark({ xid: 1, commitLsn: 1n, endLsn: 1n, commitTime: 1n })).toBe(false)
  expect(writer.offset).toBe(48)
})

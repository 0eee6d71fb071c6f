import { describe, expect, test } from 'vitest'
import { StreamedDecoder } from '../src/decode/streamed.ts'
import { ChangeCursor, RowChange, type Transaction } from '../src/model/changes.ts'
import { ddlPrefix } from '../src/model/ddl-message.ts'
import { Assembler } from '../src/transaction/assembler.ts'
import type { OpenTransaction } from '../src/transaction/open.ts'
import { SpillFile } from '../src/transaction/spill.ts'
import { random } from './support/random.ts'
import { directory } from './support/spill.ts'

const int32 = (n: number) => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(n)
  return bytes
}
const int64 = (n: bigint) => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64BE(n)
  return bytes
}
const text = (value: string) => Buffer.from(`${value}\0`)
const bytes = (...parts: (string | Buffer | number)[]) =>
  Buffer.concat(
    parts.map((part) =>
      typeof part === 'number'
        ? Buffer.of(part)
        : typeof part === 'string'
          ? Buffer.from(part, 'latin1')
          : part,
    ),
  )

const tuple = (...values: string[]) =>
  bytes(0, values.length, ...values.map((value) => bytes('t', int32(Buffer.byteLength(value)), value)))
const columns = (names: readonly string[]) =>
  bytes(0, names.length, ...names.map((name, i) => bytes(i === 0 ? 1 : 0, text(name), int32(25), int32(0))))

/** Messages of version 2; `xid` 0: outside of blocks. */
const xidOf = (xid: number) => (xid === 0 ? bytes() : int32(xid))
const message = {
  start: (xid: number) => bytes('S', int32(xid), 1),
  stop: () => bytes('E'),
  commit: (xid: number, end: bigint) => bytes('c', int32(xid), 0, int64(end - 1n), int64(end), int64(7n)),
  abort: (xid: number, subxid: number) => bytes('A', int32(xid), int32(subxid)),
  relation: (xid: number, oid: number, name: string, ...names: string[]) =>
    bytes('R', xidOf(xid), int32(oid), text('public'), text(name), 'd', columns(names)),
  insert: (xid: number, oid: number, ...values: string[]) =>
    bytes('I', xidOf(xid), int32(oid), 'N', tuple(...values)),
  ddl: (xid: number, content: string) =>
    bytes('M', xidOf(xid), 1, int64(5n), text(ddlPrefix), int32(content.length), content),
  begin: (end: bigint, xid: number) => bytes('B', int64(end - 1n), int64(7n), int32(xid)),
  end: (end: bigint) => bytes('C', 0, int64(end - 1n), int64(end), int64(7n)),
}

/** Decodes what it is given, and tells what came of it. */
class Stream {
  readonly transactions: Transaction[] = []
  readonly passed: bigint[] = []
  readonly grown: OpenTransaction[] = []
  unclear = 0
  dropped = 0
  spilled = 0
  readonly assembler: Assembler
  private readonly decoder: StreamedDecoder

  constructor(position = 0n) {
    this.assembler = new Assembler(position, {
      transaction: (transaction) => this.transactions.push(transaction),
      passed: (lsn) => this.passed.push(lsn),
      grows: (transaction) => this.grown.push(transaction),
      unclear: () => this.unclear++,
      dropped: () => this.dropped++,
      forged: () => {},
      memory: 2 ** 25,
      spill: () =>
        new SpillFile({
          ...{ directory: directory(), limit: 1e12, unwritten: 2 ** 23, pressure: () => {} },
          changed: (more) => {
            this.spilled += more
          },
          failed: (error) => {
            throw error
          },
        }),
    })
    this.decoder = new StreamedDecoder(this.assembler)
  }

  send(...messages: Buffer[]): this {
    // In the middle of others, as from a socket.
    for (const each of messages) this.decoder.decode(bytes('xyz', each, 'xyz'), 3, each.length)
    return this
  }

  /** Rows by transaction: `table:values`, or the text of a DDL message. */
  get rows(): string[][] {
    return this.transactions.map((transaction) => this.rowsOf(transaction))
  }

  rowsOf(transaction: Transaction): string[] {
    const cursor = new ChangeCursor()
    const change = new RowChange()
    const rows: string[] = []
    cursor.seek(transaction)
    while (cursor.advance()) {
      if (cursor.type === 0x4d) {
        const side = transaction.sides[cursor.index]
        rows.push(side?.kind === 'ddl' ? side.content.toString() : '')
        continue
      }
      change.read(cursor.buffer, cursor.offset)
      const relation = this.assembler.relations[cursor.index]!
      const values = relation.columns.map(({ name }, i) => `${name}=${change.newTuple.text(i)}`)
      rows.push(`${relation.name}:${values.join(',')}`)
    }
    return rows
  }
}

const { start, stop, commit, abort, relation, insert, ddl, begin, end } = message

describe('transactions that come before their commit', () => {
  test('come interleaved, and whole at their commits, in the order of these', () => {
    const s = new Stream()
    s.send(start(10), relation(10, 1, 't', 'a'), insert(10, 1, '1'), stop())
    s.send(start(20), relation(20, 1, 't', 'a'), insert(20, 1, '2'), stop())
    expect(s.assembler.inTransaction).toBe(false)
    s.send(begin(50n, 30), relation(0, 1, 't', 'a'), insert(0, 1, '3'), end(50n))
    s.send(start(10), insert(10, 1, '4'), stop(), commit(20, 60n))
    s.send(start(10), insert(10, 1, '5'), stop(), commit(10, 70n))
    expect(s.rows).toEqual([['t:a=3'], ['t:a=2'], ['t:a=1', 't:a=4', 't:a=5']])
    expect(
      s.transactions.map(({ xid, endLsn, commitLsn, changes }) => [xid, endLsn, commitLsn, changes]),
    ).toEqual([
      [30, 50n, 49n, 1],
      [20, 60n, 59n, 1],
      [10, 70n, 69n, 3],
    ])
    // One definition, one object.
    expect(s.assembler.relations).toHaveLength(1)
  })

  test('are forgotten where they are aborted, and are nothing where nothing of them is followed', () => {
    const s = new Stream(100n)
    s.send(start(10), relation(10, 1, 't', 'a'), insert(10, 1, '1'), stop(), abort(10, 10), abort(99, 99))
    s.send(start(20), stop(), commit(20, 120n))
    s.send(start(30), relation(30, 1, 't', 'a'), insert(30, 1, '1'), stop(), commit(30, 90n))
    expect([s.rows, s.passed]).toEqual([[], [120n, 90n]])
    expect(() => s.send(commit(10, 130n))).toThrow('not known')
  })

  test('lose what aborted subtransactions did, and nothing else', () => {
    const s = new Stream()
    s.send(
      start(10),
      relation(10, 1, 't', 'a'),
      insert(10, 1, '1'),
      insert(11, 1, '2'),
      insert(12, 1, '3'),
      stop(),
    )
    s.send(abort(10, 12), start(10), insert(11, 1, '4'), insert(13, 1, '5'), insert(11, 1, '6'), stop())
    s.send(start(10), insert(10, 1, '7'), insert(14, 1, '8'), insert(15, 1, '9'), insert(14, 1, '10'), stop())
    s.send(
      abort(10, 15),
      abort(10, 14),
      abort(10, 77),
      start(10),
      insert(16, 1, '11'),
      stop(),
      commit(10, 50n),
    )
    expect(s.rows).toEqual([['t:a=1', 't:a=2', 't:a=4', 't:a=5', 't:a=6', 't:a=7', 't:a=11']])
    expect(s.transactions[0]).toMatchObject({ changes: 7, inserts: 7 })
    expect(s.unclear).toBe(0)
  })

  test('have definitions of their own until they are committed', () => {
    const s = new Stream()
    s.send(begin(50n, 5), relation(0, 1, 't', 'a'), insert(0, 1, '1'), end(50n))
    s.send(start(10), relation(10, 1, 't', 'a', 'b'), insert(10, 1, '2', 'x'), stop())
    s.send(begin(60n, 6), insert(0, 1, '3'), end(60n))
    s.send(start(20), relation(20, 2, 'u', 'k'), insert(20, 2, '4'), stop(), commit(10, 70n))
    s.send(begin(80n, 7), insert(0, 1, '5', 'y'), end(80n))
    // What was said after it is newer.
    s.send(begin(90n, 8), relation(0, 2, 'u', 'k', 'l'), insert(0, 2, '6', 'z'), end(90n), commit(20, 100n))
    s.send(begin(110n, 9), insert(0, 2, '7', 'z'), end(110n))
    expect(s.rows.flat()).toEqual([
      ...['t:a=1', 't:a=3', 't:a=2,b=x', 't:a=5,b=y', 'u:k=6,l=z', 'u:k=4', 'u:k=7,l=z'],
    ])
  })

  test('have their schema changes in their place, also where those of a subtransaction are taken back', () => {
    const s = new Stream()
    s.send(start(10), relation(10, 1, 't', 'a'), ddl(10, 'one'), insert(10, 1, '1'), insert(11, 1, '2'))
    s.send(ddl(10, 'two'), stop(), abort(10, 11), start(10), ddl(10, 'three'), insert(12, 1, '3'), stop())
    s.send(commit(10, 50n))
    expect(s.rows).toEqual([['one', 't:a=1', 'three', 't:a=3']])
    expect([s.unclear, s.transactions[0]?.ddl]).toEqual([0, true])
  })

  test.each([
    ['which of them a message belongs to', [insert(11, 1, '2'), stop(), abort(10, 11)]],
    ['whether one that has no rows had the message', [stop(), abort(10, 11)]],
  ])('are asked for whole where nobody can tell %s', (_, messages) => {
    const s = new Stream()
    s.send(start(10), relation(10, 1, 't', 'a'), insert(10, 1, '1'), ddl(10, 'one'), ...messages)
    expect(s.unclear).toBe(1)
  })

  test('grow only where no other one is likely to be committed first', () => {
    const many = (xid: number, from: number) =>
      Array.from({ length: 3000 }, (_, i) => insert(xid, 1, `${from + i}`.padEnd(2000, 'x')))
    const s = new Stream()
    s.send(start(10), relation(10, 1, 't', 'a'), ...many(10, 1), stop())
    expect(new Set(s.grown.map(({ xid }) => xid))).toEqual(new Set([10]))
    s.grown.length = 0
    s.send(start(20), relation(20, 1, 't', 'a'), ...many(20, 1), stop(), start(10), ...many(10, 5000), stop())
    expect(s.grown).toEqual([])
    s.send(commit(10, 50n), start(20), ...many(20, 5000), stop(), commit(20, 60n))
    expect(s.grown).toEqual([])
    expect(s.rows.map((rows) => rows.length)).toEqual([6000, 6000])
  })

  test('say at once that a schema change, or an abort, ends what is applied ahead', () => {
    const s = new Stream()
    s.send(start(10), relation(10, 1, 't', 'a'), insert(10, 1, '1'))
    expect(s.dropped).toBe(0)
    s.send(ddl(10, 'one'))
    expect(s.dropped).toBe(1)
    s.send(stop(), abort(10, 10))
    expect(s.dropped).toBe(2)
  })

  test('are kept on disk beyond the memory for all of them, aborted parts and all', {
    timeout: 60_000,
  }, () => {
    const chance = random(20261122)
    const s = new Stream()
    const xids = [1000, 2000, 3000]
    const expected = new Map<number, { rows: string[]; live: { subxid: number; at: number }[] }>()
    for (const xid of xids) {
      expected.set(xid, { rows: [], live: [] })
      s.send(start(xid), relation(xid, 1, 't', 'a'), stop())
    }
    for (let i = 0; i < 6000; i++) {
      const xid = xids[chance.below(3)]!
      const { rows, live } = expected.get(xid)!
      const choice = chance.below(10)
      if (chance.below(20) === 0 && live.length > 0) {
        // ROLLBACK TO: it, and all within it, the innermost last.
        const from = Math.max(0, live.length - 1 - chance.below(3))
        const gone = live.splice(from)
        rows.length = gone[0]!.at
        s.send(...gone.map(({ subxid }) => abort(xid, subxid)))
        continue
      }
      if (choice < 3) live.push({ subxid: xid + 1 + i, at: rows.length })
      const subxid = live.at(-1)?.subxid ?? xid
      s.send(start(xid))
      for (let k = 0; k < 10; k++) {
        const value = `${i}-${k}`.padEnd(2500, '.')
        rows.push(`t:a=${value}`)
        s.send(insert(subxid, 1, value))
      }
      s.send(stop())
    }
    expect(s.spilled).toBeGreaterThan(1_000_000)
    for (const [i, xid] of xids.entries()) {
      s.send(commit(xid, BigInt(50 + i)))
      const transaction = s.transactions.at(-1)!
      const { rows } = expected.get(xid)!
      expect(s.rowsOf(transaction)).toEqual(rows)
      expect(transaction.changes).toBe(rows.length)
      transaction.release?.()
    }
    expect(s.spilled).toBe(0)
  })
})

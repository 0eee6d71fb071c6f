import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { backoff } from '../src/follower.ts'
import type { Transaction } from '../src/model/changes.ts'
import { formatLsn, parseLsn } from '../src/model/lsn.ts'
import { Tracker } from '../src/progress/tracker.ts'
import { TransactionQueue } from '../src/transaction/queue.ts'

describe('Tracker', () => {
  it('moves to a position only when nothing received is unapplied (P6)', () => {
    const tracker = new Tracker(100n)
    tracker.received()
    tracker.passed(300n, true)
    expect(tracker.move(0, true)).toBeUndefined()
    tracker.committed(1, 200n)
    expect(tracker.move(0, true)).toEqual({ lsn: 300n })
  })

  it('moves at most ten times a second where somebody waits, else every ten seconds', () => {
    const tracker = new Tracker(100n)
    tracker.passed(200n, false)
    expect(tracker.move(0, false)).toEqual({ lsn: 200n })
    tracker.moved(200n, 0)
    expect(tracker.move(1, true)).toBeUndefined()
    tracker.passed(300n, false)
    expect(tracker.move(40, true)).toEqual({ inMs: 60 })
    expect(tracker.move(40, false)).toEqual({ inMs: 9960 })
    expect(tracker.move(100, true)).toEqual({ lsn: 300n })
    tracker.passed(400n, true)
    expect(tracker.move(100, false)).toEqual({ lsn: 400n })
  })

  it('never goes back, and never offers what is not received, in any history', () => {
    const event = fc.oneof(
      fc.record({ kind: fc.constant('commit' as const) }),
      fc.record({ kind: fc.constant('keepalive' as const), by: fc.integer({ min: 0, max: 5 }) }),
      fc.record({ kind: fc.constant('apply' as const), count: fc.integer({ min: 1, max: 3 }) }),
      fc.record({ kind: fc.constant('move' as const) }),
    )
    fc.assert(
      fc.property(fc.array(event), (events) => {
        const tracker = new Tracker(0n)
        const waiting: bigint[] = []
        let [stream, now] = [0n, 0]
        for (const each of events) {
          const before = tracker.applied
          now += 1000
          if (each.kind === 'commit') {
            stream += 10n
            waiting.push(stream)
            tracker.received()
          } else if (each.kind === 'keepalive') {
            stream += BigInt(each.by)
            tracker.passed(stream, false)
          } else if (each.kind === 'apply') {
            const done = waiting.splice(0, each.count)
            if (done.length > 0) tracker.committed(done.length, done.at(-1)!)
          } else {
            const move = tracker.move(now, true)
            if (move && 'lsn' in move) {
              expect(waiting).toEqual([])
              tracker.moved(move.lsn, now)
            }
          }
          expect(tracker.applied >= before).toBe(true)
          expect(tracker.applied <= stream).toBe(true)
          if (waiting.length > 0) expect(tracker.applied < waiting[0]!).toBe(true)
        }
      }),
    )
  })
})

describe('TransactionQueue', () => {
  const transaction = (bytes: number, ddl = false, changes = 1): Transaction =>
    ({ bytes, ddl, changes }) as Transaction

  it('takes whole transactions up to a size, at least one, and DDL alone', () => {
    const queue = new TransactionQueue()
    const sizes: [number, boolean][] = [
      [10, false],
      [10, false],
      [100, false],
      [5, true],
      [5, true],
      [1, false],
    ]
    for (const [bytes, ddl] of sizes) queue.push(transaction(bytes, ddl))
    const taken: number[][] = []
    for (let batch = queue.take(25, 10); batch.length > 0; batch = queue.take(25, 10))
      taken.push(batch.map(({ bytes }) => bytes))
    expect(taken).toEqual([[10, 10], [100], [5], [5], [1]])
    expect(queue.bytes).toBe(0)
    expect(queue.length).toBe(0)
  })

  it('takes up to a number of changes, however small they are', () => {
    const queue = new TransactionQueue()
    for (const changes of [3, 4, 3, 1, 20, 1]) queue.push(transaction(1, false, changes))
    const taken: number[][] = []
    for (let batch = queue.take(1000, 10); batch.length > 0; batch = queue.take(1000, 10))
      taken.push(batch.map(({ changes }) => changes))
    expect(taken).toEqual([[3, 4, 3], [1], [20], [1]])
  })

  it('measures lag by the batch in hand, until that is applied', () => {
    const queue = new TransactionQueue()
    for (const bytes of [1, 2, 3]) queue.push({ ...transaction(bytes), endLsn: BigInt(bytes * 10) })
    queue.take(3, 10)
    expect(queue.oldest?.bytes).toBe(1)
    queue.done(10n)
    expect(queue.oldest?.bytes).toBe(2)
    queue.done(20n)
    expect(queue.oldest?.bytes).toBe(3)
    queue.take(3, 10)
    queue.done(30n)
    expect(queue.oldest).toBeUndefined()
  })

  it('keeps order and count over many', () => {
    const queue = new TransactionQueue()
    const all = Array.from({ length: 5000 }, (_, i) => transaction(i % 7))
    const out: Transaction[] = []
    for (const [i, each] of all.entries()) {
      queue.push(each)
      if (i % 3 === 0) out.push(...queue.take(6, 10))
    }
    while (queue.length > 0) out.push(...queue.take(6, 10))
    expect(out.every((each, i) => each === all[i])).toBe(true)
    expect(out).toHaveLength(all.length)
  })
})

describe('LSN', () => {
  it('reads what it writes, to both ends of 64 bits', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (lsn) => parseLsn(formatLsn(lsn)) === lsn),
    )
    expect(formatLsn(2n ** 64n - 1n)).toBe('FFFFFFFF/FFFFFFFF')
    expect(['', '/', '1/', '1/G', '123456789/0', ' 1/2', '1/2\n'].map(parseLsn)).toEqual(
      Array(7).fill(undefined),
    )
  })
})

it('waits longer each time, up to half a minute, never without jitter', () => {
  const longest = [1, 2, 3, 10, 1000].map((attempt) => backoff(attempt, 1))
  expect(longest).toEqual([200, 400, 800, 30_000, 30_000])
  expect(backoff(3, 0)).toBe(400)
})

import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Transaction } from '../src/model/changes.ts'
import type { Relation } from '../src/model/relation.ts'
import { type Change, FakeStream } from './support/stream.ts'

const relations = Array.from(
  { length: 9 },
  (_, i): Relation => ({
    ...{ oid: i + 1, schema: 'public', name: `t${i}`, identity: 'd' },
    columns: [{ name: 'a', key: true, typeOid: 23, typeModifier: -1 }],
  }),
)
const kinds = ['insert', 'update', 'delete', 'truncate'] as const
const row = ['1']

function change(kind: (typeof kinds)[number], relation: number): Change {
  if (kind === 'truncate') return { truncate: [relation] }
  if (kind === 'insert') return { insert: row, relation }
  return kind === 'update' ? { update: row, relation } : { delete: row, relation }
}

/** What was done to which table: bits of `kinds`. */
function done(transaction: Pick<Transaction, 'relations'>): Record<string, number> {
  return Object.fromEntries([...transaction.relations].map(([{ name }, bits]) => [name, bits]))
}

test('of each transaction it is known what it does to which tables, whatever the one before did', () => {
  const one = fc.tuple(fc.constantFrom(...kinds), fc.integer({ min: 0, max: relations.length - 1 }))
  const few = fc.tuple(fc.constantFrom('insert' as const, 'update' as const), fc.integer({ min: 0, max: 1 }))
  const transaction = fc.array(fc.oneof(few, one), { minLength: 1, maxLength: 12 })
  fc.assert(
    fc.property(fc.array(transaction, { minLength: 1, maxLength: 8 }), (transactions) => {
      const stream = new FakeStream(relations)
      // All of them are still held when they are looked at.
      const made = transactions.map((changes) =>
        stream.transaction(changes.map(([kind, relation]) => change(kind, relation))),
      )
      expect(made.map(done)).toEqual(
        transactions.map((changes) => {
          const expected: Record<string, number> = {}
          for (const [kind, relation] of changes)
            expected[`t${relation}`] = (expected[`t${relation}`] ?? 0) | (1 << kinds.indexOf(kind))
          return expected
        }),
      )
      const count = (kind: string) => transactions.flat().filter(([each]) => each === kind).length
      const sum = (of: (transaction: Transaction) => number) => made.reduce((n, each) => n + of(each), 0)
      expect([
        sum((each) => each.inserts),
        sum((each) => each.updates),
        sum((each) => each.deletes),
        sum((each) => each.truncates),
      ]).toEqual(kinds.map(count))
    }),
    { numRuns: 2000 },
  )
})

test('a transaction without rows does nothing to any table, whatever the one before did', () => {
  const stream = new FakeStream(relations)
  for (const tables of [1, 7, 8, 9]) {
    stream.transaction(relations.slice(0, tables).map((_, i) => change('insert', i)))
    expect(done(stream.transaction([{ ddl: 'x' }]))).toEqual({})
  }
})

test('transactions that do the same share one map', () => {
  const stream = new FakeStream(relations)
  const same = (): Transaction => stream.transaction([change('insert', 0), change('update', 1)])
  const first = same()
  expect(same().relations).toBe(same().relations)
  expect(done(first)).toEqual({ t0: 1, t1: 2 })
})

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { NetChanges } from '../src/apply/net.ts'
import { RowChange } from '../src/model/changes.ts'

/** An Insert message of one value. */
function insert(value: Uint8Array, kind: string): Buffer {
  const length = Buffer.alloc(4)
  length.writeInt32BE(value.length)
  return Buffer.concat([Buffer.from('I\0\0\0\u0001N\0\u0001'), Buffer.from(kind), length, value])
}

test('rows are the same where the bytes of their keys are, and only there', () => {
  const bytes = fc.oneof(
    fc.uint8Array({ minLength: 0, maxLength: 9 }),
    fc.uint8Array({ minLength: 4, maxLength: 4 }),
    fc.uint8Array({ minLength: 8, maxLength: 8 }),
    // Near each other, and near the ends of what is exact as a number.
    fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n).map(int8),
    fc.bigInt(-5n, 5n).map(int8),
    fc.bigInt(2n ** 51n - 3n, 2n ** 51n + 3n).map(int8),
    fc.bigInt(-(2n ** 51n) - 3n, -(2n ** 51n) + 3n).map(int8),
    fc.integer({ min: -5, max: 5 }).map(int4),
  )
  fc.assert(
    fc.property(fc.array(bytes, { maxLength: 40 }), fc.constantFrom('t', 'b'), (keys, kind) => {
      const net = new NetChanges([0])
      const change = new RowChange()
      const met = new Set<string>()
      for (const key of keys) {
        const message = insert(key, kind)
        change.read(message, 0)
        const text = Buffer.from(key).toString('hex')
        // A second INSERT of a row is for the server to refuse.
        expect(net.add(change, message, 0)).toBe(met.has(text) ? 'full' : 'taken')
        met.add(text)
      }
      expect(net.size).toBe(met.size)
    }),
    { numRuns: 3000 },
  )
})

test('a row whose key is not there stands for itself', () => {
  const net = new NetChanges([0])
  const change = new RowChange()
  const none = Buffer.from('I\0\0\0\u0001N\0\u0001n')
  for (const message of [insert(int4(7), 'b'), none, none]) {
    change.read(message, 0)
    expect(net.add(change, message, 0)).toBe(message === none ? 'alone' : 'taken')
  }
})

function int8(value: bigint): Uint8Array {
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64BE(value)
  return bytes
}

function int4(value: number): Uint8Array {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

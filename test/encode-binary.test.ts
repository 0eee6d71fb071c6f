import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BinaryRows } from '../src/apply/encode-binary.ts'
import { TextWanted } from '../src/apply/text-wanted.ts'
import { Tuple, tupleOfInsert } from '../src/model/tuple.ts'

type Value = number | null

const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 31 + (i >> 8)) & 0xff))

/** An Insert message whose values are so many bytes long. */
function insert(values: readonly Value[], kind = 'b'): Buffer {
  const parts = values.map((length) => {
    if (length === null) return Buffer.from('n')
    const value = Buffer.from(bytes.subarray(values.length, values.length + 5 + length))
    value.write(kind)
    value.writeInt32BE(length, 1)
    return value
  })
  const head = Buffer.from('I\0\0\0\x07N\0\0', 'latin1')
  head.writeUInt16BE(values.length, tupleOfInsert)
  return Buffer.concat([head, ...parts])
}

/** What the messages carry; each has to say its own length. */
function carried(messages: readonly Buffer[]): Buffer {
  return Buffer.concat(
    messages.map((message) => {
      expect(message[0]).toBe(0x64)
      expect(message.readInt32BE(1)).toBe(message.length - 1)
      return message.subarray(5)
    }),
  )
}

const value = fc.oneof(
  fc.constant<Value>(null),
  fc.constantFrom<Value>(0, 1, 4, 8, 60, 61, 100, 3000),
  fc.nat({ max: 300 }) as fc.Arbitrary<Value>,
)

test('rows that are copied as they come are the same as those that are put together value by value', () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(value, { maxLength: 12 }), { minLength: 1, maxLength: 40 }),
      fc.integer({ min: 1, max: 400 }),
      (shapes, times) => {
        const [quick, slow] = [new BinaryRows(), new BinaryRows()]
        const tuple = new Tuple()
        for (let i = 0; i < times; i++)
          for (const shape of shapes) {
            const message = insert(shape)
            quick.addInsert(message, 0, message.length)
            tuple.read(message, tupleOfInsert)
            slow.add(
              tuple,
              shape.map((_, column) => column),
            )
          }
        expect(quick.rows).toBe(slow.rows)
        expect(carried(quick.take()).equals(carried(slow.take()))).toBe(true)
      },
    ),
    { numRuns: 60 },
  )
})

test('a block has room for a row that is longer than its message', () => {
  const message = insert(Array<Value>(500).fill(null))
  for (let filler = 0; filler < 2500; filler += 50) {
    const [rows, tuple] = [new BinaryRows(), new Tuple()]
    const first = insert([256 * 1024 - 2500 + filler])
    for (const each of [first, message, message]) rows.addInsert(each, 0, each.length)
    const bytes = carried(rows.take())
    expect(bytes.length).toBe(19 + (2 + 4 + 256 * 1024 - 2500 + filler) + 2 * (2 + 500 * 4) + 2)
    tuple.read(message, tupleOfInsert)
  }
})

test('a value in text is said to be one, and one that ends beyond its message is no row', () => {
  const text = insert([4], 't')
  expect(() => new BinaryRows().addInsert(text, 0, text.length)).toThrow(TextWanted)
  const long = insert([4])
  expect(() => new BinaryRows().addInsert(long, 0, long.length - 1)).toThrow(RangeError)
})

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ChangeWriter } from '../src/model/change-writer.ts'
import { ChangeCursor, type Transaction } from '../src/model/changes.ts'

const lengths = fc.array(
  fc.oneof({ weight: 9, arbitrary: fc.integer({ min: 1, max: 140 }) }, fc.constantFrom(5000)),
  {
    minLength: 1,
    maxLength: 200,
  },
)

test('messages are kept byte by byte, wherever they stand in what has arrived', () => {
  fc.assert(
    fc.property(lengths, fc.integer({ min: 37, max: 6000 }), fc.nat({ max: 9 }), (sizes, size, gap) => {
      const total = sizes.reduce((sum, length) => sum + length + gap, 0)
      // Two parts of what arrives, the messages by turns from either.
      const sources = [7, 11].map((step) =>
        Buffer.from(Array.from({ length: total }, (_, i) => (i * step) & 0xff)),
      )
      const writer = new ChangeWriter(size)
      const chunks = [writer.chunk]
      const messages: Buffer[] = []
      let from = 0
      for (const [i, length] of sizes.entries()) {
        const source = sources[i % 2]!
        source[from] = 0x49
        if (writer.append(i, source, from, length)) chunks.push(writer.chunk)
        messages.push(source.subarray(from, from + length))
        from += length + gap
      }
      const cursor = new ChangeCursor()
      cursor.seek({ chunks, start: 0, end: writer.offset } as unknown as Transaction)
      for (const [i, message] of messages.entries()) {
        expect(cursor.step()).toBe(true)
        expect(cursor.index).toBe(i)
        expect(cursor.buffer.subarray(cursor.offset, cursor.offset + cursor.length).equals(message)).toBe(
          true,
        )
      }
      expect(cursor.step()).toBe(false)
    }),
    { numRuns: 200 },
  )
})

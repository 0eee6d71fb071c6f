import { type Tuple, tupleOfInsert, valueBinary, valueNull, viewOf } from '../model/tuple.ts'
import { giveBlock, blockSize as smallest, takeBlock } from '../postgres/blocks.ts'
import type { ArrayEncoder, RowEncoder } from './encode.ts'
import { TextWanted } from './text-wanted.ts'

const blockSize = 256 * 1024
/** Type byte and length of a CopyData message. */
const copyHeader = 5
/** Signature, flags and length of the extension. */
const fileHeader = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1')
/** From here on a call of Buffer.copy is quicker than a loop that takes four bytes at once. */
const longValue = 96

/**
 * Rows as COPY's binary format has them, in blocks that are CopyData messages: a value with its length stands in the tuple
 * as it does in there.
 * https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS-BINARY
 */
export class BinaryRows implements RowEncoder {
  rows = 0
  private full: Buffer[] = []
  private block: Buffer = Buffer.alloc(0)
  private at = 0
  /** Of the block, and of the bytes that rows were read from last: several bytes in one step. */
  private target = viewOf(this.block)
  private source: Buffer = this.block
  private view = this.target

  add(tuple: Tuple, columns: readonly number[]): void {
    if (this.rows++ === 0) this.begin()
    const count = columns.length
    let bytes = 2 + 4 * count
    for (let i = 0; i < count; i++) {
      const column = columns[i]!
      if (tuple.kind[column] === valueBinary) bytes += tuple.length[column]!
      else if (tuple.kind[column] !== valueNull) throw notBinary()
    }
    if (this.at + bytes > this.block.length) this.next(bytes)
    const { block, target } = this
    target.setUint16(this.at, count)
    let at = this.at + 2
    for (let i = 0; i < count; i++) at = copyValue(tuple, columns[i]!, block, target, at)
    this.at = at
  }

  /** As `add` with all columns in their order, in one pass over an Insert message. */
  addInsert(source: Buffer, offset: number, length: number): void {
    if (this.rows++ === 0) this.begin()
    if (this.source !== source) {
      this.source = source
      this.view = viewOf(source)
    }
    const { view } = this
    let from = offset + tupleOfInsert
    let left = view.getUint16(from)
    // A value has a byte more in the message; a NULL three bytes fewer.
    const most = length + 3 * left
    if (this.at + most > this.block.length) this.next(most)
    const { block, target } = this
    let { at } = this
    const end = offset + length
    target.setUint16(at, left)
    at += 2
    from += 2
    for (; left > 0; left--) {
      const kind = view.getUint8(from++)
      if (kind === valueBinary) {
        const bytes = view.getInt32(from)
        target.setInt32(at, bytes)
        at += 4
        from += 4
        const stop = from + bytes
        if (bytes < 0 || stop > end) throw new RangeError(`column value of ${bytes} bytes`)
        if (bytes > longValue) {
          source.copy(block, at, from, stop)
          at += bytes
          from = stop
          continue
        }
        for (; from + 4 <= stop; from += 4, at += 4) target.setInt32(at, view.getInt32(from, true), true)
        for (; from < stop; from++, at++) block[at] = source[from]!
      } else if (kind === valueNull) {
        target.setInt32(at, -1)
        at += 4
      } else throw notBinary()
    }
    this.at = at
  }

  take(): readonly Buffer[] {
    if (this.at + 2 > this.block.length) this.next(2)
    this.at = this.block.writeInt16BE(-1, this.at)
    this.end()
    const { full } = this
    this.full = []
    this.rows = 0
    return full
  }

  private begin(): void {
    this.next(fileHeader.length)
    this.at += fileHeader.copy(this.block, this.at)
  }

  private next(bytes: number): void {
    this.end()
    this.block = takeBlock(Math.max(blockSize, copyHeader + bytes))
    this.target = viewOf(this.block)
    this.at = copyHeader
  }

  private end(): void {
    if (this.at <= copyHeader) return
    this.block[0] = 0x64
    this.block.writeInt32BE(this.at - 1, 1)
    this.full.push(this.block.subarray(0, this.at))
    this.block = Buffer.alloc(0)
    this.at = 0
  }
}

/**
 * Values of one column as an array's binary representation (array_recv): dimensions, whether there are NULLs, the elements' type,
 * how many and from which index on, then each value with its length.
 */
export class BinaryArray implements ArrayEncoder {
  private readonly element: number
  private buffer: Buffer = Buffer.alloc(0)
  private target = viewOf(this.buffer)
  private at = 0
  private count = 0
  private nulls = 0

  /** `element`: OID of the elements' type downstream. */
  constructor(element: number) {
    this.element = element
  }

  begin(): void {
    this.buffer = takeBlock(Math.max(smallest, this.at + (this.at >> 3)))
    this.target = viewOf(this.buffer)
    this.at = 20
    this.count = 0
    this.nulls = 0
  }

  add(tuple: Tuple, column: number): void {
    const kind = tuple.kind[column]
    if (kind === valueNull) this.nulls = 1
    else if (kind !== valueBinary) throw notBinary()
    this.room(4 + (kind === valueNull ? 0 : tuple.length[column]!))
    this.at = copyValue(tuple, column, this.buffer, this.target, this.at)
    this.count++
  }

  end(): Buffer {
    const { buffer } = this
    buffer.writeInt32BE(1, 0)
    buffer.writeInt32BE(this.nulls, 4)
    buffer.writeUInt32BE(this.element, 8)
    buffer.writeInt32BE(this.count, 12)
    buffer.writeInt32BE(1, 16)
    return buffer.subarray(0, this.at)
  }

  private room(bytes: number): void {
    if (this.at + bytes <= this.buffer.length) return
    const larger = takeBlock(Math.max(this.buffer.length * 2, this.at + bytes))
    this.buffer.copy(larger, 0, 0, this.at)
    giveBlock(this.buffer)
    this.buffer = larger
    this.target = viewOf(larger)
  }
}

/** Copies a value with its length before it, which stands so in the tuple; returns the place behind it. `target`: of the buffer. */
function copyValue(tuple: Tuple, column: number, buffer: Buffer, target: DataView, at: number): number {
  if (tuple.kind[column] === valueNull) {
    target.setInt32(at, -1)
    return at + 4
  }
  const { view } = tuple
  let from = tuple.start[column]! - 4
  const end = from + 4 + tuple.length[column]!
  if (end - from > longValue) {
    tuple.buffer.copy(buffer, at, from, end)
    return at + end - from
  }
  for (; from + 4 <= end; from += 4, at += 4) target.setInt32(at, view.getInt32(from, true), true)
  for (; from < end; from++, at++) buffer[at] = tuple.buffer[from]!
  return at
}

function notBinary(): TextWanted {
  return new TextWanted('a value came as text among those in binary')
}

import { type Tuple, valueNull } from '../model/tuple.ts'
import { giveBlock, blockSize as smallest, takeBlock } from '../postgres/blocks.ts'

const blockSize = 256 * 1024
/** Type byte and length of a CopyData message. */
const copyHeader = 5

const backslash = 0x5c
const quote = 0x22

/** Puts rows together, as one COPY takes them. */
export interface RowEncoder {
  readonly rows: number
  add(tuple: Tuple, columns: readonly number[]): void
  /** The CopyData messages so far, at least one row's; begins anew. */
  take(): readonly Buffer[]
}

/** Puts values of one column together, as an array. */
export interface ArrayEncoder {
  begin(): void
  add(tuple: Tuple, column: number): void
  /** At least one value. */
  end(): Buffer
}

/**
 * Rows as COPY's text format has them, in blocks that are CopyData messages.
 * https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS-TEXT
 */
export class CopyRows implements RowEncoder {
  rows = 0
  /** Of the values, about. */
  bytes = 0
  private full: Buffer[] = []
  private block: Buffer = Buffer.alloc(0)
  private at = 0

  add(tuple: Tuple, columns: readonly number[]): void {
    for (let i = 0; i < columns.length; i++) {
      if (i > 0) this.byte(0x09)
      const column = columns[i]!
      if (tuple.kind[column] === valueNull) {
        this.byte(backslash)
        this.byte(0x4e)
      } else this.value(tuple.buffer, tuple.start[column]!, tuple.length[column]!)
    }
    this.byte(0x0a)
    this.rows++
  }

  /** The messages so far; begins anew. */
  take(): readonly Buffer[] {
    this.close()
    const { full } = this
    this.full = []
    this.rows = 0
    this.bytes = 0
    return full
  }

  private value(source: Buffer, from: number, length: number): void {
    this.bytes += length
    let { block, at } = this
    const limit = block.length - 1
    for (let i = from; i < from + length; i++) {
      if (at >= limit) {
        this.at = at
        this.end()
        block = this.block
        at = this.at
      }
      const byte = source[i]!
      if (byte > backslash || !isSpecial(byte)) block[at++] = byte
      else {
        block[at++] = backslash
        block[at++] = byte === 0x09 ? 0x74 : byte === 0x0a ? 0x6e : byte === 0x0d ? 0x72 : backslash
      }
    }
    this.at = at
  }

  private byte(value: number): void {
    if (this.at === this.block.length) this.end()
    this.block[this.at++] = value
  }

  /** Goes on in another block. */
  private end(): void {
    this.close()
    this.block = takeBlock(blockSize)
    this.at = copyHeader
  }

  private close(): void {
    if (this.at <= copyHeader) return
    this.block[0] = 0x64
    this.block.writeInt32BE(this.at - 1, 1)
    this.full.push(this.block.subarray(0, this.at))
    // What was handed over is not touched again.
    this.block = Buffer.alloc(0)
    this.at = 0
  }
}

/** Tab, line feed, carriage return, backslash. */
function isSpecial(byte: number): boolean {
  return byte === backslash || byte === 0x0a || byte === 0x0d || byte === 0x09
}

/**
 * Values of one column as an array's text.
 * https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO
 */
export class ArrayText implements ArrayEncoder {
  private buffer: Buffer = Buffer.alloc(0)
  private at = 0

  begin(): void {
    this.buffer = takeBlock(Math.max(smallest, this.at * 2))
    this.buffer[0] = 0x7b
    this.at = 1
  }

  add(tuple: Tuple, column: number): void {
    const length = tuple.kind[column] === valueNull ? 4 : tuple.length[column]!
    this.room(2 * length + 3)
    const { buffer } = this
    let { at } = this
    if (at > 1) buffer[at++] = 0x2c
    if (tuple.kind[column] === valueNull) at += buffer.write('NULL', at, 'latin1')
    else {
      const source = tuple.buffer
      const from = tuple.start[column]!
      buffer[at++] = quote
      for (let i = from; i < from + length; i++) {
        const byte = source[i]!
        if (byte === quote || byte === backslash) buffer[at++] = backslash
        buffer[at++] = byte
      }
      buffer[at++] = quote
    }
    this.at = at
  }

  end(): Buffer {
    this.room(1)
    this.buffer[this.at++] = 0x7d
    return this.buffer.subarray(0, this.at)
  }

  private room(bytes: number): void {
    if (this.at + bytes <= this.buffer.length) return
    const larger = takeBlock(Math.max(this.buffer.length * 2, this.at + bytes))
    this.buffer.copy(larger, 0, 0, this.at)
    giveBlock(this.buffer)
    this.buffer = larger
  }
}

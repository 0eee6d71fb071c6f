import type { Socket } from 'node:net'
import { giveBlock, takeBlock } from './blocks.ts'

const blockSize = 256 * 1024
/** Values from this size are handed to the socket as they are, without copying. */
const largeValue = 64 * 1024

/**
 * Builds frontend messages in blocks and hands full blocks to the socket. Handed-over bytes are not
 * touched before the socket has written them.
 * https://www.postgresql.org/docs/current/protocol-message-formats.html
 */
export class MessageWriter {
  /** How many Execute messages were written. */
  executes = 0
  private block: Buffer = takeBlock(blockSize)
  private at = 0
  private sent = 0
  private readonly socket: Socket

  constructor(socket: Socket) {
    this.socket = socket
  }

  /** Sends what is held. */
  flush(): void {
    if (this.at === this.sent) return
    if (this.block.length - this.at < blockSize / 8) this.next(blockSize)
    else {
      this.socket.write(this.block.subarray(this.sent, this.at))
      this.sent = this.at
    }
  }

  /** True where the socket's own buffer is full: wait for its `drain` before writing more. */
  get congested(): boolean {
    return this.socket.writableNeedDrain
  }

  private room(bytes: number): void {
    if (this.at + bytes <= this.block.length) return
    this.next(Math.max(blockSize, bytes))
  }

  /** Sends what is held, and goes on in another block. */
  private next(bytes: number): void {
    const { block } = this
    // What was sent of it before is written by then, too.
    if (this.at > this.sent) this.socket.write(block.subarray(this.sent, this.at), () => giveBlock(block))
    this.block = takeBlock(bytes)
    this.at = 0
    this.sent = 0
  }

  /** A whole message of type byte and body. */
  message(type: string, ...body: (string | number)[]): void {
    let length = 4
    for (const part of body) length += typeof part === 'string' ? Buffer.byteLength(part) + 1 : 4
    this.room(1 + length)
    this.byte(type.charCodeAt(0))
    this.int32(length)
    for (const part of body) typeof part === 'string' ? this.cstring(part) : this.int32(part)
  }

  parse(name: string, sql: string, types: readonly number[]): void {
    const length = 4 + Buffer.byteLength(name) + 1 + Buffer.byteLength(sql) + 1 + 2 + 4 * types.length
    this.room(1 + length)
    this.byte(0x50)
    this.int32(length)
    this.cstring(name)
    this.cstring(sql)
    this.int16(types.length)
    for (const type of types) this.int32(type)
  }

  /** Begins Bind of the unnamed portal, all values in one format; `valueBytes` is the sum of the values' lengths (0 for null). */
  bind(statement: string, parameters: number, valueBytes: number, binary = false): void {
    // portal "" · statement · format codes (none: all text; one: for all) · parameters · no result formats
    const head = 1 + Buffer.byteLength(statement) + 1 + (binary ? 4 : 2) + 2
    const length = 4 + head + 4 * parameters + valueBytes + 2
    this.room(1 + 4 + head)
    this.byte(0x42)
    this.int32(length)
    this.byte(0)
    this.cstring(statement)
    this.int16(binary ? 1 : 0)
    if (binary) this.int16(1)
    this.int16(parameters)
  }

  nullValue(): void {
    this.room(4)
    this.int32(-1)
  }

  /** `written`: called once nobody reads the source any more. */
  value(source: Buffer, from: number, length: number, written?: () => void): void {
    if (length < largeValue) {
      this.room(4 + length)
      this.int32(length)
      source.copy(this.block, this.at, from, from + length)
      this.at += length
      written?.()
      return
    }
    this.room(4)
    this.int32(length)
    this.flush()
    this.socket.write(source.subarray(from, from + length), written)
  }

  /** Hands over bytes that are whole messages already. `written`: as in `value`. */
  raw(bytes: Buffer, written: () => void): void {
    this.flush()
    this.socket.write(bytes, written)
  }

  /** Ends Bind and runs the portal to its end. */
  endBindAndExecute(): void {
    this.executes++
    this.room(2 + 10)
    this.int16(0)
    this.byte(0x45)
    this.int32(9)
    this.byte(0)
    this.int32(0)
  }

  private byte(value: number): void {
    this.block[this.at++] = value
  }

  private int16(value: number): void {
    this.at = this.block.writeUInt16BE(value, this.at)
  }

  private int32(value: number): void {
    this.at = this.block.writeInt32BE(value | 0, this.at)
  }

  private cstring(text: string): void {
    this.at += this.block.write(text, this.at, 'utf8')
    this.block[this.at++] = 0
  }
}

/** One complete message of the frontend/backend protocol. The bytes are valid only during the call. */
export type FrameHandler = (type: number, buffer: Buffer, offset: number, length: number) => void

/**
 * Cuts a byte stream into protocol messages (type byte, int32 length that counts itself, body).
 * https://www.postgresql.org/docs/current/protocol-message-formats.html
 *
 * Never acts on a partial message: its bytes are carried over, in one buffer of the message's full size.
 * Throws a RangeError on a length word that no server sends.
 */
export class FrameReader {
  private carry: Buffer | undefined
  private filled = 0
  private readonly handler: FrameHandler
  private readonly maxLength: number

  constructor(handler: FrameHandler, maxLength = 0x7fffffff) {
    this.handler = handler
    this.maxLength = maxLength
  }

  push(chunk: Buffer): void {
    let at = 0
    if (this.carry) {
      at = this.complete(chunk)
      if (this.carry) return
    }
    while (at + 5 <= chunk.length) {
      const length = this.check(chunk.readUInt32BE(at + 1))
      if (at + 1 + length > chunk.length) break
      this.handler(chunk[at]!, chunk, at + 5, length - 4)
      at += 1 + length
    }
    if (at < chunk.length) this.hold(chunk, at)
  }

  /** Starts the carry-over with what is there of the next message. */
  private hold(chunk: Buffer, at: number): void {
    const have = chunk.length - at
    const size = have >= 5 ? 1 + this.check(chunk.readUInt32BE(at + 1)) : 5
    this.carry = Buffer.allocUnsafe(size)
    chunk.copy(this.carry, 0, at)
    this.filled = have
  }

  /** Fills the carry-over from the chunk; returns how many bytes it took. */
  private complete(chunk: Buffer): number {
    let at = 0
    for (;;) {
      const carry = this.carry!
      const taken = chunk.copy(carry, this.filled, at)
      this.filled += taken
      at += taken
      if (this.filled < carry.length) return at
      const size = 1 + this.check(carry.readUInt32BE(1))
      if (size > carry.length) {
        // Only the header was held; now the size is known.
        const whole = Buffer.allocUnsafe(size)
        carry.copy(whole, 0, 0, this.filled)
        this.carry = whole
        continue
      }
      this.carry = undefined
      this.handler(carry[0]!, carry, 5, size - 5)
      return at
    }
  }

  private check(length: number): number {
    if (length < 4 || length > this.maxLength) throw new RangeError(`protocol message with length ${length}`)
    return length
  }
}

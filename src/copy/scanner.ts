const copyData = 0x64

export interface ScannerHandlers {
  /** Bytes of CopyData messages, headers and all, as they came; the first and the last may be cut anywhere. */
  data(bytes: Buffer): void
  /** Any other message, whole. The bytes are valid only during the call. */
  message(type: number, buffer: Buffer, offset: number, length: number): void
}

/**
 * Tells CopyData from all other messages of a server, and lets it pass as it is: CopyData is the same message in both
 * directions. Nothing is copied but a header that two chunks share. https://www.postgresql.org/docs/current/protocol-message-formats.html
 */
export class CopyScanner {
  /** Bytes that are still to come of the CopyData message in hand. */
  private left = 0
  /** The beginning of another message, or of a header. */
  private carry: Buffer | undefined
  private readonly handlers: ScannerHandlers

  constructor(handlers: ScannerHandlers) {
    this.handlers = handlers
  }

  push(bytes: Buffer): void {
    const chunk = this.carry ? Buffer.concat([this.carry, bytes]) : bytes
    this.carry = undefined
    let start = 0
    let at = 0
    const pass = (): void => {
      if (at > start) this.handlers.data(chunk.subarray(start, at))
      start = at
    }
    for (;;) {
      if (this.left > 0) {
        const taken = Math.min(this.left, chunk.length - at)
        this.left -= taken
        at += taken
      }
      if (at + 5 > chunk.length) break
      const length = 1 + chunk.readUInt32BE(at + 1)
      if (chunk[at] === copyData) {
        this.left = length
        continue
      }
      pass()
      if (at + length > chunk.length) break
      this.handlers.message(chunk[at]!, chunk, at + 5, length - 5)
      at += length
      start = at
    }
    pass()
    if (at < chunk.length) this.carry = chunk.subarray(at)
  }
}

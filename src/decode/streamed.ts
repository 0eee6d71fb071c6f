import { decodePgoutput } from './pgoutput.ts'
import type { StreamSink } from './sink.ts'

/**
 * Decodes pgoutput's messages, protocol version 2: large transactions come before their commit, in blocks, in which each
 * message has the xid of its subtransaction behind its type.
 * https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
 */
export class StreamedDecoder {
  private readonly sink: StreamSink
  private inBlock = false
  private subxid = 0

  constructor(sink: StreamSink) {
    this.sink = sink
  }

  /** Takes one message, and writes into what it has read of it. Throws a RangeError where the bytes don't fit the format. */
  decode(buffer: Buffer, offset: number, length: number): void {
    const { sink } = this
    const type = buffer[offset]!
    switch (type) {
      case 0x53: // S, whether it is the first block
        sink.streamStart(buffer.readUInt32BE(offset + 1))
        this.inBlock = true
        this.subxid = 0
        break
      case 0x45: // E
        if (!this.inBlock) throw new RangeError('Stream Stop without a Stream Start')
        sink.streamStop()
        this.inBlock = false
        break
      case 0x63: // c: xid, flags
        sink.streamCommit(
          buffer.readUInt32BE(offset + 1),
          buffer.readBigUInt64BE(offset + 6),
          buffer.readBigUInt64BE(offset + 14),
          buffer.readBigInt64BE(offset + 22),
        )
        break
      case 0x41: // A
        sink.streamAbort(buffer.readUInt32BE(offset + 1), buffer.readUInt32BE(offset + 5))
        break
      case 0x4f: // O: has no xid
        break
      default:
        if (this.inBlock) this.inner(buffer, offset, length, type)
        else decodePgoutput(buffer, offset, length, sink)
    }
  }

  /** Without the xid it is a message of version 1. */
  private inner(buffer: Buffer, offset: number, length: number, type: number): void {
    const subxid = buffer.readUInt32BE(offset + 1)
    if (subxid !== this.subxid) this.sink.within(subxid)
    this.subxid = subxid
    buffer[offset + 4] = type
    decodePgoutput(buffer, offset + 4, length - 4, this.sink)
  }
}

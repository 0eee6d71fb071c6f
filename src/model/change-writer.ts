import { type CommitMark, markBytes, markLength, messageCommit, storedHead } from './changes.ts'
import { viewOf } from './tuple.ts'

const chunkSize = 256 * 1024
/** From here on a call of Buffer.copy is quicker than a loop that takes four bytes at once. */
const longMessage = 128

/**
 * Appends messages as `[u32 length][u32 index][bytes]`. A message never spans two chunks, and a
 * chunk is never moved or reused: whoever holds a transaction holds its bytes.
 */
export class ChangeWriter {
  chunk: Buffer
  /** It and nothing else: an array for all transactions that begin and end in it. */
  alone: readonly Buffer[]
  offset = 0
  private readonly size: number
  private view: DataView | undefined
  /** What was copied from last: hundreds of messages stand in the same bytes. */
  private source: Buffer = Buffer.alloc(0)
  private sourceView = viewOf(this.source)

  constructor(size = chunkSize) {
    this.size = size
    this.chunk = Buffer.allocUnsafeSlow(size)
    this.alone = [this.chunk]
  }

  /** Goes on with a copy of what stands before `end` in another chunk. */
  begin(chunk: Buffer, end: number): void {
    this.chunk = Buffer.allocUnsafeSlow(Math.max(this.size, end))
    this.alone = [this.chunk]
    chunk.copy(this.chunk, 0, 0, end)
    this.offset = end
  }

  /** Copies a message in; returns true where a new chunk was begun for it. */
  append(relation: number, source: Buffer, from: number, length: number): boolean {
    let begun = false
    if (this.offset + storedHead + length > this.chunk.length) {
      // A zero length tells the reader that the rest of the chunk is empty.
      if (this.offset + 4 <= this.chunk.length) this.chunk.writeUInt32LE(0, this.offset)
      this.chunk = Buffer.allocUnsafeSlow(Math.max(this.size, storedHead + length))
      this.alone = [this.chunk]
      this.offset = 0
      begun = true
    }
    const { chunk } = this
    const view = this.viewOf(chunk)
    let at = this.offset
    view.setUint32(at, length, true)
    view.setUint32(at + 4, relation, true)
    at += storedHead
    this.offset = at + length
    if (length > longMessage) {
      source.copy(chunk, at, from, from + length)
      return begun
    }
    if (this.source !== source) {
      this.source = source
      this.sourceView = viewOf(source)
    }
    const words = this.sourceView
    const end = from + length
    for (; from + 4 <= end; from += 4, at += 4) view.setInt32(at, words.getInt32(from, true), true)
    for (; from < end; from++, at++) chunk[at] = source[from]!
    return begun
  }

  /** Ends a transaction by the mark of its commit; false where there is no room for it. */
  mark({ xid, commitLsn, endLsn, commitTime }: CommitMark): boolean {
    const { chunk, offset } = this
    if (offset + markBytes > chunk.length) return false
    const view = this.viewOf(chunk)
    view.setUint32(offset, markLength, true)
    view.setUint8(offset + storedHead, messageCommit)
    view.setUint32(offset + storedHead + 1, xid)
    view.setBigUint64(offset + storedHead + 5, commitLsn)
    view.setBigUint64(offset + storedHead + 13, endLsn)
    view.setBigInt64(offset + storedHead + 21, commitTime)
    this.offset += markBytes
    return true
  }

  private viewOf(chunk: Buffer): DataView {
    if (this.view?.buffer !== chunk.buffer) this.view = viewOf(chunk)
    return this.view
  }
}

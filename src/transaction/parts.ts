import type { Transaction } from '../model/changes.ts'
import type { OpenTransaction } from './open.ts'

/** Chunks of one part, mostly of 64 or 256 KiB: between two the applier hears of what has happened. */
const maxChunks = 32

/** The parts of a transaction that still arrives, one after the other. Each is like a transaction, but for its end. */
export class Parts {
  private readonly open: OpenTransaction
  /** Where the next one starts. */
  private chunk = 0
  private offset: number
  /** Of the transaction, when all of it had been handed out. */
  private bytes = 0

  constructor(open: OpenTransaction) {
    this.open = open
    this.offset = open.start
  }

  /** Takes the next one; undefined where not so many bytes are there yet. */
  next(minBytes: number): Transaction | undefined {
    const { open } = this
    if (open.bytes === this.bytes || open.bytes - this.bytes < minBytes) return undefined
    const all = open.chunks.length - this.chunk <= maxChunks
    const next = all ? open.chunks.length - 1 : this.chunk + maxChunks
    const part = this.upTo(all ? next + 1 : next, all ? open.offset : Number.POSITIVE_INFINITY)
    this.chunk = next
    open.handed = next
    this.offset = all ? open.offset : 0
    if (all) this.bytes = open.bytes
    return part
  }

  /** Chunks before `chunk`, of the last of which up to `end`. */
  private upTo(chunk: number, end: number): Transaction {
    const { open } = this
    return { ...open.view(), chunks: open.chunks.slice(this.chunk, chunk), start: this.offset, end }
  }
}

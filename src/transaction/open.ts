import type {
  ChangeWriter,
  OperationCounts,
  SideMessage,
  StoredChunk,
  Transaction,
} from '../model/changes.ts'
import type { Lsn } from '../model/lsn.ts'
import type { Relation } from '../model/relation.ts'
import type { SpillFile } from './spill.ts'

/** Bytes of a transaction from which on it may be applied while it arrives. Tests set it, so that small ones are, too. */
const growsFrom = Number(process.env.FOLLOWER_ARRIVING_FROM ?? 4 * 1024 * 1024)
/** So much more is told of. */
const growsBy = Math.min(growsFrom, 1024 * 1024)

export interface OpenHandlers {
  /** So much more of it has come. */
  grows?(transaction: OpenTransaction): void
  /** Bytes of one transaction, or of all that arrive at the same time, in memory. */
  readonly memory: number
  /** A place for what goes beyond the memory. */
  spill(): SpillFile
}

/** Becomes the committed transaction: small ones come by the thousand, and each object more is felt. */
export class OpenTransaction implements Transaction {
  commitLsn = 0n
  endLsn = 0n
  commitTime = 0n
  readonly chunks: (Buffer | StoredChunk)[]
  readonly start: number
  end = 0
  relations = new Map<Relation, number>()
  readonly sides: SideMessage[] = []
  ddl = false
  changes = 0
  readonly counts: OperationCounts = { insert: 0, update: 0, delete: 0, truncate: 0 }
  bytes = 0
  /** Bytes of its own chunks in memory. */
  protected held = 0
  /** Which chunk goes to disk next: the oldest, since the youngest are read soonest. The first one may hold other transactions, too. */
  protected oldest = 1
  /** Bytes at which its growth is told of. */
  growsAt = growsFrom
  /** Was handed out to be applied while it arrives. */
  tried = false
  /** Is being applied so. */
  inHand = false
  /** Nothing of it will be committed, or it was there already. */
  dropped = false
  /** Something of it was taken back after it had arrived. */
  shortened = false
  readonly xid: number
  protected readonly writer: ChangeWriter
  protected readonly handlers: OpenHandlers
  private file: SpillFile | undefined
  private lastRelation: Relation | undefined
  private lastOperation = 0

  constructor(xid: number, writer: ChangeWriter, handlers: OpenHandlers) {
    this.xid = xid
    this.writer = writer
    this.handlers = handlers
    this.chunks = [writer.chunk]
    this.start = writer.offset
  }

  commit(commitLsn: Lsn, endLsn: Lsn, commitTime: bigint): void {
    this.commitLsn = commitLsn
    this.endLsn = endLsn
    this.commitTime = commitTime
    this.end = this.writer.offset
  }

  /** Its commit has arrived. */
  get committed(): boolean {
    return this.endLsn !== 0n
  }

  /** Where the next message will stand: in the last chunk. */
  get offset(): number {
    return this.committed ? this.end : this.writer.offset
  }

  get memory(): number {
    return this.file ? this.held : this.bytes
  }

  append(relation: number, source: Buffer, offset: number, length: number): void {
    if (this.writer.append(relation, source, offset, length)) {
      this.held += this.writer.chunk.length
      if (this.held > this.memoryLimit) this.spill()
      this.chunks.push(this.writer.chunk)
    }
    this.changes++
    this.bytes += length
    if (this.bytes >= this.growsAt) this.tell()
  }

  private tell(): void {
    this.growsAt = this.bytes + growsBy
    if (!this.ddl && !this.shortened) this.handlers.grows?.(this)
  }

  /** It as it is now. */
  view(): Transaction {
    const { xid, commitLsn, endLsn, commitTime, chunks, start, sides, ddl, changes, counts, bytes, memory } =
      this
    // More tables may come.
    const relations = new Map(this.relations)
    return {
      ...{ xid, commitLsn, endLsn, commitTime, chunks, start, sides, ddl, changes, counts, bytes, memory },
      ...{ relations, end: this.offset },
    }
  }

  /** What is held of it in memory; the rest waits on disk. */
  protected get memoryLimit(): number {
    return this.handlers.memory
  }

  /** Nobody will want it any more, once it is not in hand. */
  drop(): void {
    this.dropped = true
    if (!this.inHand) this.release()
  }

  /** Notes what is done to a table; most rows do what the one before did. */
  touch(relation: Relation, operation: number): void {
    if (relation === this.lastRelation && operation === this.lastOperation) return
    this.lastRelation = relation
    this.lastOperation = operation
    this.relations.set(relation, (this.relations.get(relation) ?? 0) | operation)
  }

  release(): void {
    this.file?.close()
    this.file = undefined
  }

  /** Full chunks go to disk. */
  private spill(): void {
    const limit = this.memoryLimit
    for (; this.held > limit && this.oldest < this.chunks.length; this.oldest++) {
      const chunk = this.chunks[this.oldest]!
      if ('load' in chunk) continue
      this.file ??= this.handlers.spill()
      this.chunks[this.oldest] = this.file.store(chunk)
      this.held -= chunk.length
    }
  }

  /** A message without rows: one byte of type, and the index of what it says. */
  appendSide(side: SideMessage, type: number): void {
    this.append(this.sides.length, Buffer.of(type), 0, 1)
    this.sides.push(side)
    if (side.kind === 'ddl') this.bytes += side.content.length
  }
}

import type { ChangeWriter } from '../model/change-writer.ts'
import type { SideMessage, StoredChunk, Transaction } from '../model/changes.ts'
import type { Lsn } from '../model/lsn.ts'
import type { Relation } from '../model/relation.ts'
import { Pattern } from './pattern.ts'
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

/** Stands for a chunk that is not kept. */
const gone: StoredChunk = {
  load() {
    throw new RangeError('of a transaction that was applied while it arrived not all is kept')
  },
}

/** Few transactions have any: never written to. */
const noSides: SideMessage[] = []

/** Becomes the committed transaction: small ones come by the thousand, and each object more is felt. */
export class OpenTransaction implements Transaction {
  commitLsn = 0n
  endLsn = 0n
  commitTime = 0n
  /** Mostly one, and then the same array for all that lie in it: it is never written to. */
  chunks: readonly (Buffer | StoredChunk)[]
  readonly start: number
  end = 0
  sides = noSides
  ddl = false
  changes = 0
  inserts = 0
  updates = 0
  deletes = 0
  truncates = 0
  bytes = 0
  /** Bytes of its own chunks in memory. */
  protected held = 0
  /** Which chunk goes to disk next: the oldest, since the youngest are read soonest. The first one may hold other transactions, too. */
  protected oldest = 1
  /** Bytes at which its growth is told of. */
  growsAt = growsFrom
  isMarked = false
  /** Was handed out to be applied while it arrives. */
  tried = false
  /** Is being applied so. */
  inHand = false
  /** Nothing of it will be committed, or it was there already. */
  dropped = false
  /** Something of it was taken back after it had arrived. */
  shortened = false
  /** While it is in hand: chunks before this one were handed out, and whether those need not be kept. */
  handed = 0
  forgets = false
  /** Of what was handed out not all is kept: it can't be applied from here any more. */
  incomplete = false
  readonly xid: number
  protected readonly writer: ChangeWriter
  protected readonly handlers: OpenHandlers
  private file: SpillFile | undefined
  private lastRelation: Relation | undefined
  private lastOperation = 0
  /** What the one before did, and what of that this one has done. */
  private readonly like: Pattern
  private done = 0
  /** What is done, once it is something else. */
  private unlike: Map<Relation, number> | undefined

  constructor(xid: number, writer: ChangeWriter, handlers: OpenHandlers, like: Pattern) {
    this.xid = xid
    this.writer = writer
    this.handlers = handlers
    this.like = like
    this.chunks = writer.alone
    this.start = writer.offset
  }

  commit(commitLsn: Lsn, endLsn: Lsn, commitTime: bigint): void {
    this.commitLsn = commitLsn
    this.endLsn = endLsn
    this.commitTime = commitTime
    this.end = this.writer.offset
    // One that is at work already stays by itself.
    const isSmall = !this.tried && !this.ddl && this.sides === noSides && this.chunks === this.writer.alone
    this.isMarked = isSmall && this.writer.mark(this)
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
    return this.file || this.incomplete ? this.held : this.bytes
  }

  append(relation: number, source: Buffer, offset: number, length: number): void {
    if (this.writer.append(relation, source, offset, length)) {
      this.held += this.writer.chunk.length
      if (this.held > this.memoryLimit) this.spill()
      this.own().push(this.writer.chunk)
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
    const { xid, commitLsn, endLsn, commitTime, chunks, start, sides, ddl, changes, bytes, memory } = this
    const { inserts, updates, deletes, truncates } = this
    // More tables may come.
    const relations = new Map(this.relations)
    return {
      ...{ xid, commitLsn, endLsn, commitTime, chunks, start, sides, ddl, changes, bytes, memory },
      ...{ inserts, updates, deletes, truncates, relations, end: this.offset },
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
    if (this.unlike === undefined) {
      const bit = this.like.bit(relation, operation)
      this.done |= bit
      if (bit !== 0) return
      this.unlike = this.like.part(this.done)
    }
    this.unlike.set(relation, (this.unlike.get(relation) ?? 0) | operation)
  }

  get relations(): ReadonlyMap<Relation, number> {
    if (this.unlike === undefined && this.done === this.like.bits) return this.like.operations
    return this.unlike ?? this.like.part(this.done)
  }

  /** What the next one may be like. */
  get pattern(): Pattern {
    if (this.unlike === undefined && this.done === this.like.bits) return this.like
    return new Pattern(this.relations)
  }

  release(): void {
    this.file?.close()
    this.file = undefined
  }

  /** Full chunks go to disk; those that were handed out go: whoever needs them again asks for the whole transaction again. */
  private spill(): void {
    const limit = this.memoryLimit
    for (; this.held > limit && this.oldest < this.chunks.length; this.oldest++) {
      const chunk = this.chunks[this.oldest]!
      if ('load' in chunk) continue
      if (this.inHand && this.forgets && !this.ddl && !this.shortened && this.oldest < this.handed) {
        this.incomplete = true
        this.own()[this.oldest] = gone
      } else {
        this.file ??= this.handlers.spill()
        this.own()[this.oldest] = this.file.store(chunk)
      }
      this.held -= chunk.length
    }
  }

  /** About how many bytes are not handed out. */
  get ahead(): number {
    return (this.chunks.length - 1 - this.handed) * this.writer.chunk.length
  }

  /** Chunks that nobody else shares. */
  protected own(): (Buffer | StoredChunk)[] {
    if (this.chunks.length === 1) this.chunks = [...this.chunks]
    return this.chunks as (Buffer | StoredChunk)[]
  }

  /** A message without rows: one byte of type, and the index of what it says. */
  appendSide(side: SideMessage, type: number): void {
    this.append(this.sides.length, Buffer.of(type), 0, 1)
    if (this.sides === noSides) this.sides = []
    this.sides.push(side)
    if (side.kind === 'ddl') this.bytes += side.content.length
  }
}

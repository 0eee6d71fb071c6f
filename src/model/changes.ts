import type { Lsn } from './lsn.ts'
import type { Relation } from './relation.ts'
import { Tuple } from './tuple.ts'

/** First byte of a stored message, as in pgoutput. */
export const messageInsert = 0x49 // I
export const messageUpdate = 0x55 // U
export const messageDelete = 0x44 // D
export const messageTruncate = 0x54 // T
export const messageLogical = 0x4d // M
/** The mark of a commit between two transactions, in a form of its own. */
export const messageCommit = 0x43 // C

/** What a transaction does to a table, as bits. */
export const operationInsert = 1
export const operationUpdate = 2
export const operationDelete = 4
export const operationTruncate = 8

/** A message that is no row; rare, so an object is fine. */
export type SideMessage =
  | { readonly kind: 'truncate'; readonly relations: readonly Relation[]; readonly restartIdentity: boolean }
  | { readonly kind: 'ddl'; readonly content: Buffer; readonly lsn: Lsn }

/** A chunk that is not held in memory. */
export interface StoredChunk {
  load(): Buffer
}

/** One committed upstream transaction. Its messages stand in `chunks`, in order; no object per row. */
export interface Transaction {
  readonly xid: number
  /** Start of the commit record. */
  readonly commitLsn: Lsn
  /** End of the commit record: the position that progress takes. */
  readonly endLsn: Lsn
  /** Microseconds since 2000-01-01 UTC, as the protocol has it. */
  readonly commitTime: bigint
  readonly chunks: readonly (Buffer | StoredChunk)[]
  /** Where it starts in the first chunk, and ends in the last. */
  readonly start: number
  readonly end: number
  /** Definitions that its rows use, and what is done to each: `operation…` or'ed together. */
  readonly relations: ReadonlyMap<Relation, number>
  /** TRUNCATE and DDL messages: a stored message of these types has its index here in place of a relation's. */
  readonly sides: readonly SideMessage[]
  readonly ddl: boolean
  readonly changes: number
  readonly inserts: number
  readonly updates: number
  readonly deletes: number
  readonly truncates: number
  readonly bytes: number
  /** How many of `bytes` are held in memory. */
  readonly memory: number
  /** The mark of its commit stands behind it: what follows there may be put to it. */
  readonly isMarked?: boolean
  /** Where it stands for several: how many, when the first was committed, and each of them by itself. What else it says is of the last. */
  readonly count?: number
  readonly firstCommitTime?: bigint
  /** Bytes that they take beside their messages. */
  readonly beside?: number
  separate?(): readonly Transaction[]
  /** Gives back what is not in memory: for when nobody reads it any more. */
  release?(): void
}

/** What a mark says. */
export type CommitMark = Pick<Transaction, 'xid' | 'commitLsn' | 'endLsn' | 'commitTime'>

/** How many transactions of the upstream these are. */
export function transactionsIn(batch: readonly Transaction[]): number {
  let count = 0
  for (const transaction of batch) count += transaction.count ?? 1
  return count
}

/** When the first of them was committed: what the protocol's microseconds say. */
export function firstCommit({ firstCommitTime, commitTime }: Transaction): bigint {
  return firstCommitTime ?? commitTime
}

/** Each by itself. */
export function separate(batch: readonly Transaction[]): readonly Transaction[] {
  return batch.some((each) => each.separate) ? batch.flatMap((each) => each.separate?.() ?? [each]) : batch
}

export function changesIn(batch: readonly Transaction[]): number {
  let changes = 0
  for (const transaction of batch) changes += transaction.changes
  return changes
}

/** Definitions that a batch uses. Neighbours mostly share one map. */
export function relationsIn(batch: readonly Transaction[]): Relation[] {
  const found = new Set<Relation>()
  let last: Transaction['relations'] | undefined
  for (const { relations } of batch) {
    if (relations === last) continue
    last = relations
    for (const relation of relations.keys()) found.add(relation)
  }
  return [...found]
}

/** Bytes before each message in a chunk. */
export const storedHead = 8
/** Type, xid, and three numbers of 8 bytes. */
export const markLength = 29
export const markBytes = storedHead + markLength

/** Walks the messages of a transaction, or of several. The one cursor is reused for every row. */
export class ChangeCursor {
  /** The current message: its first byte is the type. */
  buffer: Buffer = Buffer.alloc(0)
  offset = 0
  length = 0
  /** Index of the relation for rows, of the side message for others. */
  index = 0
  private transaction: Transaction | undefined
  private chunk = 0
  private current: Buffer | undefined
  private next = 0

  seek(transaction: Transaction): void {
    this.transaction = transaction
    this.enter(0, transaction.start)
  }

  /** Goes to the next message that is no mark; false at the end. */
  advance(): boolean {
    while (this.step()) if (this.buffer[this.offset] !== messageCommit) return true
    return false
  }

  /** Where the current message stands, with what is stored before it. */
  get at(): number {
    return this.offset - storedHead
  }

  /** What the mark says that it is at. */
  mark(): CommitMark {
    const { buffer, offset } = this
    return {
      xid: buffer.readUInt32BE(offset + 1),
      commitLsn: buffer.readBigUInt64BE(offset + 5),
      endLsn: buffer.readBigUInt64BE(offset + 13),
      commitTime: buffer.readBigInt64BE(offset + 21),
    }
  }

  /** Goes to the next message or mark; false at the end. */
  step(): boolean {
    const transaction = this.transaction
    if (!transaction) return false
    for (;;) {
      const last = this.chunk === transaction.chunks.length - 1
      const buffer = this.current
      if (!buffer || (last && this.next >= transaction.end)) return false
      const length = this.next + storedHead <= buffer.length ? buffer.readUInt32LE(this.next) : 0
      if (length > 0) {
        this.buffer = buffer
        this.index = buffer.readUInt32LE(this.next + 4)
        this.offset = this.next + storedHead
        this.length = length
        this.next = this.offset + length
        return true
      }
      this.enter(this.chunk + 1, 0)
    }
  }

  private enter(chunk: number, at: number): void {
    const entered = this.transaction?.chunks[chunk]
    this.chunk = chunk
    this.next = at
    this.current = entered && 'load' in entered ? entered.load() : entered
  }

  get type(): number {
    return this.buffer[this.offset]!
  }
}

/** What an UPDATE or DELETE says of the old row: nothing (key unchanged), its key, or all of it. */
export const oldNone = 0
export const oldKey = 0x4b // K
export const oldFull = 0x4f // O

/** A reusable view of one Insert, Update or Delete message. */
export class RowChange {
  type = 0
  old = oldNone
  readonly oldTuple = new Tuple()
  readonly newTuple = new Tuple()

  read(buffer: Buffer, offset: number): void {
    this.type = buffer[offset]!
    this.old = oldNone
    // type, relation OID (4 bytes), then the marker of the first tuple
    let at = offset + 5
    if (this.type !== messageInsert) {
      const marker = buffer[at]!
      if (marker === oldKey || marker === oldFull) {
        this.old = marker
        at = this.oldTuple.read(buffer, at + 1)
      }
    }
    if (this.type !== messageDelete) this.newTuple.read(buffer, at + 1)
  }

  /** The tuple whose values identify the row: the old one where the message has it. */
  get identity(): Tuple {
    return this.old === oldNone ? this.newTuple : this.oldTuple
  }
}

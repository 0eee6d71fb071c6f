import {
  ChangeCursor,
  type CommitMark,
  markBytes,
  messageCommit,
  messageDelete,
  messageInsert,
  type SideMessage,
  storedHead,
  type Transaction,
} from '../model/changes.ts'
import type { Lsn } from '../model/lsn.ts'
import type { Relation } from '../model/relation.ts'

/** What a batch of changes in order has at most: where one is split, a bundle need not be. */
const maxChanges = 1000

/**
 * Small transactions, one behind the other in one chunk, as one: a backlog has hundreds of thousands of them, and an object for each is
 * what its memory would go to. What each is stands between them, in the marks.
 */
export class Bundle implements Transaction {
  readonly chunks: Transaction['chunks']
  readonly start: number
  readonly relations: ReadonlyMap<Relation, number>
  readonly sides: readonly SideMessage[] = []
  readonly ddl = false
  isMarked = true
  readonly firstCommitTime: bigint
  count = 1
  xid: number
  commitLsn: Lsn
  endLsn: Lsn
  commitTime: bigint
  end: number
  changes: number
  inserts: number
  updates: number
  deletes: number
  readonly truncates = 0
  bytes: number

  constructor(first: Transaction) {
    this.chunks = first.chunks
    this.start = first.start
    this.relations = first.relations
    this.firstCommitTime = first.commitTime
    this.xid = first.xid
    this.commitLsn = first.commitLsn
    this.endLsn = first.endLsn
    this.commitTime = first.commitTime
    this.end = first.end
    this.changes = first.changes
    this.inserts = first.inserts
    this.updates = first.updates
    this.deletes = first.deletes
    this.bytes = first.bytes
  }

  get memory(): number {
    return this.bytes
  }

  /** What stands in the chunk beside the messages. */
  get beside(): number {
    return markBytes * this.count + storedHead * this.changes
  }

  /** Whether it may be followed by this one; `last` is the bundle, or what may become one. */
  static fits(last: Transaction, next: Transaction): boolean {
    return (
      last.isMarked === true &&
      last.chunks === next.chunks &&
      last.end + markBytes === next.start &&
      last.relations === next.relations &&
      // Schema changes and TRUNCATE are at the side.
      next.sides.length === 0 &&
      last.changes + next.changes <= maxChanges
    )
  }

  add(next: Transaction): void {
    this.count++
    this.isMarked = next.isMarked === true
    this.xid = next.xid
    this.commitLsn = next.commitLsn
    this.endLsn = next.endLsn
    this.commitTime = next.commitTime
    this.end = next.end
    this.changes += next.changes
    this.inserts += next.inserts
    this.updates += next.updates
    this.deletes += next.deletes
    this.bytes += next.bytes
  }

  /** Each by itself. */
  separate(): readonly Transaction[] {
    const { chunks, relations, sides } = this
    const found: Transaction[] = []
    const cursor = new ChangeCursor()
    let start = this.start
    let counts = { changes: 0, inserts: 0, updates: 0, deletes: 0, bytes: 0 }
    const commit = (last: CommitMark, end: number): void => {
      found.push({
        ...{ ...last, ...counts, truncates: 0, memory: counts.bytes },
        ...{ chunks, relations, sides, start, end, ddl: false },
      })
      start = end + markBytes
      counts = { changes: 0, inserts: 0, updates: 0, deletes: 0, bytes: 0 }
    }
    cursor.seek(this)
    while (cursor.step()) {
      if (cursor.type === messageCommit) {
        commit(cursor.mark(), cursor.at)
        continue
      }
      counts.changes++
      counts.bytes += cursor.length
      if (cursor.type === messageInsert) counts.inserts++
      else if (cursor.type === messageDelete) counts.deletes++
      else counts.updates++
    }
    const { xid, commitLsn, endLsn, commitTime } = this
    commit({ xid, commitLsn, endLsn, commitTime }, this.end)
    return found
  }
}

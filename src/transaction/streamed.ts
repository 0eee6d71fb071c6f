import { ChangeWriter } from '../model/change-writer.ts'
import {
  ChangeCursor,
  messageDelete,
  messageInsert,
  messageLogical,
  messageTruncate,
  messageUpdate,
} from '../model/changes.ts'
import { type OpenHandlers, OpenTransaction } from './open.ts'
import { Pattern } from './pattern.ts'

/** A table's definition: its index, and when it was said. */
export interface Definition {
  readonly index: number
  readonly at: number
}

/** Smaller than those of others, since many may be open at the same time. */
const chunkSize = 64 * 1024

/** Numbers of a mark: subtransaction, chunk, offset, whether a message before it may be of the same subtransaction. */
const width = 4

/**
 * A transaction that the upstream sends before it is committed. Subtransactions are nested, so what an aborted one leaves to
 * be taken back is everything from its first change on: it is known where that stands.
 */
export class StreamedTransaction extends OpenTransaction {
  /** What was said of tables in it: it holds for others from its commit on. */
  readonly definitions = new Map<number, Definition>()
  /** How many transactions had been committed when it began. */
  readonly born: number
  private readonly together: () => number
  private readonly marks: number[] = []
  private readonly places = new Map<number, number>()
  /** The (sub)transaction of what comes now. */
  private subxid: number
  /** A DDL message has come, and no change of the transaction itself since: it says nothing of its subtransaction. */
  private unsure = false

  /** `together`: how many are sent at the same time. */
  constructor(xid: number, handlers: OpenHandlers, born: number, together: () => number) {
    super(xid, new ChangeWriter(chunkSize), handlers, new Pattern())
    this.subxid = xid
    this.born = born
    this.together = together
  }

  protected override get memoryLimit(): number {
    return this.handlers.memory / this.together()
  }

  /** What follows is of this one. */
  within(subxid: number): void {
    this.subxid = subxid
    if (subxid === this.xid || this.places.has(subxid)) return
    this.places.set(subxid, this.marks.length / width)
    this.marks.push(subxid, this.chunks.length - 1, this.offset, this.unsure ? 1 : 0)
  }

  override append(relation: number, source: Buffer, offset: number, length: number): void {
    if (source[offset] === messageLogical) this.unsure = true
    else if (this.unsure && this.subxid === this.xid) this.unsure = false
    super.append(relation, source, offset, length)
  }

  /** Takes back what a subtransaction did. False where nobody can tell what that was. */
  abort(subxid: number): boolean {
    const place = this.places.get(subxid)
    if (place === undefined) return !this.unsure
    const [, chunk, offset, unsure] = this.marks.slice(place * width, (place + 1) * width)
    if (unsure === 1) return false
    for (let at = place * width; at < this.marks.length; at += width) this.places.delete(this.marks[at]!)
    this.marks.length = place * width
    this.unsure = false
    this.shorten(chunk!, offset!)
    return true
  }

  /** Whoever reads it at the time keeps what was there. */
  private shorten(chunk: number, offset: number): void {
    this.shortened = true
    // It comes again.
    if (this.incomplete) return
    const cursor = new ChangeCursor()
    cursor.seek({ ...this.view(), chunks: this.chunks.slice(chunk), start: offset, end: this.offset })
    while (cursor.advance()) this.forget(cursor)
    const last = this.chunks[chunk]!
    const bytes = 'load' in last ? last.load() : last
    this.writer.begin(bytes, offset)
    this.chunks = [...this.chunks.slice(0, chunk), this.writer.chunk]
    this.oldest = Math.max(1, Math.min(this.oldest, chunk))
    this.held = 0
    for (const each of this.chunks) if (!('load' in each)) this.held += each.length
  }

  private forget(cursor: ChangeCursor): void {
    this.changes--
    this.bytes -= cursor.length
    if (cursor.type === messageInsert) this.inserts--
    else if (cursor.type === messageUpdate) this.updates--
    else if (cursor.type === messageDelete) this.deletes--
    else if (cursor.type === messageTruncate) this.truncates--
    else {
      const side = this.sides[cursor.index]
      if (side?.kind === 'ddl') this.bytes -= side.content.length
    }
  }
}

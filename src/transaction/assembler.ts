import { ChangeWriter } from '../model/change-writer.ts'
import {
  messageInsert,
  messageLogical,
  messageTruncate,
  messageUpdate,
  operationDelete,
  operationInsert,
  operationTruncate,
  operationUpdate,
  type Transaction,
} from '../model/changes.ts'
import { ddlPrefix } from '../model/ddl-message.ts'
import type { Lsn } from '../model/lsn.ts'
import type { Relation } from '../model/relation.ts'
import { OpenTransaction } from './open.ts'
import { Pattern } from './pattern.ts'
import type { SpillFile } from './spill.ts'
import { type Definition, StreamedTransaction } from './streamed.ts'

/** The follower's own schema: its rows are never followed. */
const ownSchema = 'follower'

export interface AssemblerHandlers {
  /** A committed transaction that changes something followed. */
  transaction(transaction: Transaction): void
  /** A commit that changes nothing followed, or that progress has already (P4). */
  passed(endLsn: Lsn, duplicate: boolean): void
  /** More has come of a large transaction, whose commit may be far; it has no DDL so far. */
  grows?(transaction: OpenTransaction): void
  /** What was said to grow will not be committed, or has a schema change now. */
  dropped?(): void
  /** A subtransaction was aborted, and what of a streamed transaction is its part can't be told. */
  unclear?(): void
  /** Bytes of what is not committed in memory. */
  readonly memory: number
  /** A place for what of a transaction goes beyond that. */
  spill(): SpillFile
  /** A message with our prefix outside of a transaction: forged, since the capture's are transactional. */
  forged(): void
}

/**
 * Puts decoded messages together into committed transactions. Row messages are copied once, into chunks;
 * relations and the few other messages are kept in tables that the copies refer to by index.
 */
export class Assembler {
  /** Definitions by index: what a stored row's `relation` means. Grows only when a definition changes. */
  readonly relations: Relation[] = []
  private readonly current = new Map<number, Definition>()
  private readonly latest = new Map<number, number>()
  private readonly types = new Map<number, string>()
  private readonly writer = new ChangeWriter()
  private readonly handlers: AssemblerHandlers
  /** Commits that end at or before it have been received, or were in progress before. */
  private position: Lsn
  private open: OpenTransaction | undefined
  /** Sent before their commit, by xid. */
  private readonly streamed = new Map<number, StreamedTransaction>()
  /** The one of them that is being sent. */
  private block: StreamedTransaction | undefined
  /** Definitions and commits so far: what came first. */
  private said = 0
  private commits = 0
  /** What the transaction before did. */
  private pattern = new Pattern()

  /** `position`: commits that end at or before it are in progress already (P4). */
  constructor(position: Lsn, handlers: AssemblerHandlers) {
    this.position = position
    this.handlers = handlers
  }

  /** The end of the last commit that has arrived. */
  get received(): Lsn {
    return this.position
  }

  /** True between Begin and Commit: then a keepalive's position says nothing (P6). */
  get inTransaction(): boolean {
    return this.open !== undefined || this.block !== undefined
  }

  begin(commitLsn: Lsn, commitTime: bigint, xid: number): void {
    if (this.open) throw new RangeError('Begin within a transaction')
    this.open = new OpenTransaction(xid, this.writer, this.handlers, this.pattern)
    this.open.commitLsn = commitLsn
    this.open.commitTime = commitTime
    // Whether it is in progress already (P4) is said by its end alone.
    if (commitLsn < this.position) this.open.growsAt = Number.POSITIVE_INFINITY
  }

  commit(commitLsn: Lsn, endLsn: Lsn, commitTime: bigint): void {
    const open = this.opened()
    this.open = undefined
    this.end(open, commitLsn, endLsn, commitTime)
  }

  private end(open: OpenTransaction, commitLsn: Lsn, endLsn: Lsn, commitTime: bigint): void {
    const duplicate = endLsn <= this.position
    if (!duplicate) this.position = endLsn
    if (duplicate || open.changes === 0) {
      open.drop()
      this.handlers.dropped?.()
      this.handlers.passed(endLsn, duplicate)
      return
    }
    this.commits++
    open.commit(commitLsn, endLsn, commitTime)
    this.pattern = open.pattern
    this.handlers.transaction(open)
  }

  streamStart(xid: number): void {
    if (this.inTransaction) throw new RangeError('Stream Start within a transaction')
    this.block = this.streamed.get(xid)
    if (this.block) return
    const { spill, memory } = this.handlers
    const grows = (open: OpenTransaction): void => {
      // Where others come in between, most likely one of them is committed first.
      if (this.streamed.size === 1 && this.block?.born === this.commits) this.handlers.grows?.(open)
    }
    this.block = new StreamedTransaction(
      xid,
      { spill, memory, grows },
      this.commits,
      () => this.streamed.size,
    )
    this.streamed.set(xid, this.block)
  }

  streamStop(): void {
    this.block = undefined
  }

  /** What follows in the block is of this (sub)transaction. */
  within(subxid: number): void {
    this.block?.within(subxid)
  }

  streamCommit(xid: number, commitLsn: Lsn, endLsn: Lsn, commitTime: bigint): void {
    const open = this.streamed.get(xid)
    if (!open) throw new RangeError(`Stream Commit of ${xid}, which is not known`)
    this.streamed.delete(xid)
    for (const [oid, definition] of open.definitions) {
      const known = this.current.get(oid)
      if (!known || known.at < definition.at) this.current.set(oid, definition)
    }
    this.end(open, commitLsn, endLsn, commitTime)
  }

  streamAbort(xid: number, subxid: number): void {
    const open = this.streamed.get(xid)
    if (!open) return
    if (subxid !== xid) {
      if (!open.abort(subxid)) this.handlers.unclear?.()
    } else {
      this.streamed.delete(xid)
      open.drop()
    }
    this.handlers.dropped?.()
  }

  /** Nothing more of what is open will arrive: it will come again, from its beginning. */
  dropOpen(): void {
    if (!this.open) return
    this.open.drop()
    this.open = undefined
    this.handlers.dropped?.()
  }

  /** Nothing more will arrive. */
  close(): void {
    this.open?.release()
    this.open = undefined
    for (const open of this.streamed.values()) open.release()
    this.streamed.clear()
  }

  type(oid: number, schema: string, name: string): void {
    this.types.set(oid, `${schema}.${name}`)
  }

  relation(told: Relation): void {
    const relation = withTypeNames(told, this.types)
    // One object for what is said again, whoever it was said for.
    const said = this.latest.get(relation.oid)
    const same = said !== undefined && sameRelation(this.relations[said]!, relation)
    const index = same ? said : this.relations.length
    if (!same) this.relations.push(relation)
    this.latest.set(relation.oid, index)
    const definitions = this.block?.definitions ?? this.current
    definitions.set(relation.oid, { index, at: ++this.said })
  }

  row(oid: number, buffer: Buffer, offset: number, length: number): void {
    const open = this.opened()
    const index = this.indexOf(oid)
    const relation = this.relations[index]!
    if (relation.schema === ownSchema) return
    open.append(index, buffer, offset, length)
    const type = buffer[offset]
    if (type === messageInsert) {
      open.inserts++
      open.touch(relation, operationInsert)
    } else if (type === messageUpdate) {
      open.updates++
      open.touch(relation, operationUpdate)
    } else {
      open.deletes++
      open.touch(relation, operationDelete)
    }
  }

  truncate(oids: readonly number[], _cascade: boolean, restartIdentity: boolean): void {
    const relations = oids
      .map((oid) => this.relations[this.indexOf(oid)]!)
      .filter((relation) => relation.schema !== ownSchema)
    if (relations.length === 0) return
    const open = this.opened()
    for (const relation of relations) open.touch(relation, operationTruncate)
    open.truncates++
    open.appendSide({ kind: 'truncate', relations, restartIdentity }, messageTruncate)
  }

  message(transactional: boolean, lsn: Lsn, prefix: string, content: Buffer): void {
    if (prefix !== ddlPrefix) return
    if (!transactional) {
      this.handlers.forged()
      return
    }
    const open = this.opened()
    open.ddl = true
    open.appendSide({ kind: 'ddl', content: Buffer.from(content), lsn }, messageLogical)
    // What of it is at work would be given up at its commit otherwise, and hold its locks until then.
    this.handlers.dropped?.()
  }

  private opened(): OpenTransaction {
    const open = this.block ?? this.open
    if (!open) throw new RangeError('a change outside of a transaction')
    return open
  }

  private indexOf(oid: number): number {
    const definition = this.block?.definitions.get(oid) ?? this.current.get(oid)
    if (!definition) throw new RangeError(`no Relation message for OID ${oid}`)
    return definition.index
  }
}

function withTypeNames(relation: Relation, types: ReadonlyMap<number, string>): Relation {
  if (!relation.columns.some(({ typeOid }) => types.has(typeOid))) return relation
  const columns = relation.columns.map((column) => {
    const typeName = types.get(column.typeOid)
    return typeName === undefined ? column : { ...column, typeName }
  })
  return { ...relation, columns }
}

function sameRelation(a: Relation, b: Relation): boolean {
  return (
    a.schema === b.schema &&
    a.name === b.name &&
    a.identity === b.identity &&
    a.columns.length === b.columns.length &&
    a.columns.every((column, i) => {
      const other = b.columns[i]!
      return (
        column.name === other.name &&
        column.key === other.key &&
        column.typeOid === other.typeOid &&
        column.typeName === other.typeName &&
        column.typeModifier === other.typeModifier
      )
    })
  )
}

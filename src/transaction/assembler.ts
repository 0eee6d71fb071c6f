import {
  ChangeWriter,
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
import type { SpillFile } from './spill.ts'

/** The follower's own schema: its rows are never followed. */
const ownSchema = 'follower'

export interface AssemblerHandlers {
  /** A committed transaction that changes something followed. */
  transaction(transaction: Transaction): void
  /** A commit that changes nothing followed, or that progress has already (P4). */
  passed(endLsn: Lsn, duplicate: boolean): void
  /** More has come of a large transaction, whose commit may be far; it has no DDL so far. */
  grows?(transaction: OpenTransaction): void
  /** A place for what of a transaction goes beyond the memory. */
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
  private readonly current = new Map<number, number>()
  private readonly writer = new ChangeWriter()
  private readonly handlers: AssemblerHandlers
  private readonly position: Lsn
  private open: OpenTransaction | undefined
  /** Of the transaction before: one after the other mostly does the same to the same tables. */
  private operations = new Map<Relation, number>()

  /** `position`: commits that end at or before it are in progress already (P4). */
  constructor(position: Lsn, handlers: AssemblerHandlers) {
    this.position = position
    this.handlers = handlers
  }

  /** True between Begin and Commit: then a keepalive's position says nothing (P6). */
  get inTransaction(): boolean {
    return this.open !== undefined
  }

  /** Bytes of the transaction that is still arriving. */
  get openBytes(): number {
    return this.open?.bytes ?? 0
  }

  begin(commitLsn: Lsn, commitTime: bigint, xid: number): void {
    if (this.open) throw new RangeError('Begin within a transaction')
    this.open = new OpenTransaction(xid, this.writer, this.handlers)
    this.open.commitLsn = commitLsn
    this.open.commitTime = commitTime
    // Whether it is in progress already (P4) is said by its end alone.
    if (commitLsn < this.position) this.open.growsAt = Number.POSITIVE_INFINITY
  }

  commit(commitLsn: Lsn, endLsn: Lsn, commitTime: bigint): void {
    const open = this.opened()
    this.open = undefined
    const duplicate = endLsn <= this.position
    if (duplicate || open.changes === 0) {
      open.release()
      this.handlers.passed(endLsn, duplicate)
      return
    }
    open.commit(commitLsn, endLsn, commitTime)
    if (sameOperations(open.relations, this.operations)) open.relations = this.operations
    else this.operations = open.relations
    this.handlers.transaction(open)
  }

  /** Nothing more will arrive. */
  close(): void {
    this.open?.release()
    this.open = undefined
  }

  relation(relation: Relation): void {
    const known = this.current.get(relation.oid)
    if (known !== undefined && sameRelation(this.relations[known]!, relation)) return
    this.current.set(relation.oid, this.relations.length)
    this.relations.push(relation)
  }

  row(oid: number, buffer: Buffer, offset: number, length: number): void {
    const open = this.opened()
    const index = this.indexOf(oid)
    const relation = this.relations[index]!
    if (relation.schema === ownSchema) return
    open.append(index, buffer, offset, length)
    const type = buffer[offset]
    if (type === messageInsert) {
      open.counts.insert++
      open.touch(relation, operationInsert)
    } else if (type === messageUpdate) {
      open.counts.update++
      open.touch(relation, operationUpdate)
    } else {
      open.counts.delete++
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
    open.counts.truncate++
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
  }

  private opened(): OpenTransaction {
    if (!this.open) throw new RangeError('a change outside of a transaction')
    return this.open
  }

  private indexOf(oid: number): number {
    const index = this.current.get(oid)
    if (index === undefined) throw new RangeError(`no Relation message for OID ${oid}`)
    return index
  }
}

function sameOperations(a: ReadonlyMap<Relation, number>, b: ReadonlyMap<Relation, number>): boolean {
  if (a.size !== b.size) return false
  for (const [relation, operation] of a) if (b.get(relation) !== operation) return false
  return true
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
        column.typeModifier === other.typeModifier
      )
    })
  )
}

import {
  ChangeWriter,
  messageInsert,
  messageLogical,
  messageTruncate,
  messageUpdate,
  type OperationCounts,
  operationDelete,
  operationInsert,
  operationTruncate,
  operationUpdate,
  type SideMessage,
  type StoredChunk,
  type Transaction,
} from '../model/changes.ts'
import { ddlPrefix } from '../model/ddl-message.ts'
import type { Lsn } from '../model/lsn.ts'
import type { Relation } from '../model/relation.ts'
import type { SpillFile } from './spill.ts'

/** What is held in memory of one transaction; the rest waits on disk. */
const memoryLimit = 32 * 1024 * 1024

/** The follower's own schema: its rows are never followed. */
const ownSchema = 'follower'

export interface AssemblerHandlers {
  /** A committed transaction that changes something followed. */
  transaction(transaction: Transaction): void
  /** A commit that changes nothing followed, or that progress has already (P4). */
  passed(endLsn: Lsn, duplicate: boolean): void
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
  private readonly types = new Map<number, string>()
  private readonly writer = new ChangeWriter()
  private readonly handlers: AssemblerHandlers
  /** Commits that end at or before it have been received, or were in progress before. */
  private position: Lsn
  private open: OpenTransaction | undefined
  /** Of the transaction before: one after the other mostly does the same to the same tables. */
  private operations = new Map<Relation, number>()

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
    return this.open !== undefined
  }

  /** Bytes of the transaction that is still arriving. */
  get openBytes(): number {
    return this.open?.bytes ?? 0
  }

  begin(_commitLsn: Lsn, _commitTime: bigint, xid: number): void {
    if (this.open) throw new RangeError('Begin within a transaction')
    this.open = new OpenTransaction(xid, this.writer, this.handlers)
  }

  commit(commitLsn: Lsn, endLsn: Lsn, commitTime: bigint): void {
    const open = this.opened()
    this.open = undefined
    const duplicate = endLsn <= this.position
    if (!duplicate) this.position = endLsn
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

  /** Nothing more of what is open will arrive. */
  close(): void {
    this.open?.release()
    this.open = undefined
  }

  type(oid: number, schema: string, name: string): void {
    this.types.set(oid, `${schema}.${name}`)
  }

  relation(told: Relation): void {
    const relation = withTypeNames(told, this.types)
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

/** Becomes the committed transaction: small ones come by the thousand, and each object more is felt. */
class OpenTransaction implements Transaction {
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
  /** Bytes of the chunks in memory. */
  held = 0
  readonly xid: number
  private readonly writer: ChangeWriter
  private readonly handlers: Pick<AssemblerHandlers, 'spill'>
  private file: SpillFile | undefined
  private lastRelation: Relation | undefined
  private lastOperation = 0

  constructor(xid: number, writer: ChangeWriter, handlers: Pick<AssemblerHandlers, 'spill'>) {
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

  get memory(): number {
    return Math.min(this.bytes, Math.max(0, this.held))
  }

  append(relation: number, source: Buffer, offset: number, length: number): void {
    const end = this.writer.offset
    if (this.writer.append(relation, source, offset, length)) {
      if (this.held > memoryLimit) this.spill(end)
      this.chunks.push(this.writer.chunk)
    }
    this.changes++
    this.bytes += length
    this.held += length
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

  /** The last chunk, full now up to `end`, goes to disk. The first one may hold other transactions, too. */
  private spill(end: number): void {
    const last = this.chunks.length - 1
    const chunk = this.chunks[last]
    if (last === 0 || !(chunk instanceof Buffer)) return
    this.file ??= this.handlers.spill()
    this.chunks[last] = this.file.store(chunk)
    this.held -= end
  }

  /** A message without rows: one byte of type, and the index of what it says. */
  appendSide(side: SideMessage, type: number): void {
    this.append(this.sides.length, Buffer.of(type), 0, 1)
    this.sides.push(side)
    if (side.kind === 'ddl') this.bytes += side.content.length
  }
}

function sameOperations(a: ReadonlyMap<Relation, number>, b: ReadonlyMap<Relation, number>): boolean {
  if (a.size !== b.size) return false
  for (const [relation, operation] of a) if (b.get(relation) !== operation) return false
  return true
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

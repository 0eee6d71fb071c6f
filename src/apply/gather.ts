import {
  operationDelete,
  operationTruncate,
  operationUpdate,
  type RowChange,
  type Transaction,
} from '../model/changes.ts'
import type { Relation } from '../model/relation.ts'
import type { SetPlan, SetStatement } from '../model/statement.ts'
import type { Pipeline } from '../postgres/pipeline.ts'
import { type ArrayEncoder, ArrayText, CopyRows, type RowEncoder } from './encode.ts'
import { BinaryArray, BinaryRows } from './encode-binary.ts'
import { NetChanges, netDelete, netInsert, netPass, netReplace, netUpdate } from './net.ts'
import type { Prepared } from './prepared.ts'
import type { RelationStatements, Statements } from './statements.ts'
import { noWays, type Ways } from './ways.ts'
import { parseOnce } from './write.ts'

/**
 * Rows and bytes that are put together before they are sent. A batch begins with few, so that the server has something to do while the next
 * are put together; later more go at once, since of rows that are sorted by their key then more are neighbours, on the same page.
 */
const firstRows = 2_000
const maxRows = 200_000
const firstBytes = 256 * 1024
const maxBytes = 8 * 1024 * 1024

/** Changes of one table that wait to be sent together. */
interface Gathered {
  readonly plan: SetPlan
  readonly known: RelationStatements
  /** Absent where rows are only inserted. */
  readonly net: NetChanges | undefined
  readonly inserts: RowEncoder
  /** The same, where rows are only inserted, and are copied as they come. */
  readonly asTheyCome: BinaryRows | undefined
  readonly deletes: ArrayEncoder[]
  readonly updates: ArrayEncoder[]
}

/**
 * Puts the changes of a batch together by table: rows that are only inserted are copied, of others the net change is
 * applied by one statement for many rows. Leaves to the ordered way what it can't take; the caller keeps the order of those.
 */
export class Gatherer {
  ways: Ways = noWays()
  private readonly gathered = new Map<Relation, Gathered | undefined>()
  /** What the batch in hand does to each table. */
  private readonly operations = new Map<Relation, number>()
  private readonly statements: Statements
  private readonly pipeline: Pipeline
  private readonly change: RowChange
  /** Set for as long as a row is read for sending, so that the change in hand stays. */
  private readonly row: RowChange
  private limit = firstRows
  private limitBytes = firstBytes
  private rows = 0
  private bytes = 0
  /** Neighbours are mostly of one table. */
  private lastRelation: Relation | undefined
  private lastRows: BinaryRows | undefined

  constructor(statements: Statements, pipeline: Pipeline, change: RowChange, row: RowChange) {
    this.statements = statements
    this.pipeline = pipeline
    this.change = change
    this.row = row
  }

  /**
   * Begins a batch whose relations are loaded. False where it is to be applied in order: some table runs code that
   * could see in which order the changes come, or two definitions stand for one table.
   */
  begin(batch: readonly Transaction[]): boolean {
    this.gathered.clear()
    this.lastRelation = undefined
    this.limit = firstRows
    this.limitBytes = firstBytes
    this.ways = noWays()
    this.operations.clear()
    let last: Transaction['relations'] | undefined
    for (const { relations } of batch) {
      if (relations === last) continue
      last = relations
      for (const [relation, done] of relations)
        this.operations.set(relation, (this.operations.get(relation) ?? 0) | done)
    }
    const names = new Set<string>()
    for (const [relation, done] of this.operations) {
      if (this.statements.ignores(relation)) continue
      const known = this.statements.of(relation)
      const name = `${relation.schema}\0${relation.name}`
      if (!this.statements.isFree(known) || names.has(name)) return false
      names.add(name)
      this.gathered.set(relation, this.prepare(relation, known, done & ~operationTruncate))
    }
    return true
  }

  /** Whether a batch may be large: rows that are changed again and again are changed once, since none goes by the ordered way. */
  mayBeLarge(batch: readonly Transaction[]): boolean {
    if (!this.begin(batch)) return false
    for (const [relation, done] of this.operations)
      if ((done & (operationUpdate | operationDelete)) !== 0 && !this.gathered.get(relation)) return false
    return true
  }

  /** Takes a message as it stands there, unread; false where it has to be read. */
  takeUnread(relation: Relation, buffer: Buffer, offset: number, length: number): boolean {
    const rows = relation === this.lastRelation ? this.lastRows : this.rowsOf(relation)
    if (!rows) return false
    rows.addInsert(buffer, offset, length)
    this.ways.copied++
    this.rows++
    this.bytes += length
    return true
  }

  private rowsOf(relation: Relation): BinaryRows | undefined {
    this.lastRelation = relation
    this.lastRows = this.gathered.get(relation)?.asTheyCome
    return this.lastRows
  }

  /** Takes the change in hand, which stands in `buffer` at `offset`; false where it has to be sent by itself now. */
  take(relation: Relation, buffer: Buffer, offset: number, length: number): boolean {
    const gathered = this.gathered.get(relation)
    if (!gathered) {
      this.ways.ordered++
      return false
    }
    if (!gathered.net) {
      gathered.inserts.add(this.change.newTuple, gathered.plan.insert.columns)
      this.ways.copied++
    } else if (!this.takeNet(gathered, gathered.net, buffer, offset)) {
      this.ways.ordered++
      return false
    }
    this.rows++
    this.bytes += length
    return true
  }

  /** True once what waits should be sent. */
  get full(): boolean {
    return this.rows >= this.limit || this.bytes >= this.limitBytes
  }

  /** Sends all that waits. */
  flush(): void {
    for (const gathered of this.gathered.values()) if (gathered) this.send(gathered)
    this.limit = Math.min(maxRows, this.limit * 2)
    this.limitBytes = Math.min(maxBytes, this.limitBytes * 2)
    this.rows = 0
    this.bytes = 0
  }

  private takeNet(gathered: Gathered, net: NetChanges, buffer: Buffer, offset: number): boolean {
    let taken = net.add(this.change, buffer, offset)
    if (taken !== 'taken') {
      this.send(gathered)
      if (taken === 'full') taken = net.add(this.change, buffer, offset)
    }
    if (taken !== 'taken') return false
    this.ways.net++
    return true
  }

  private prepare(relation: Relation, known: RelationStatements, operations: number): Gathered | undefined {
    const plan = this.statements.sets(known, operations)
    if (!plan) return undefined
    const { binary } = plan
    const arrays = (statement: SetStatement | undefined): ArrayEncoder[] =>
      (statement?.elements ?? []).map((element) => (binary ? new BinaryArray(element) : new ArrayText()))
    const net = plan.key.length > 0 ? new NetChanges(plan.key) : undefined
    const inserts = binary ? new BinaryRows() : new CopyRows()
    const all = plan.insert.columns
    const inOrder = all.length === relation.columns.length && all.every((column, i) => column === i)
    return {
      ...{ plan, known, net, inserts },
      asTheyCome: !net && inOrder && inserts instanceof BinaryRows ? inserts : undefined,
      deletes: arrays(plan.delete),
      updates: arrays(plan.update),
    }
  }

  /** In an order in which no unique value is there twice, as long as it goes from row to row only by way of these. */
  private send({ plan, known, net, inserts, deletes, updates }: Gathered): void {
    if (net) {
      if (plan.delete) this.sendSet(known, plan, plan.delete, deletes, net, netDelete, netReplace)
      if (plan.update) this.sendSet(known, plan, plan.update, updates, net, netUpdate, netUpdate)
      for (let i = 0; i < net.size; i++) {
        const state = net.state(i)
        if (state !== netInsert && state !== netReplace && state !== netPass) continue
        net.read(i, this.row)
        inserts.add(this.row.newTuple, plan.insert.columns)
      }
    }
    if (inserts.rows > 0) {
      const { rows } = inserts
      this.pipeline.copy(plan.insert.sql, inserts.take(), rows)
    }
    if (net && plan.delete) this.sendSet(known, plan, plan.delete, deletes, net, netPass, netPass)
    net?.clear()
  }

  /** One statement for all rows in either state. */
  private sendSet(
    known: RelationStatements,
    { binary }: SetPlan,
    statement: SetStatement,
    arrays: readonly ArrayEncoder[],
    net: NetChanges,
    state: number,
    orState: number,
  ): void {
    let rows = 0
    for (let i = 0; i < net.size; i++) {
      if (net.state(i) !== state && net.state(i) !== orState) continue
      if (rows++ === 0) for (const array of arrays) array.begin()
      net.read(i, this.row)
      const tuple = this.row.type === 0x44 ? this.row.oldTuple : this.row.newTuple
      for (let c = 0; c < arrays.length; c++) arrays[c]!.add(tuple, statement.columns[c]!)
    }
    if (rows === 0) return
    const prepared: Prepared = this.statements.forSet(known, statement)
    parseOnce(this.pipeline.writer, prepared)
    this.pipeline.bindValues(
      prepared.name,
      arrays.map((array) => array.end()),
      rows,
      binary,
    )
  }
}

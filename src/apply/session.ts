import type pg from 'pg'
import { ChangeCursor, RowChange, type Transaction } from '../model/changes.ts'
import { formatLsn, type Lsn } from '../model/lsn.ts'
import type { Relation } from '../model/relation.ts'
import type { OnOrdinaryTriggers, ReplicationRole } from '../model/replication-role.ts'
import type { Planner, Versions } from '../model/statement.ts'
import { failpointOn } from '../postgres/failpoint.ts'
import { quoteLiteral } from '../postgres/identifier.ts'
import { Pipeline } from '../postgres/pipeline.ts'
import { sql } from '../postgres/sql.ts'
import { Cascades } from './cascades.ts'
import { progressError } from './errors.ts'
import { Gatherer } from './gather.ts'
import { Statements } from './statements.ts'
import type { Waiting } from './waiting.ts'
import { parseOnce } from './write.ts'

/**
 * A foreign key that held only at the end of an upstream statement or transaction holds at the end of the downstream's.
 * https://www.postgresql.org/docs/current/sql-set-constraints.html
 */
const deferConstraints = 'SET CONSTRAINTS ALL DEFERRED'

/** An expression for microseconds since 2000, as the protocol has them. */
function commitTimestamp(microseconds: string): string {
  return `timestamptz '2000-01-01 00:00:00+00' + interval '1 microsecond' * ${microseconds}`
}

async function deferrableConstraints(
  client: pg.Client,
  relations: readonly Relation[],
): Promise<string | undefined> {
  const { rows } = await client.query<{ names: string | null }>(sql('query/deferrable_constraints'), [
    relations.map((relation) => relation.schema),
    relations.map((relation) => relation.name),
  ])
  return rows[0]?.names ?? undefined
}

/**
 * One connection that applies, and the progress row that it writes: the row is part of every transaction
 * (P1), and says `WHERE epoch = mine AND lsn = previous` (P8).
 */
export class ApplySession {
  readonly pipeline: Pipeline
  readonly statements: Statements
  readonly waiting: Waiting
  readonly cursor = new ChangeCursor()
  readonly change = new RowChange()
  /** Absent where foreign keys and triggers act: then the order of the upstream counts. */
  readonly gatherer: Gatherer | undefined
  /** Whether the attempt in hand uses it. */
  together = false
  /** Batches of fewer changes are applied in order: faster then, with better errors. */
  readonly togetherFrom: number
  /** What the progress row holds: the end of the last transaction that is committed here. */
  position: Lsn
  /** What fails is asked for as text: errors and conflicts tell values. */
  readonly isBinary: boolean
  /** Unchanged TOAST values met so far. */
  unchanged = 0
  readonly client: pg.Client
  /** What begins a downstream transaction. */
  readonly begin: readonly string[]
  /** Where foreign keys act downstream: what they have done already. */
  readonly cascades: Cascades | undefined
  /** Definitions by index, as the stream's stored messages refer to them. */
  readonly relations: readonly Relation[]
  /** An incident shows the values of the row at fault. */
  readonly incidentRows: boolean
  private readonly name: string
  private readonly epoch: bigint
  private readonly moves: 'follow' | 'tables'

  constructor(options: {
    client: pg.Client
    relations: readonly Relation[]
    planner: Planner
    name: string
    epoch: bigint
    position: Lsn
    replicationRole: ReplicationRole
    ordinaryTriggers: OnOrdinaryTriggers
    togetherFrom: number
    waiting: Waiting
    /** The servers' versions where values arrive in binary. */
    binary: Versions | undefined
    /** Whose position is moved: the follow's, or that of copied tables which are behind it. */
    moves?: 'follow' | 'tables'
    incidentRows: boolean
  }) {
    this.client = options.client
    this.relations = options.relations
    this.incidentRows = options.incidentRows
    this.name = options.name
    this.epoch = options.epoch
    this.moves = options.moves ?? 'follow'
    this.position = options.position
    this.waiting = options.waiting
    this.pipeline = new Pipeline(options.client)
    const isOrigin = options.replicationRole === 'origin'
    this.statements = new Statements(
      options.client,
      options.planner,
      isOrigin && options.ordinaryTriggers === 'halt',
      options.waiting,
      options.binary,
    )
    this.isBinary = options.binary !== undefined
    this.togetherFrom = options.togetherFrom
    this.gatherer = isOrigin
      ? undefined
      : new Gatherer(this.statements, this.pipeline, this.change, new RowChange())
    this.begin = isOrigin ? ['BEGIN', deferConstraints] : ['BEGIN']
    this.cascades = isOrigin ? new Cascades(options.client) : undefined
  }

  /**
   * Writes progress and commits what is open, in one exchange: that in hand, or one of its own. Throws the server's error where
   * anything of it fails. `quick`: few changes and no code of others, so that less may be said.
   */
  async commit(last: Transaction, quick = false): Promise<void> {
    await failpointOn('apply.before-commit', this.client)
    if (!this.pipeline.isOpen) this.pipeline.open()
    this.statements.wall.beforeCommit(this.pipeline)
    if (quick) this.writeAdvance(last)
    else this.pipeline.statement(this.advance(last.endLsn, last.commitTime))
    this.pipeline.statement('COMMIT')
    const result = await this.pipeline.sync(() => failpointOn('apply.commit-sent', this.client))
    if (result.error) throw result.error
    // A transaction that had failed answers COMMIT with ROLLBACK, and no error.
    if (result.lastTag !== 'C') throw new Error('the downstream rolled back instead of committing')
    await failpointOn('apply.committed', this.client)
    this.waiting.committed()
    this.position = last.endLsn
  }

  /** Checks now what is pending on the relations: TRUNCATE refuses a table with pending trigger events. */
  async checkPending(relations: readonly Relation[]): Promise<void> {
    const names = await deferrableConstraints(this.client, relations)
    if (names !== undefined) await this.client.query(`SET CONSTRAINTS ${names} IMMEDIATE`)
  }

  /** After what may have ended it. */
  async deferAgain(): Promise<void> {
    if (this.cascades) await this.client.query(deferConstraints)
  }

  /** After a commit: code of a table's owner that ran at COMMIT may have changed the session, too. */
  settle(): Promise<void> {
    return this.statements.wall.afterCommit(this.pipeline)
  }

  /** Moves the row alone: the upstream went on without changing anything followed. */
  async move(lsn: Lsn): Promise<void> {
    await failpointOn('progress.keepalive', this.client)
    this.pipeline.open()
    this.pipeline.statement(this.advance(lsn, undefined))
    const result = await this.pipeline.sync()
    if (result.error) throw progressError(result.error)
    this.position = lsn
  }

  /** Moves the row over exactly this transaction, which a person said to leave out, and records that; nothing of it is applied. */
  async skip(transaction: Transaction): Promise<void> {
    await failpointOn('apply.before-commit', this.client)
    const { xid, changes, endLsn, commitTime } = transaction
    const position = this.positions(endLsn, commitTime)
    this.pipeline.open()
    this.pipeline.statement(`SELECT follower.skip_transaction(${position}, ${xid}, ${changes})`)
    const result = await this.pipeline.sync(() => failpointOn('apply.commit-sent', this.client))
    if (result.error) throw progressError(result.error)
    await failpointOn('apply.committed', this.client)
    this.position = endLsn
  }

  /** Undoes what is open, and forgets what may have been prepared in it. */
  async rollback(): Promise<void> {
    if (this.pipeline.isOpen) await this.pipeline.sync()
    await this.client.query('ROLLBACK')
    this.statements.wall.rolledBack()
    this.waiting.rolledBack()
    await this.statements.reset()
  }

  /** The same as a prepared statement: parsing and planning the call takes longer than the change of a small transaction. */
  private writeAdvance({ endLsn, commitTime }: Transaction): void {
    const { pipeline, statements } = this
    const advance = statements.advance(this.advanceBy(`$1, $2, $3, $4, ${commitTimestamp('$5')}`))
    parseOnce(pipeline.writer, advance)
    const values = [this.name, this.epoch, formatLsn(this.position), formatLsn(endLsn), commitTime]
    pipeline.bindValues(
      advance.name,
      values.map((value) => Buffer.from(String(value))),
      1,
      false,
    )
  }

  private advance(lsn: Lsn, commitTime: bigint | undefined): string {
    return this.advanceBy(this.positions(lsn, commitTime))
  }

  private advanceBy(positions: string): string {
    return `SELECT follower.${this.moves === 'follow' ? 'advance_progress' : 'advance_copies'}(${positions})`
  }

  /** Whose row it is, where it has to be, and where it goes: arguments for SQL. */
  private positions(lsn: Lsn, commitTime: bigint | undefined): string {
    const time = commitTime === undefined ? 'NULL' : commitTimestamp(commitTime.toString())
    const [name, previous, next] = [this.name, formatLsn(this.position), formatLsn(lsn)].map(quoteLiteral)
    return `${name}, ${this.epoch}, ${previous}, ${next}, ${time}`
  }
}

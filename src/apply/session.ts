import type pg from 'pg'
import { ChangeCursor, RowChange, type Transaction } from '../model/changes.ts'
import { formatLsn, type Lsn } from '../model/lsn.ts'
import type { Relation } from '../model/relation.ts'
import type { Planner } from '../model/statement.ts'
import { failpointOn } from '../postgres/failpoint.ts'
import { quoteLiteral } from '../postgres/identifier.ts'
import { Pipeline } from '../postgres/pipeline.ts'
import { progressError } from './errors.ts'
import { Statements } from './statements.ts'

/**
 * One connection that applies, and the progress row that it writes: the row is part of every transaction
 * (P1), and says `WHERE epoch = mine AND lsn = previous` (P8).
 */
export class ApplySession {
  readonly pipeline: Pipeline
  readonly statements: Statements
  readonly cursor = new ChangeCursor()
  readonly change = new RowChange()
  /** What the progress row holds: the end of the last transaction that is committed here. */
  position: Lsn
  /** Unchanged TOAST values met so far. */
  unchanged = 0
  readonly client: pg.Client
  /** Definitions by index, as the stream's stored messages refer to them. */
  readonly relations: readonly Relation[]
  private readonly name: string
  private readonly epoch: bigint

  constructor(options: {
    client: pg.Client
    relations: readonly Relation[]
    planner: Planner
    name: string
    epoch: bigint
    position: Lsn
  }) {
    this.client = options.client
    this.relations = options.relations
    this.name = options.name
    this.epoch = options.epoch
    this.position = options.position
    this.pipeline = new Pipeline(options.client)
    this.statements = new Statements(options.client, options.planner)
  }

  /** Writes progress and commits what is open, in one exchange. Throws the server's error where either fails. */
  async commit(last: Transaction): Promise<void> {
    await failpointOn('apply.before-commit', this.client)
    this.pipeline.open()
    this.statements.wall.beforeCommit(this.pipeline)
    this.pipeline.statement(this.advance(last.endLsn, last.commitTime))
    this.pipeline.statement('COMMIT')
    const result = await this.pipeline.sync(() => failpointOn('apply.commit-sent', this.client))
    if (result.error) throw result.error
    // A transaction that had failed answers COMMIT with ROLLBACK, and no error.
    if (result.lastTag !== 'C') throw new Error('the downstream rolled back instead of committing')
    await failpointOn('apply.committed', this.client)
    this.position = last.endLsn
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

  /** Undoes what is open, and forgets what may have been prepared in it. */
  async rollback(): Promise<void> {
    if (this.pipeline.isOpen) await this.pipeline.sync()
    await this.client.query('ROLLBACK')
    this.statements.wall.rolledBack()
    await this.statements.reset()
  }

  private advance(lsn: Lsn, commitTime: bigint | undefined): string {
    const time =
      commitTime === undefined
        ? 'NULL'
        : `timestamptz '2000-01-01 00:00:00+00' + interval '1 microsecond' * ${commitTime}`
    const [name, previous, next] = [this.name, formatLsn(this.position), formatLsn(lsn)].map(quoteLiteral)
    return `SELECT follower.advance_progress(${name}, ${this.epoch}, ${previous}, ${next}, ${time})`
  }
}

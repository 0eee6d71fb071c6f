import type pg from 'pg'
import { relationName } from '../model/relation.ts'
import type { End } from '../postgres/end.ts'
import { failpointOn } from '../postgres/failpoint.ts'
import { sqlstate } from '../postgres/sqlstate.ts'
import { copyStatements, only, type Versions } from './statements.ts'
import { type CopyPart, type CopyTable, planParts, type TableDefinition } from './table.ts'
import { CopyFailed, transfer } from './transfer.ts'

/** One connection at each end, for one piece of work after the other. */
export interface CopyPair {
  readonly upstream: pg.Client
  readonly downstream: pg.Client
  close(): Promise<void>
}

/** Statements that run with the rights of a table's owner, since its rows run code of that owner. */
export interface OwnerWall {
  /** A temporary table, dropped at COMMIT, that takes the columns as text. */
  stage(columns: readonly string[]): Promise<string>
  /** Puts what is in the stage into the table. */
  unstage(columns: readonly string[]): Promise<void>
  run(statement: string): Promise<void>
  /** Before what comes last in the transaction, and after its COMMIT. */
  beforeCommit(): Promise<void>
  afterCommit(): Promise<void>
}

export interface CopyPort {
  connect(): Promise<CopyPair>
  /** What the table is upstream now; undefined where it is gone. */
  current(oid: number): Promise<TableDefinition | undefined>
  /** The downstream table, in the transaction that writes it; throws where it is missing. */
  target(client: pg.Client, table: CopyTable): Promise<TableDefinition>
  /** undefined: the table may be written as it is. */
  wall(client: pg.Client, target: TableDefinition): Promise<OwnerWall | undefined>
  /** Throws where rows are there that are nobody's to remove; `clear` where they are to be removed. */
  occupied(client: pg.Client, target: TableDefinition, table: CopyTable): Promise<'empty' | 'clear'>
  /** SQL that removes all rows. */
  clearing(client: pg.Client, target: TableDefinition, table: CopyTable): Promise<string>
  moved(table: CopyTable, bytes: number): void
  copied(table: CopyTable, rows: number): void
  later(table: CopyTable, why: 'changed' | 'gone'): void
}

export interface CopyOptions {
  readonly name: string
  readonly epoch: bigint
  /** Of pg_export_snapshot or a slot: shows the upstream as of `lsn`. */
  readonly snapshot: string
  readonly lsn: string
  readonly jobs: number
  readonly splitBytes: number
  readonly versions: Versions
}

/**
 * Copies tables under one snapshot, over several connections. Each part's rows are committed with the row that says so
 * (sql/downstream/table_copy.sql). A table that has changed upstream since the snapshot is left: the snapshot may not show its rows.
 * Throws what stopped it; what is committed stays.
 */
export class Copier {
  private readonly options: CopyOptions
  private readonly port: CopyPort
  private readonly parts: CopyPart[]
  /** By table: its beginning, where it has several parts. */
  private readonly begun = new Map<CopyTable, Promise<void>>()
  private readonly left = new Set<CopyTable>()
  private readonly rows = new Map<CopyTable, number>()
  private failure: unknown

  constructor(tables: readonly CopyTable[], options: CopyOptions, port: CopyPort) {
    this.options = options
    this.port = port
    this.parts = planParts(tables, options)
  }

  async run(): Promise<void> {
    const workers = Math.min(this.options.jobs, this.parts.length)
    const work = Array.from({ length: workers }, () => this.work())
    await Promise.all(work)
    if (this.failure !== undefined) throw this.failure
  }

  private async work(): Promise<void> {
    let pair: CopyPair | undefined
    try {
      pair = await this.port.connect()
      for (;;) {
        const part = this.failure === undefined ? this.parts.shift() : undefined
        if (!part) return
        if (!this.left.has(part.table)) await this.named(part, pair)
      }
    } catch (error) {
      this.failure ??= error
    } finally {
      await pair?.close()
    }
  }

  private async named(part: CopyPart, pair: CopyPair): Promise<void> {
    try {
      await this.part(part, pair)
    } catch (error) {
      if (error instanceof CopyFailed) error.table ??= relationName(part.table)
      throw error
    }
  }

  private async part(part: CopyPart, pair: CopyPair): Promise<void> {
    const { table } = part
    const why = await this.hold(table, pair.upstream)
    if (why !== undefined) {
      await run('upstream', pair.upstream, 'ROLLBACK')
      if (this.left.has(table)) return
      this.left.add(table)
      this.port.later(table, why)
      return
    }
    if (part.parts > 1) {
      if (!this.begun.has(table)) this.begun.set(table, this.begin(part, pair.downstream))
      await this.begun.get(table)
    }
    const state = await this.write(part, pair)
    await run('upstream', pair.upstream, 'COMMIT')
    if (state !== 'copied') return
    this.port.copied(table, this.rows.get(table) ?? 0)
  }

  /** Locks the table upstream, under the snapshot; says why it can't be copied under it. */
  private async hold(table: CopyTable, upstream: pg.Client): Promise<'changed' | 'gone' | undefined> {
    await failpointOn('copy.table', upstream)
    try {
      await run(
        'upstream',
        upstream,
        `BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET TRANSACTION SNAPSHOT '${this.options.snapshot}'; LOCK TABLE ${only(table)} IN ACCESS SHARE MODE`,
      )
    } catch (error) {
      // Dropped or renamed, or its schema is; or something else has its name.
      if (!['42P01', '3F000', '42809'].includes(sqlstate((error as Error).cause) ?? '')) throw error
      return (await this.port.current(table.oid)) ? 'changed' : 'gone'
    }
    const now = await this.port.current(table.oid)
    return now === undefined ? 'gone' : now.mark === table.mark ? undefined : 'changed'
  }

  /** A table of several parts is ours from here on, and empty. */
  private async begin(part: CopyPart, client: pg.Client): Promise<void> {
    await run('downstream', client, 'BEGIN')
    const target = await this.port.target(client, part.table)
    const wall = await this.port.wall(client, target)
    await this.clear(part.table, target, client, wall)
    await wall?.beforeCommit()
    await run('downstream', client, ...this.beginning(part))
    await run('downstream', client, 'COMMIT')
    await wall?.afterCommit()
    await failpointOn('copy.begun', client)
  }

  private beginning({ table, parts }: CopyPart): [string, string[]] {
    const { name, epoch, lsn } = this.options
    return [
      'SELECT follower.begin_table_copy($1, $2, $3, $4, $5)',
      [name, String(epoch), String(table.oid), lsn, String(parts)],
    ]
  }

  private async clear(
    table: CopyTable,
    target: TableDefinition,
    client: pg.Client,
    wall: OwnerWall | undefined,
  ): Promise<void> {
    if ((await this.port.occupied(client, target, table)) === 'empty') return
    const statement = await this.port.clearing(client, target, table)
    if (wall) await wall.run(statement)
    else await run('downstream', client, statement)
  }

  private async write(part: CopyPart, pair: CopyPair): Promise<string> {
    const { table } = part
    const { downstream } = pair
    const { name, epoch, lsn, versions } = this.options
    await run('downstream', downstream, 'BEGIN')
    const target = await this.port.target(downstream, table)
    const wall = await this.port.wall(downstream, target)
    if (part.parts === 1) {
      await this.clear(table, target, downstream, wall)
      await run('downstream', downstream, ...this.beginning(part))
    }
    const names = copyStatements(part, target, versions).columns.map((column) => column.name)
    const stage = await wall?.stage(names)
    const result = await transfer(pair, copyStatements(part, target, versions, stage), (bytes) =>
      this.port.moved(table, bytes),
    )
    await wall?.unstage(names)
    await wall?.beforeCommit()
    await failpointOn('copy.before-commit', downstream)
    const [state] = await run(
      'downstream',
      downstream,
      'SELECT follower.end_part_copy($1, $2, $3, $4, $5, $6) AS state',
      [name, String(epoch), String(table.oid), lsn, String(result.rows), String(result.bytes)],
    )
    await run('downstream', downstream, 'COMMIT')
    await wall?.afterCommit()
    await failpointOn('copy.committed', downstream)
    this.rows.set(table, (this.rows.get(table) ?? 0) + result.rows)
    return state?.state ?? ''
  }
}

type Row = Readonly<Record<string, string | null>>

async function run(
  end: End,
  client: pg.Client,
  text: string,
  values?: readonly string[],
): Promise<readonly Row[]> {
  try {
    const result = await (values ? client.query<Row>(text, [...values]) : client.query<Row>(text))
    return result.rows
  } catch (error) {
    throw new CopyFailed(end, error as Error)
  }
}

import type pg from 'pg'
import type { CopyPair, CopyPort, OwnerWall } from '../copy/copier.ts'
import { only, qualified } from '../copy/statements.ts'
import type { CopyTable, TableDefinition } from '../copy/table.ts'
import { ExitCode, FollowerError } from '../errors.ts'
import { relationName } from '../model/relation.ts'
import { connect } from '../postgres/connect.ts'
import type { End } from '../postgres/end.ts'
import { quoteLiteral } from '../postgres/identifier.ts'
import { destroyClient } from '../postgres/socket.ts'
import { tableDefinitions, tablesByName } from '../provision/copy-tables.ts'
import type { Prepared } from '../provision/prepare.ts'
import { ask, askOne } from '../provision/query.ts'
import { type PrepareContext, pinApply } from './context.ts'
import type { CopyReport } from './copy-report.ts'
import { copyWall, untrusted } from './copy-wall.ts'

/** What the copier asks of both ends. */
export class CopyPorts implements CopyPort {
  private readonly context: PrepareContext
  private readonly prepared: Prepared
  /** Hears of what is copied; set before anything is. */
  report: CopyReport | undefined
  private readonly signal: AbortSignal
  /** By qualified name. */
  private readonly targets = new Map<string, TableDefinition>()
  /** Of owners that are not trusted with the daemon's rights, at least in part. */
  private readonly guarded = new Set<TableDefinition>()
  /** One question at a time. */
  private asking: Promise<unknown> = Promise.resolve()

  /** `signal` cuts all of its connections. */
  constructor(context: PrepareContext, prepared: Prepared, signal: AbortSignal) {
    this.context = context
    this.prepared = prepared
    this.signal = signal
  }

  async connect(): Promise<CopyPair> {
    const { settings } = this.context
    const { signal } = this
    const open: pg.Client[] = []
    const cut = (): void => {
      for (const client of open) destroyClient(client)
    }
    const close = async (): Promise<void> => {
      signal.removeEventListener('abort', cut)
      await Promise.all(open.map((client) => client.end().catch(() => {})))
    }
    const add = async (end: End): Promise<pg.Client> => {
      const client = await connect({
        ...{ end, conninfo: settings[end], applicationName: settings.applicationName, signal },
      })
      open.push(client)
      return client
    }
    signal.addEventListener('abort', cut, { once: true })
    try {
      const upstream = await add('upstream')
      const downstream = await add('downstream')
      await pinApply(downstream, settings, this.prepared.replicationRole)
      // What a crash there loses of the last commits is copied again; the first commit of the stream makes all before it durable.
      await downstream.query('SET synchronous_commit = off')
      return { upstream, downstream, close }
    } catch (error) {
      await close()
      throw error
    }
  }

  async current(oid: number): Promise<TableDefinition | undefined> {
    const { upstream } = this.context.connections
    const answer = this.asking.then(() => tableDefinitions(upstream, 'upstream', [oid], 'follower_table'))
    // The next one asks whatever became of this one.
    this.asking = answer.catch(() => {})
    return (await answer).get(oid)
  }

  /** Looks at the tables downstream, all at once, in a session as those that write them. */
  async look(tables: readonly CopyTable[]): Promise<void> {
    const { downstream, close } = await this.connect()
    try {
      for (const target of await tablesByName(downstream, 'downstream', tables))
        this.targets.set(qualified(target), target)
      const found = [...this.targets.values()]
      const owners = await untrusted(downstream, found)
      for (const [i, target] of found.entries()) if (owners[i]) this.guarded.add(target)
    } finally {
      await close()
    }
  }

  async target(client: pg.Client, table: CopyTable): Promise<TableDefinition> {
    const found = this.targets.get(qualified(table))
    if (found) {
      await ask(client, 'downstream', `LOCK TABLE ${qualified(table)} IN ROW EXCLUSIVE MODE`)
      return found
    }
    throw new FollowerError(`table ${relationName(table)} does not exist downstream`, {
      code: 'FLW-301',
      exit: ExitCode.apply,
      detail: 'its rows are to be copied',
      effect: 'tables that are copied stay; the next start goes on with the rest',
      fix: [`create ${relationName(table)} downstream as it is upstream, then start again`],
      context: { relation: relationName(table) },
    })
  }

  async wall(client: pg.Client, target: TableDefinition): Promise<OwnerWall | undefined> {
    return this.guarded.has(target) ? copyWall(client, target) : undefined
  }

  async occupied(client: pg.Client, target: TableDefinition, table: CopyTable): Promise<'empty' | 'clear'> {
    const row = await askOne(client, 'downstream', `SELECT EXISTS (SELECT FROM ${only(target)}) AS filled`)
    if (row?.filled !== 't') return 'empty'
    if (table.begun || table.overwrite || this.context.settings.copying.overwrite) return 'clear'
    throw new FollowerError(
      `table ${relationName(target)} holds rows downstream that no copy has put there`,
      {
        code: 'FLW-122',
        exit: ExitCode.apply,
        effect: 'these rows were not touched; tables that are copied stay',
        fix: [
          `TRUNCATE ${qualified(target)};   -- downstream, then start again`,
          'or follower start --overwrite …   # rows of tables that are still to be copied are removed',
        ],
        context: { relation: relationName(target) },
      },
    )
  }

  /** TRUNCATE is refused where another table refers to this one, be it empty; and shuts out readers until the new rows are there. */
  async clearing(client: pg.Client, target: TableDefinition, table: CopyTable): Promise<string> {
    if (table.overwrite) return `DELETE FROM ${only(target)}`
    const row = await askOne(
      client,
      'downstream',
      `SELECT EXISTS (SELECT FROM pg_constraint k WHERE k.contype = 'f' AND k.conrelid <> k.confrelid
          AND k.confrelid IN (SELECT t.relid FROM pg_partition_tree(${quoteLiteral(qualified(target))}::regclass) t
                               UNION SELECT ${quoteLiteral(qualified(target))}::regclass)) AS referred`,
    )
    return row?.referred === 't' ? `DELETE FROM ${only(target)}` : `TRUNCATE ${only(target)}`
  }

  moved(table: CopyTable, bytes: number): void {
    this.report?.moved(table, bytes)
  }

  copied(table: CopyTable, rows: number): void {
    this.report?.copied(table, rows)
  }

  later(table: CopyTable, why: 'changed' | 'gone'): void {
    this.report?.later(table, why)
  }
}

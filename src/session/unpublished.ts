import type pg from 'pg'
import type { FollowSettings } from '../model/follow.ts'
import { connect } from '../postgres/connect.ts'
import { destroyClient } from '../postgres/socket.ts'
import { type ListableTable, listingRemedies } from '../provision/listing.ts'
import type { Prepared } from '../provision/prepare.ts'
import { displayTable } from '../provision/tables.ts'
import { addTable, findUnpublished, mayAdd } from '../provision/unpublished.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'

const everyMs = 30_000
/** Names in one line of the log. */
const listed = 20

/** Tables that were named already, by OID: kept between the sessions of a process. */
export type ToldTables = Set<string>

/**
 * Looks from time to time for tables of the follow that no publication has: names them once, and adds them as soon as the
 * rights are there. What it can't do is no reason to end a session.
 */
export class UnpublishedWatch {
  private readonly timer: NodeJS.Timeout
  private looking: Promise<void> = Promise.resolve()
  private closed = false
  private adding: pg.Client | undefined
  private readonly options: {
    upstream: pg.Client
    settings: FollowSettings
    prepared: Prepared
    told: ToldTables
    /** The rows that such a table has are copied: late.ts sees it. */
    copies: boolean
    metrics: Metrics
    log: Logger
    everyMs?: number
  }

  constructor(options: UnpublishedWatch['options']) {
    this.options = options
    this.timer = setInterval(() => this.begin(), options.everyMs ?? everyMs)
  }

  /** Looks now, unless it does so already. */
  begin(): void {
    this.looking = this.looking.then(() => this.look()).catch((error: Error) => this.failed(error))
  }

  close(): void {
    this.closed = true
    clearInterval(this.timer)
    if (this.adding) destroyClient(this.adding)
  }

  private async look(): Promise<void> {
    const { upstream, settings, prepared, metrics } = this.options
    if (this.closed) return
    const found = await findUnpublished(upstream, settings)
    const addable = found.filter((table) => mayAdd(table, settings, prepared.captured))
    const left = found.filter((table) => !addable.includes(table))
    if (addable.length > 0 && !this.closed) left.push(...(await this.add(addable)))
    metrics.tablesUnpublished.set(left.length)
    this.name(left)
  }

  /** Returns those that could not be added. */
  private async add(tables: readonly ListableTable[]): Promise<readonly ListableTable[]> {
    const { settings, prepared, told, copies, log } = this.options
    // Its own connection: the session's takes questions in between.
    const client = await connect({
      end: 'upstream',
      conninfo: settings.upstream,
      applicationName: settings.applicationName,
    })
    this.adding = client
    const left: ListableTable[] = []
    try {
      for (const table of tables) {
        if (this.closed) break
        const result = await addTable(client, settings, prepared, table)
        if (result === 'not now') left.push(table)
        else told.delete(table.oid)
        if (result === 'added' || (result === 'filled' && copies))
          log.info(
            { table: displayTable(table) },
            'a table was added to the publication: its rows follow from here',
          )
        if (result === 'filled' && !copies)
          log.warn(
            {
              code: 'FLW-136',
              table: displayTable(table),
              fix: `follower copy --name ${settings.name} --tables ${displayTable(table)} …`,
            },
            'a table was added to the publication that has rows already: those were never sent',
          )
      }
    } finally {
      this.adding = undefined
      await client.end().catch(() => {})
    }
    return left
  }

  private name(left: readonly ListableTable[]): void {
    const { told, prepared, log } = this.options
    const fresh = left.filter((table) => !told.has(table.oid))
    if (fresh.length === 0) return
    for (const table of fresh) told.add(table.oid)
    log.warn(
      {
        code: 'FLW-135',
        count: fresh.length,
        tables: fresh.slice(0, listed).map((table) => `${displayTable(table)} of ${table.owner}`),
        fix: listingRemedies(fresh, prepared.upstreamRole, prepared.upstreamVersion).slice(0, listed),
      },
      'tables are not published: their rows do not follow until this role has the right',
    )
  }

  private failed(error: Error): void {
    if (!this.closed) this.options.log.debug({ err: error }, 'cannot look for tables that are not published')
  }
}

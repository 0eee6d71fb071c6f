import type { CopyTable } from '../copy/table.ts'
import type { FollowSettings } from '../model/follow.ts'
import { relationName } from '../model/relation.ts'
import type { Health } from '../telemetry/health.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'

const everyMs = 10_000

/** Log lines and metrics of one copy. */
export class CopyReport {
  private readonly name: string
  private readonly log: Logger
  private readonly metrics: Metrics
  private readonly health: Health
  private readonly progressed: () => void
  private readonly timer: NodeJS.Timeout
  private readonly since = performance.now()
  private readonly total: { readonly tables: number; readonly bytes: number }
  private tables = 0
  private tableBytes = 0
  private postponed = 0
  private rows = 0
  private bytes = 0

  constructor(
    context: {
      readonly settings: Pick<FollowSettings, 'name'>
      readonly log: Logger
      readonly metrics: Metrics
      readonly health: Health
      readonly progressed: () => void
    },
    tables: readonly CopyTable[],
  ) {
    this.name = context.settings.name
    this.log = context.log
    this.metrics = context.metrics
    this.health = context.health
    this.progressed = context.progressed
    this.total = {
      tables: tables.length,
      bytes: tables.reduce((sum, table) => sum + table.bytes, 0),
    }
    this.gauges()
    this.timer = setInterval(() => this.line(), everyMs)
  }

  close(): void {
    clearInterval(this.timer)
  }

  moved(bytes: number): void {
    this.bytes += bytes
    this.metrics.copyBytes.inc({ downstream: this.name }, bytes)
  }

  copied(table: CopyTable, rows: number): void {
    this.tables++
    this.tableBytes += table.bytes
    this.rows += rows
    this.metrics.copyRows.inc({ downstream: this.name }, rows)
    this.gauges()
    this.health.beat()
    this.progressed()
    this.log.debug({ table: relationName(table), rows }, 'table copied')
  }

  later(table: CopyTable, why: 'changed' | 'gone'): void {
    this.postponed++
    this.log.info(
      { table: relationName(table) },
      why === 'gone'
        ? 'a table was dropped or renamed upstream before its copy; the stream says which'
        : 'a table has changed upstream since the snapshot: it is copied under another one',
    )
  }

  summary(): void {
    const seconds = this.seconds
    this.log.info(
      { tables: this.tables, postponed: this.postponed, rows: this.rows, bytes: this.bytes },
      `copied ${this.tables} tables, ${this.rows} rows, ${size(this.bytes)} in ${seconds.toFixed(1)} s (${size(this.bytes / seconds)}/s)`,
    )
  }

  private get seconds(): number {
    return Math.max(0.001, (performance.now() - this.since) / 1000)
  }

  private gauges(): void {
    const { metrics, name: downstream, total } = this
    metrics.copyTables.set({ downstream, state: 'copied' }, this.tables)
    metrics.copyTables.set({ downstream, state: 'waiting' }, total.tables - this.tables)
  }

  /** Bytes of rows and of files are not the same; their ratio so far tells the rest roughly. */
  private line(): void {
    const { total, seconds } = this
    const left =
      this.tableBytes > 0 ? (seconds * (total.bytes - this.tableBytes)) / this.tableBytes : undefined
    this.log.info(
      `copying ${this.name} tables=${this.tables}/${total.tables} rows=${this.rows} ${size(this.bytes)} of about ${size(total.bytes)} ` +
        `(${size(this.bytes / seconds)}/s)${left === undefined ? '' : `, about ${Math.ceil(left)} s left`}`,
    )
  }
}

function size(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10))
  return `${(bytes / 1024 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`
}

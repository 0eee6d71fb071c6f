import type { CopyTable } from '../copy/table.ts'
import { type CopyState, outlook } from '../model/copy-state.ts'
import { relationName } from '../model/relation.ts'
import { formatBytes, formatSeconds } from '../model/size.ts'
import { tablesInWork } from '../provision/copy-progress.ts'
import { copyBars } from '../telemetry/copy-bars.ts'
import type { CopyContext } from './context.ts'

const everyMs = 10_000
/** For people who look, rows are asked for as often; metrics are brought up to date. */
const soonMs = 1000

/** Log lines, metrics and bars of one copy. */
export class CopyReport {
  private readonly context: CopyContext
  private readonly timers: NodeJS.Timeout[]
  private readonly since = performance.now()
  private readonly total: { readonly tables: number; readonly fileBytes: number }
  private readonly inWork = new Map<CopyTable, { bytes: number; readonly since: number }>()
  /** By OID: rows of tables in work, as the downstream counts them. */
  private rowsInWork: ReadonlyMap<number, number> = new Map()
  private asking = false
  private tables = 0
  private fileBytes = 0
  private copiedBytes = 0
  private postponed = 0
  private rows = 0
  private bytes = 0

  constructor(context: CopyContext, tables: readonly CopyTable[]) {
    this.context = context
    this.total = {
      tables: tables.length,
      fileBytes: tables.reduce((sum, table) => sum + table.bytes, 0),
    }
    this.gauges()
    this.timers = [setInterval(() => this.line(), everyMs), setInterval(() => this.gauges(), soonMs)]
    const { screen } = context
    if (!screen) return
    this.timers.push(setInterval(() => void this.ask(), soonMs))
    screen.show((size) => copyBars(this.state, size))
  }

  close(): void {
    for (const timer of this.timers) clearInterval(timer)
    this.gauges()
    this.context.screen?.hide()
  }

  moved(table: CopyTable, bytes: number): void {
    const known = this.inWork.get(table)
    if (known) known.bytes += bytes
    else this.inWork.set(table, { bytes, since: performance.now() })
    this.bytes += bytes
    this.context.metrics.copyBytes.inc({ downstream: this.context.settings.name }, bytes)
  }

  copied(table: CopyTable, rows: number): void {
    const { metrics, settings, health, log } = this.context
    this.tables++
    this.fileBytes += table.bytes
    this.copiedBytes += this.inWork.get(table)?.bytes ?? 0
    this.inWork.delete(table)
    this.rows += rows
    metrics.copyRows.inc({ downstream: settings.name }, rows)
    this.gauges()
    health.beat()
    this.context.progressed()
    log.debug({ table: relationName(table), rows }, 'table copied')
  }

  later(table: CopyTable, why: 'changed' | 'gone'): void {
    this.postponed++
    this.inWork.delete(table)
    this.context.log.info(
      { table: relationName(table) },
      why === 'gone'
        ? 'a table was dropped or renamed upstream before its copy; the stream says which'
        : 'a table has changed upstream since the snapshot: it is copied under another one',
    )
  }

  summary(): void {
    const { seconds } = this
    this.context.log.info(
      { tables: this.tables, postponed: this.postponed, rows: this.rows, bytes: this.bytes },
      `copied ${this.tables} tables, ${this.rows} rows, ${formatBytes(this.bytes)} in ${seconds.toFixed(1)} s (${formatBytes(this.bytes / seconds)}/s)`,
    )
  }

  private get seconds(): number {
    return Math.max(0.001, (performance.now() - this.since) / 1000)
  }

  private get state(): CopyState {
    const inWork = [...this.inWork].map(([table, { bytes, since }]) => ({
      name: relationName(table),
      rows: this.rowsInWork.get(table.oid),
      bytes,
      fileBytes: table.bytes,
      seconds: (performance.now() - since) / 1000,
    }))
    return {
      seconds: this.seconds,
      tables: { copied: this.tables, total: this.total.tables },
      rows: inWork.reduce((sum, { rows = 0 }) => sum + rows, this.rows),
      bytes: this.bytes,
      copiedBytes: this.copiedBytes,
      fileBytes: { copied: this.fileBytes, total: this.total.fileBytes },
      inWork,
    }
  }

  private gauges(): void {
    const { metrics, settings } = this.context
    const downstream = settings.name
    metrics.copyTables.set({ downstream, state: 'copied' }, this.tables)
    metrics.copyTables.set({ downstream, state: 'waiting' }, this.total.tables - this.tables)
    metrics.copyExpectedBytes.set({ downstream }, Math.round(outlook(this.state).bytes))
  }

  /** The connection's end is told elsewhere. */
  private async ask(): Promise<void> {
    if (this.asking) return
    this.asking = true
    try {
      const { connections, settings } = this.context
      const tables = await tablesInWork(connections.lock, settings.name)
      this.rowsInWork = new Map(tables.map((table) => [table.oid, table.rows]))
    } catch {
      this.rowsInWork = new Map()
    } finally {
      this.asking = false
    }
  }

  /** Of those who see the bars, few want it besides. */
  private line(): void {
    const { log, settings, screen } = this.context
    const { state } = this
    const { bytes, rate, secondsLeft } = outlook(state)
    const { tables } = state
    log[screen ? 'debug' : 'info'](
      `copying ${settings.name} tables=${tables.copied}/${tables.total} rows=${state.rows} ${formatBytes(state.bytes)} of about ${formatBytes(bytes)} ` +
        `(${formatBytes(rate)}/s)${secondsLeft === undefined ? '' : `, about ${formatSeconds(secondsLeft)} left`}`,
    )
  }
}

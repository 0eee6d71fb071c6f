import type { ApplyEvents } from '../apply/events.ts'
import { placeContext } from '../apply/place.ts'
import type { Ways } from '../apply/ways.ts'
import { failpointHits } from '../failpoints.ts'
import { firstCommit, type Transaction, transactionsIn } from '../model/changes.ts'
import { formatLsn } from '../model/lsn.ts'
import type { Tracker } from '../progress/tracker.ts'
import type { Flow } from '../stream/flow.ts'
import type { Health } from '../telemetry/health.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { TransactionQueue } from '../transaction/queue.ts'

/** Milliseconds of the Unix epoch for the protocol's microseconds since 2000. */
export function unixMilliseconds(time: bigint): number {
  return Number(time / 1000n) + 946_684_800_000
}

function noCounts() {
  return { insert: 0, update: 0, delete: 0, truncate: 0 }
}

function count(sum: ReturnType<typeof noCounts>, more: Transaction): void {
  sum.insert += more.inserts
  sum.update += more.updates
  sum.delete += more.deletes
  sum.truncate += more.truncates
}

const everyMs = 1000
const lineEvery = 10

/** Metrics and log lines of one session; hears of batches, never of rows. */
export class Report {
  private readonly name: string
  private readonly metrics: Metrics
  private readonly health: Health
  private readonly log: Logger
  private readonly tracker: Tracker
  private readonly queue: TransactionQueue
  private readonly timer: NodeJS.Timeout
  /** Where bytes and times of the stream are read; set once it is made. */
  flow: Flow | undefined
  private bytes = 0
  private heldMs = 0
  private ticks = 0
  private rows = 0
  private transactions = 0
  private batches = 0
  private since = performance.now()
  private decodedTransactions = 0
  private decodedCounts = noCounts()

  constructor(
    name: string,
    metrics: Metrics,
    health: Health,
    log: Logger,
    tracker: Tracker,
    queue: TransactionQueue,
  ) {
    this.name = name
    this.metrics = metrics
    this.health = health
    this.log = log
    this.tracker = tracker
    this.queue = queue
    this.timer = setInterval(() => this.tick(), everyMs)
  }

  close(): void {
    clearInterval(this.timer)
    this.tellDecoded()
  }

  /** Once for each transaction: only noted here, and told with the next batch or second. */
  decoded(transaction: Transaction): void {
    this.decodedTransactions++
    count(this.decodedCounts, transaction)
  }

  private tellDecoded(): void {
    if (this.decodedTransactions === 0) return
    this.metrics.decodedTransactions.inc({ kind: 'normal' }, this.decodedTransactions)
    for (const [operation, n] of Object.entries(this.decodedCounts))
      if (n > 0) this.metrics.decodedRows.inc({ operation }, n)
    this.decodedTransactions = 0
    this.decodedCounts = noCounts()
  }

  applied(
    batch: readonly Transaction[],
    milliseconds: number,
    unchanged: number,
    ways: Ways,
    arriving = false,
  ): void {
    const { metrics, name: downstream } = this
    let rows = 0
    let bytes = 0
    const transactions = transactionsIn(batch)
    const counts = noCounts()
    for (const transaction of batch) {
      rows += transaction.changes
      bytes += transaction.bytes
      count(counts, transaction)
    }
    const latency = Date.now() - unixMilliseconds(firstCommit(batch[0]!))
    metrics.latencySeconds.observe({ downstream }, Math.max(0, latency) / 1000)
    for (const [operation, n] of Object.entries(counts))
      if (n > 0) metrics.applyRows.inc({ downstream, operation }, n)
    for (const [way, n] of Object.entries(ways)) if (n > 0) metrics.applyWays.inc({ downstream, way }, n)
    metrics.applyBytes.inc({ downstream }, bytes)
    metrics.applyBatches.inc({ downstream })
    metrics.unchangedToast.inc({ downstream }, unchanged)
    metrics.applyTransactions.inc({ downstream }, transactions)
    if (arriving) metrics.applyArriving.inc({ downstream })
    metrics.applyBatchRows.observe({ downstream }, rows)
    metrics.applyBatchSeconds.observe({ downstream, stage: 'execute' }, milliseconds / 1000)
    this.rows += rows
    this.transactions += transactions
    this.batches++
    this.positions()
  }

  /** Gauges of where we are. */
  positions(): void {
    this.tellDecoded()
    const { metrics, tracker, queue, name: downstream } = this
    metrics.appliedLsn.set({ downstream }, Number(tracker.applied))
    metrics.flushedLsn.set({ downstream }, Number(tracker.durable))
    metrics.receivedLsn.set(Number(tracker.seen))
    metrics.bufferBytes.set(queue.memory)
    metrics.bufferTransactions.set(queue.transactions)
    this.health.lagSeconds = this.lagSeconds
    metrics.lagSeconds.set({ downstream }, this.lagSeconds)
    metrics.lagBytes.set({ downstream }, Number(tracker.seen - tracker.applied))
  }

  /** Age of the oldest commit that is not applied; 0 when there is none. */
  get lagSeconds(): number {
    const oldest = this.queue.oldest
    return oldest ? Math.max(0, (Date.now() - unixMilliseconds(firstCommit(oldest))) / 1000) : 0
  }

  skipped(transaction: Transaction): void {
    const { metrics, name: downstream } = this
    metrics.changesSkipped.inc({ downstream, reason: 'skip' }, transaction.changes)
    const { xid, changes, endLsn } = transaction
    this.log.warn(
      { lsn: formatLsn(endLsn), xid, changes },
      `transaction ${xid} was skipped, as a person said: ${changes} changes are not downstream`,
    )
    this.positions()
  }

  readonly conflict: ApplyEvents['conflict'] = (type, resolution, place) => {
    const { metrics, name: downstream } = this
    metrics.conflicts.inc({ downstream, type, resolution })
    if (resolution === 'skip') metrics.changesSkipped.inc({ downstream, reason: 'conflict' })
    this.log.warn({ conflict: type, resolution, ...placeContext(place) }, `conflict ${type}: ${resolution}`)
  }

  readonly cascaded: ApplyEvents['cascaded'] = (type, place) => {
    this.metrics.changesSkipped.inc({ downstream: this.name, reason: 'cascade' })
    this.log.debug(
      { conflict: type, ...placeContext(place) },
      `${type}: a foreign key downstream has done it already`,
    )
  }

  readonly redone: ApplyEvents['redone'] = (batch, reason) => {
    this.metrics.applyRedone.inc({ downstream: this.name })
    this.log.debug(
      { transactions: transactionsIn(batch), reason },
      'batch rolled back, to be applied in parts',
    )
  }

  private tick(): void {
    this.positions()
    this.stream()
    for (const [name, count] of failpointHits()) this.metrics.failpointHits.set({ name }, count)
    if (++this.ticks % lineEvery === 0) this.line()
  }

  private stream(): void {
    const { flow, metrics } = this
    if (!flow) return
    metrics.receivedBytes.inc(flow.bytes - this.bytes)
    metrics.backpressureSeconds.inc({ reason: 'downstream' }, (flow.heldMs - this.heldMs) / 1000)
    this.bytes = flow.bytes
    this.heldMs = flow.heldMs
    metrics.lastMessageTimestamp.set((Date.now() - performance.now() + flow.lastMessageAt) / 1000)
  }

  private line(): void {
    const seconds = (performance.now() - this.since) / 1000
    if (this.batches > 0)
      this.log.info(
        `applied ${this.name} lsn=${formatLsn(this.tracker.applied)} lag=${this.lagSeconds.toFixed(3)}s ` +
          `transactions=${this.transactions} rows=${this.rows} (${Math.round(this.rows / seconds)}/s) batches=${this.batches}`,
      )
    this.rows = 0
    this.transactions = 0
    this.batches = 0
    this.since = performance.now()
  }
}

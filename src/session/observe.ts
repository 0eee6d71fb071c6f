import type pg from 'pg'
import type { FollowSettings } from '../model/follow.ts'
import { type Lsn, lsnFromServer } from '../model/lsn.ts'
import { sql } from '../postgres/sql.ts'
import type { Tracker } from '../progress/tracker.ts'
import { checkServes, isLost, readSlot } from '../provision/slot.ts'
import type { Health } from '../telemetry/health.ts'
import type { Logger } from '../telemetry/log.ts'
import { type Metrics, showWalStatus } from '../telemetry/metrics.ts'

const everyMs = 2000
/** Farther behind than one WAL segment: catching up. */
const catchupBytes = 16n * 1024n * 1024n

/** Looks at the upstream every two seconds: its WAL, our slot, and whether commits may wait for us. */
export class Observer {
  private readonly timer: NodeJS.Timeout
  private busy = false
  private failed = false
  private closed = false
  private told: string | null = null
  private readonly options: {
    upstream: pg.Client
    settings: FollowSettings
    tracker: Tracker
    metrics: Metrics
    health: Health
    log: Logger
    /** Where the upstream's WAL ends. */
    end?: (lsn: Lsn) => void
    waiting: (waiting: boolean) => void
    failed: (error: Error) => void
  }

  constructor(options: Observer['options']) {
    this.options = options
    this.timer = setInterval(() => this.tick(), everyMs)
  }

  /** What it has asked meanwhile fails with the connection, which says nothing any more. */
  close(): void {
    this.closed = true
    clearInterval(this.timer)
  }

  private tick(): void {
    if (this.busy) return
    this.busy = true
    this.look()
      .catch((error: Error) => this.fail(error))
      .finally(() => {
        this.busy = false
      })
  }

  /** The batch in hand is finished first, which may wait for a lock for hours: what ends the follow is told before. */
  private fail(error: Error): void {
    if (this.closed) return
    if (!this.failed) this.options.log.error({ err: error }, error.message)
    this.failed = true
    this.options.failed(error)
  }

  async look(): Promise<void> {
    const { upstream, settings, tracker, metrics, health } = this.options
    const { rows } = await upstream.query<{ lsn: string; waiting: string }>(sql('query/observe'), [
      settings.slot,
    ])
    const now = rows[0]
    if (now) {
      const lsn = lsnFromServer(now.lsn)
      metrics.upstreamCurrentLsn.set(Number(lsn))
      this.options.end?.(lsn)
      this.options.waiting(now.waiting === 't')
      health.set(lsn - tracker.seen > catchupBytes ? 'catchup' : 'streaming')
    }
    const slot = await readSlot(upstream, settings.slot)
    health.slotHealthy = slot !== undefined && !isLost(slot) && slot.walStatus !== 'unreserved'
    checkServes(settings, slot, tracker.durable)
    showWalStatus(metrics, slot.walStatus)
    metrics.slotActive.set(slot.holder ? 1 : 0)
    if (slot.retainedBytes !== null) metrics.slotRetainedBytes.set(Number(slot.retainedBytes))
    if (slot.safeWalSize !== null) metrics.slotSafeWalBytes.set(Number(slot.safeWalSize))
    if (slot.confirmedFlushLsn !== undefined) {
      metrics.confirmedFlushLsn.set(Number(slot.confirmedFlushLsn))
      metrics.slotConfirmedLagBytes.set(Math.max(0, Number(tracker.seen - slot.confirmedFlushLsn)))
    }
    this.warn(slot.walStatus)
  }

  private warn(walStatus: string | null): void {
    if (walStatus === this.told) return
    if (walStatus === 'unreserved')
      this.options.log.warn(
        { wal_status: walStatus },
        `the slot "${this.options.settings.slot}" has fallen behind max_slot_wal_keep_size: it is lost at the next checkpoint unless we catch up`,
      )
    this.told = walStatus
  }
}

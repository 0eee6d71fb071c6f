import type pg from 'pg'
import { ExitCode, FollowerError } from '../errors.ts'
import type { FollowSettings } from '../model/follow.ts'
import { lsnFromServer } from '../model/lsn.ts'
import { sql } from '../postgres/sql.ts'
import type { Tracker } from '../progress/tracker.ts'
import { readSlot } from '../provision/slot.ts'
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
  private told: string | null = null
  private readonly options: {
    upstream: pg.Client
    settings: FollowSettings
    tracker: Tracker
    metrics: Metrics
    health: Health
    log: Logger
    waiting: (waiting: boolean) => void
    failed: (error: Error) => void
  }

  constructor(options: Observer['options']) {
    this.options = options
    this.timer = setInterval(() => this.tick(), everyMs)
  }

  close(): void {
    clearInterval(this.timer)
  }

  private tick(): void {
    if (this.busy) return
    this.busy = true
    this.look()
      .catch((error: Error) => this.options.failed(error))
      .finally(() => {
        this.busy = false
      })
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
      this.options.waiting(now.waiting === 't')
      health.set(lsn - tracker.seen > catchupBytes ? 'catchup' : 'streaming')
    }
    const slot = await readSlot(upstream, settings.slot)
    const lost = !slot || slot.walStatus === 'lost'
    health.slotHealthy = !lost && slot.walStatus !== 'unreserved'
    if (lost) throw slotLost(settings, slot?.invalidationReason ?? null)
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

function slotLost(settings: FollowSettings, reason: string | null): FollowerError {
  return new FollowerError(`the slot "${settings.slot}" is lost upstream`, {
    code: 'FLW-207',
    exit: ExitCode.slot,
    detail: reason ? `invalidated: ${reason}` : 'it is not there any more, or its WAL is gone',
    effect:
      'the downstream is intact as of its position; what the upstream changed since then cannot be streamed',
    fix: [`follower cleanup --name ${settings.name} …, load the tables again, follower start --copy none …`],
  })
}

import type pg from 'pg'
import type { Tracker } from '../progress/tracker.ts'
import type { Health } from '../telemetry/health.ts'

const everyMs = 5000

/**
 * Tells a downstream that works for long from a pipeline that is wedged: while something is unapplied, the
 * daemon counts as alive only where the downstream says that our session is at work.
 */
export class Watch {
  private readonly timer: NodeJS.Timeout
  private busy = false
  private readonly options: {
    lock: pg.Client
    applyPid: string
    tracker: Tracker
    health: Health
    failed: (error: Error) => void
  }

  constructor(options: Watch['options']) {
    this.options = options
    this.timer = setInterval(() => this.tick(), everyMs)
  }

  close(): void {
    clearInterval(this.timer)
  }

  private tick(): void {
    if (this.busy || this.options.tracker.unapplied === 0) return
    this.busy = true
    this.look()
      .catch((error: Error) => this.options.failed(error))
      .finally(() => {
        this.busy = false
      })
  }

  private async look(): Promise<void> {
    const { lock, applyPid, health } = this.options
    const { rows } = await lock.query('SELECT FROM pg_stat_activity WHERE pid = $1 AND state = $2', [
      applyPid,
      'active',
    ])
    if (rows.length > 0) health.beat()
  }
}

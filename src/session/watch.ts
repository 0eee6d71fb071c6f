import type pg from 'pg'
import { ExitCode, FollowerError } from '../errors.ts'
import type { Tracker } from '../progress/tracker.ts'
import type { Health } from '../telemetry/health.ts'

const everyMs = 5000
/** The connection that replays nothing waits for no lock: a server that leaves it without an answer for so long is gone. */
const silentMs = 30_000

/**
 * Tells a downstream that works for long from a pipeline that is wedged: while something is unapplied, the
 * daemon counts as alive only where the downstream says that our session is at work. And from one that is gone without a
 * word (a lost host, dropped packets), which TCP itself would notice only after a quarter of an hour.
 */
export class Watch {
  private readonly timer: NodeJS.Timeout
  private busy = false
  private askedAt = 0
  private readonly options: {
    lock: pg.Client
    applyPid: string
    tracker: Tracker
    health: Health
    failed: (error: Error) => void
    /** The downstream does not answer any more: nobody needs to wait for the batch in hand. */
    silent: (error: FollowerError) => void
  }

  constructor(options: Watch['options']) {
    this.options = options
    this.timer = setInterval(() => this.tick(), everyMs)
  }

  close(): void {
    clearInterval(this.timer)
  }

  private tick(): void {
    if (this.busy) {
      const silent = performance.now() - this.askedAt
      if (silent > silentMs) this.options.silent(silence(silent))
      return
    }
    this.busy = true
    this.askedAt = performance.now()
    this.look()
      .catch((error: Error) => this.options.failed(error))
      .finally(() => {
        this.busy = false
      })
  }

  private async look(): Promise<void> {
    const { lock, applyPid, tracker, health } = this.options
    const { rows } = await lock.query('SELECT FROM pg_stat_activity WHERE pid = $1 AND state = $2', [
      applyPid,
      'active',
    ])
    if (rows.length > 0 && tracker.busy) health.beat()
  }
}

function silence(milliseconds: number): FollowerError {
  return new FollowerError(`the downstream has not answered for ${Math.round(milliseconds / 1000)} s`, {
    code: 'FLW-511',
    exit: ExitCode.downstream,
    effect: 'the connections are given up and made again; what was not committed is applied again',
    transient: true,
  })
}

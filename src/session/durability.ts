import type pg from 'pg'
import { type Lsn, lsnFromServer } from '../model/lsn.ts'
import type { Tracker } from '../progress/tracker.ts'

const pollMs = 100

/**
 * What may be called durable (P2). With `synchronous_commit = on` a committed position is. With `off` it is
 * once the downstream's own WAL is flushed beyond the place where it stood after our commit.
 */
export class Durability {
  private readonly tracker: Tracker
  private readonly lock: pg.Client
  private readonly changed: () => void
  private readonly failed: (error: Error) => void
  private readonly timer: NodeJS.Timeout | undefined
  private noted: { position: Lsn; written: Lsn } | undefined
  private busy = false

  constructor(options: {
    tracker: Tracker
    lock: pg.Client
    synchronousCommit: boolean
    changed: () => void
    failed: (error: Error) => void
  }) {
    this.tracker = options.tracker
    this.lock = options.lock
    this.changed = options.changed
    this.failed = options.failed
    if (!options.synchronousCommit) this.timer = setInterval(() => this.tick(), pollMs)
  }

  /** The tracker's `applied` has moved by a commit. */
  committed(): void {
    if (this.timer === undefined) this.tracker.durable = this.tracker.applied
  }

  close(): void {
    clearInterval(this.timer)
  }

  private tick(): void {
    if (this.busy || this.tracker.durable === this.tracker.applied) return
    this.busy = true
    this.look()
      .catch((error: Error) => this.failed(error))
      .finally(() => {
        this.busy = false
      })
  }

  private async look(): Promise<void> {
    // The position is read before the server is asked: its insert LSN then lies behind that commit.
    const position = this.tracker.applied
    const { rows } = await this.lock.query<{ inserted: string; flushed: string }>(
      'SELECT pg_current_wal_insert_lsn() AS inserted, pg_current_wal_flush_lsn() AS flushed',
    )
    const row = rows[0]
    if (!row) return
    const flushed = lsnFromServer(row.flushed)
    if (this.noted && flushed >= this.noted.written) {
      this.tracker.durable = this.noted.position
      this.noted = undefined
      this.changed()
    }
    this.noted ??= { position, written: lsnFromServer(row.inserted) }
  }
}

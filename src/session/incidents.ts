import type pg from 'pg'
import { downstreamLost } from '../apply/errors.ts'
import { ExitCode, FollowerError } from '../errors.ts'
import { closeIncidents, readSkipState, type Skips } from '../provision/incidents.ts'
import type { Metrics } from '../telemetry/metrics.ts'

/**
 * What people have said of transactions to leave out. Sets the counter of skipped changes to what the downstream remembers:
 * it must not be forgotten with the process.
 */
export async function takeSkips(lock: pg.Client, name: string, metrics: Metrics): Promise<Skips> {
  const { asked, changes } = await readSkipState(lock, name)
  const { values } = await metrics.changesSkipped.get()
  const labels = { downstream: name, reason: 'skip' } as const
  const counted = values.find(({ labels: l }) => l.downstream === name && l.reason === 'skip')?.value ?? 0
  metrics.changesSkipped.inc(labels, Math.max(0, changes - counted))
  return asked
}

/** Closes incidents as soon as the position has passed them. Costs nothing where none is open. */
export class IncidentCloser {
  private open = false
  private busy = false
  private readonly lock: pg.Client
  private readonly name: string
  private readonly failed: (error: Error) => void

  constructor(lock: pg.Client, name: string, failed: (error: Error) => void) {
    this.lock = lock
    this.name = name
    this.failed = failed
  }

  /** At the start: what an earlier process may have passed. */
  async look(): Promise<void> {
    this.open = await closeIncidents(this.lock, this.name)
  }

  /** The position has moved. */
  progressed(): void {
    if (!this.open || this.busy) return
    this.busy = true
    this.look()
      .catch(this.failed)
      .finally(() => {
        this.busy = false
      })
  }
}

/**
 * A statement that failed since its transaction was read-only: a server that recovers or was made a standby will pass, what a
 * trigger has set will not. Asks the server, and returns what the error really is.
 */
export async function judgeReadOnly(error: unknown, lock: pg.Client): Promise<unknown> {
  if (!(error instanceof FollowerError) || error.sqlstate !== '25006' || error.exit !== ExitCode.apply)
    return error
  try {
    const { rows } = await lock.query<{ standby: string }>('SELECT pg_is_in_recovery() AS standby')
    return rows[0]?.standby === 't' ? downstreamLost(error) : error
  } catch {
    return downstreamLost(error)
  }
}

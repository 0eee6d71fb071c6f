import type pg from 'pg'
import type { FollowSettings } from '../model/follow.ts'
import type { Lsn } from '../model/lsn.ts'
import { ask, inTransaction } from './query.ts'

/** Shows the upstream as of `lsn`: all commits before it, and none after. Lives until it is closed. */
export interface Snapshot {
  /** For SET TRANSACTION SNAPSHOT. */
  readonly name: string
  readonly lsn: Lsn
  close(): Promise<void>
}

/** Runs `work` in a transaction that sees the snapshot and changes nothing. */
export function underSnapshot<T>(upstream: pg.Client, snapshot: string, work: () => Promise<T>): Promise<T> {
  return inTransaction(upstream, 'upstream', async () => {
    await ask(upstream, 'upstream', 'SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY')
    await ask(upstream, 'upstream', `SET TRANSACTION SNAPSHOT '${snapshot}'`)
    return work()
  })
}

/** The slot whose snapshot a later attempt at a copy takes. */
export function temporarySlot(settings: Pick<FollowSettings, 'slot'>): { slot: string; temporary: true } {
  return { slot: `${settings.slot.slice(0, 58)}_copy`, temporary: true }
}

import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import type { End } from '../postgres/end.ts'
import { sql } from '../postgres/sql.ts'
import { askOne } from './query.ts'

/** Who holds something: a server process and what it says of itself. */
export interface Holder {
  readonly pid: string
  readonly applicationName: string
  /** Empty for a Unix socket, or where this role may not see it. */
  readonly clientAddr: string
}

/**
 * Key of the advisory lock that a follower of this name holds in the downstream database, as the text of a
 * bigint: `SELECT pg_try_advisory_lock($1)`. It only lets a second daemon wait; the epoch is what fences.
 */
export function lockKey(name: string): string {
  return createHash('sha256').update(`follower:${name}`).digest().readBigInt64BE(0).toString()
}

/** The session that holds the advisory lock `key` in the database of `client`. */
export async function lockHolder(client: pg.Client, end: End, key: string): Promise<Holder | undefined> {
  const row = await askOne(client, end, sql('query/holds_lock'), [key])
  return (
    row && {
      pid: row.pid ?? '?',
      applicationName: row.application_name ?? '',
      clientAddr: row.client_addr ?? '',
    }
  )
}

const lookMs = 100
/** A daemon that tries again makes its connections anew, and holds no lock just then. */
const betweenSessionsMs = 2000

/** Whether a follower of this name runs, seen from the downstream: a "no" takes two seconds. */
export async function isFollowed(downstream: pg.Client, name: string): Promise<boolean> {
  const until = performance.now() + betweenSessionsMs
  for (;;) {
    if (await lockHolder(downstream, 'downstream', lockKey(name))) return true
    if (performance.now() > until) return false
    await sleep(lookMs)
  }
}

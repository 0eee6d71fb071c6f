import type pg from 'pg'
import type { FollowSettings } from '../model/follow.ts'
import type { ReplicationRole } from '../model/replication-role.ts'
import { sql } from '../postgres/sql.ts'
import { sqlstate } from '../postgres/sqlstate.ts'
import type { Ends } from './ends.ts'
import { lockHolder } from './lock.ts'
import { captureMark } from './objects.ts'
import { ask, askOne, column, inTransaction, type Row } from './query.ts'
import { patternArrays, type TableName } from './tables.ts'

/** What both servers say of themselves; counts as numbers, sizes in the server's own notation. */
export interface UpstreamFacts {
  readonly version: number
  readonly versionText: string
  readonly systemIdentifier: string
  readonly database: string
  readonly inRecovery: boolean
  /** 0 in recovery. */
  readonly timeline: number
  readonly walLevel: string
  readonly maxReplicationSlots: number
  readonly slots: number
  readonly slotList: string
  readonly maxWalSenders: number
  readonly walSenders: number
  readonly walSenderTimeoutMs: number
  readonly maxSlotWalKeepSize: string
  readonly role: string
  readonly superuser: boolean
  readonly mayReplicate: boolean
  readonly mayCreate: boolean
  /** Whether this role can have schema changes captured: it may install what that takes, or a superuser has (`print capture`). */
  readonly capture: 'usable' | 'absent' | 'other version' | 'not handed over'
}

export interface DownstreamFacts {
  readonly version: number
  readonly versionText: string
  readonly database: string
  readonly inRecovery: boolean
  readonly readOnly: boolean
  readonly role: string
  readonly mayCreate: boolean
  /** Owner of schema follower where the role may not act for him. */
  readonly foreignOwner: string | undefined
  /** What the apply session can have. */
  readonly replicationRole: ReplicationRole
}

export async function upstreamFacts(upstream: pg.Client): Promise<UpstreamFacts> {
  const row = required(await askOne(upstream, 'upstream', sql('query/upstream')))
  return {
    version: Number(column(row, 'version')),
    versionText: column(row, 'version_text'),
    systemIdentifier: column(row, 'system_identifier'),
    database: column(row, 'database'),
    inRecovery: row.in_recovery === 't',
    timeline: Number(row.timeline ?? 0),
    walLevel: column(row, 'wal_level'),
    maxReplicationSlots: Number(column(row, 'max_replication_slots')),
    slots: Number(column(row, 'slots')),
    slotList: row.slot_list ?? '',
    maxWalSenders: Number(column(row, 'max_wal_senders')),
    walSenders: Number(column(row, 'wal_senders')),
    walSenderTimeoutMs: Number(column(row, 'wal_sender_timeout_ms')),
    maxSlotWalKeepSize: column(row, 'max_slot_wal_keep_size'),
    role: column(row, 'role'),
    superuser: row.superuser === 't',
    mayReplicate: row.may_replicate === 't',
    mayCreate: row.may_create === 't',
    capture: captureOf(row),
  }
}

export async function downstreamFacts(downstream: pg.Client): Promise<DownstreamFacts> {
  const row = required(await askOne(downstream, 'downstream', sql('query/downstream')))
  return {
    version: Number(column(row, 'version')),
    versionText: column(row, 'version_text'),
    database: column(row, 'database'),
    inRecovery: row.in_recovery === 't',
    readOnly: row.read_only === 'on',
    role: column(row, 'role'),
    mayCreate: row.may_create === 't',
    foreignOwner: row.foreign_owner ?? undefined,
    replicationRole: row.replication_role === 'replica' ? 'replica' : await possibleRole(downstream),
  }
}

function captureOf(row: Row): UpstreamFacts['capture'] {
  if (row.superuser === 't') return 'usable'
  if (!row.capture_mark) return 'absent'
  if (row.capture_mark !== captureMark()) return 'other version'
  return row.capture_rights === 't' ? 'usable' : 'not handed over'
}

function required(row: Row | undefined): Row {
  if (!row) throw new TypeError('the server returned no row')
  return row
}

/** Tries to set it: a superuser may, a role with GRANT SET ON PARAMETER may (15+), and managed services differ. */
async function possibleRole(downstream: pg.Client): Promise<ReplicationRole> {
  try {
    await inTransaction(downstream, 'downstream', () =>
      ask(downstream, 'downstream', 'SET LOCAL session_replication_role = replica'),
    )
    return 'replica'
  } catch (error) {
    if (sqlstate(error) === '42501') return 'origin'
    throw error
  }
}

/**
 * Whether both connections lead to one database, whatever names and addresses they use: a lock taken upstream is
 * looked for downstream. System identifiers don't tell: a clone of the upstream, a rightful downstream, has the same.
 */
export async function sameDatabase(ends: Ends): Promise<boolean> {
  return inTransaction(ends.upstream, 'upstream', async () => {
    const row = await askOne(
      ends.upstream,
      'upstream',
      `SELECT k.key, pg_advisory_xact_lock(k.key)
         FROM (SELECT ('x' || md5(random()::text || clock_timestamp()))::bit(64)::bigint AS key OFFSET 0) AS k`,
    )
    const held = await lockHolder(ends.downstream, 'downstream', column(required(row), 'key'))
    return held !== undefined
  })
}

/** The patterns of the settings that name nothing. */
export async function unknownPatterns(
  upstream: pg.Client,
  settings: FollowSettings,
): Promise<readonly TableName[]> {
  if (settings.tables.length === 0 || settings.publications.length > 0) return []
  const found = await ask(upstream, 'upstream', sql('query/unknown_patterns'), patternArrays(settings.tables))
  return found.map((row) => ({ schema: column(row, 'schema'), name: column(row, 'name') }))
}

import type pg from 'pg'
import { ExitCode, FollowerError } from '../errors.ts'
import type { FollowSettings } from '../model/follow.ts'
import { type Lsn, lsnFromServer } from '../model/lsn.ts'
import type { ReplicationRole } from '../model/replication-role.ts'
import { pins } from '../postgres/pins.ts'
import { sqlstate } from '../postgres/sqlstate.ts'
import type { Position } from '../provision/position.ts'
import { prepareStart, type Start } from '../provision/prepare.ts'
import type { WaitingTable } from '../provision/progress.ts'
import type { Health } from '../telemetry/health.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Screen } from '../telemetry/screen.ts'
import type { Connections, EndConnections, PastSessions } from './connections.ts'
import type { PullMemory } from './pull-memory.ts'
import type { StreamMemory } from './stream-memory.ts'
import type { ToldTables } from './unpublished.ts'
import type { Values } from './values.ts'

/** What one session is given before it streams. */
export interface PrepareContext {
  readonly settings: FollowSettings
  readonly connections: EndConnections
  readonly past: PastSessions
  readonly toldTables: ToldTables
  readonly streams: StreamMemory
  readonly log: Logger
  readonly metrics: Metrics
  readonly health: Health
  /** Aborted: finish the batch in hand, acknowledge, end. */
  readonly stop: AbortSignal
  /** Aborted when a connection is lost, with the error as reason. */
  readonly lost: AbortSignal
  /** undefined: nobody looks. */
  readonly screen: Screen | undefined
}

/** What a copy is given, too. */
export interface CopyContext extends PrepareContext {
  /** Tables, by OID, that take no rows from the stream, since they are still to be copied. */
  readonly waiting: ReadonlyMap<number, WaitingTable>
  /** Tables, by OID, that are followed from their beginning, or were copied, or wait; grows. undefined: none is late. */
  readonly known: Set<number> | undefined
  /** Called with the position that the session starts from, under its epoch. */
  readonly positioned: (position: Position) => void
  /** Called when the position has moved, or a table was copied. */
  readonly progressed: () => void
  /** Batches have failed again and again: transactions one by one, for a while. */
  readonly oneByOne: boolean
  /** Whether values are asked for in binary. */
  readonly values: Values
  /** Said at `info`, or below it where it was said just now. */
  readonly loud: boolean
}

export interface SessionContext extends CopyContext {
  readonly connections: Connections
  /** undefined: the session streams, however large the backlog is. */
  readonly pulling?: PullMemory
  /** The waiting tables are copied meanwhile, as of this position: their changes from there on will be asked for again. */
  readonly copiedAt?: Lsn
  /** Only changes of tables that were copied so, up to the follow's position. */
  readonly catchUp?: CatchUp
}

/** Copied tables, by OID, which stand for a position before the follow's. */
export interface CatchUp {
  readonly tables: ReadonlySet<number>
  readonly lsn: Lsn
}

/** Prepares both ends. */
export function prepareEnds({ settings, connections, log }: PrepareContext): Promise<Start> {
  return prepareStart(settings, { upstream: connections.upstream, downstream: connections.lock }, log)
}

/** The LSN that `--until` means. */
export async function resolveUntil({ settings, connections }: PrepareContext): Promise<Lsn | undefined> {
  if (settings.until !== 'now') return settings.until
  const { rows } = await connections.upstream.query<{ lsn: string }>('SELECT pg_current_wal_lsn() AS lsn')
  return rows[0] ? lsnFromServer(rows[0].lsn) : undefined
}

/** Whether large transactions are applied while they arrive: not where it takes their end to know what of them is applied. */
export function mayArrive({ waiting, copiedAt, catchUp }: SessionContext): boolean {
  return waiting.size === 0 && copiedAt === undefined && catchUp === undefined
}

/** Sets everything that the apply session depends on: at its start, and after whatever may have changed it. */
export async function pinApply(
  client: pg.Client,
  settings: FollowSettings,
  replicationRole: ReplicationRole,
): Promise<void> {
  await client.query(pins('downstream'))
  const set = client.query(
    // Where the role has it from ALTER ROLE … SET, it need not be able to set it.
    `SELECT set_config('synchronous_commit', $1, false),
       CASE WHEN current_setting('session_replication_role') <> 'replica' AND $2 = 'replica'
         THEN set_config('session_replication_role', $2, false) END`,
    [settings.synchronousCommit ? 'on' : 'off', replicationRole],
  )
  await set.catch((error: unknown) => {
    throw sqlstate(error) === '42501' ? rightTaken(error) : error
  })
}

/** It was there when this process began; a start sees what is there now. */
function rightTaken(error: unknown): FollowerError {
  return new FollowerError('the downstream role may not set session_replication_role any more', {
    code: 'FLW-111',
    exit: ExitCode.preflight,
    effect: 'nothing was lost: the next start goes on where this one stopped',
    fix: [
      'GRANT SET ON PARAMETER session_replication_role TO …;   -- downstream, by a superuser',
      'or start again: foreign keys and ordinary triggers act then (docs/downstream-role.md)',
    ],
    sqlstate: sqlstate(error),
    cause: error,
  })
}

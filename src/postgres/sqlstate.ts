import { FollowerError } from '../errors.ts'

const transientStates = new Set([
  '25006', // read_only_sql_transaction: a server that is in recovery after a failover
  '40001', // serialization_failure
  '40P01', // deadlock_detected
  '40003', // statement_completion_unknown
  '55P03', // lock_not_available
  '55006', // object_in_use: a slot whose old walsender has not noticed yet that its client is gone
  '57014', // query_canceled
  '57P01', // admin_shutdown
  '57P02', // crash_shutdown
  '57P03', // cannot_connect_now
  '57P04', // database_dropped: the next attempt says for certain
  '57P05', // idle_session_timeout
])

/** What the operating system reports of a network that may come back. */
const transientErrnos = new Set([
  'EADDRNOTAVAIL',
  'EAI_AGAIN',
  'ECONNABORTED',
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTDOWN',
  'EHOSTUNREACH',
  'ENETDOWN',
  'ENETRESET',
  'ENETUNREACH',
  'ENOTFOUND',
  'EPIPE',
  'ETIMEDOUT',
])

/** Words of pg for a connection that ended under a query; it gives them no code. */
const lostConnection =
  /^(Connection terminated|Client has encountered a connection error|Client was closed|timeout expired)/

/**
 * SQLSTATE of an error that a server reported; undefined for every other error.
 * https://www.postgresql.org/docs/current/errcodes-appendix.html
 */
export function sqlstate(error: unknown): string | undefined {
  if (error instanceof FollowerError) return error.sqlstate
  // Only a server's report has a severity: EPIPE has five letters, too.
  if (!(error instanceof Error) || !('severity' in error) || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}

/** The operating system's name of a socket or lookup error, e.g. ECONNREFUSED. */
export function socketErrno(error: unknown): string | undefined {
  if (!(error instanceof Error) || 'severity' in error || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}

/** admin_shutdown, crash_shutdown: a server that goes, or that ended this session. */
export function isShutdown(state: string): boolean {
  return state === '57P01' || state === '57P02'
}

/** True where the same act may succeed later without anybody's doing: network, restart, load, locks. */
export function isTransient(error: unknown): boolean {
  if (error instanceof FollowerError) return error.transient
  const state = sqlstate(error)
  if (state !== undefined)
    return (
      transientStates.has(state) || state.startsWith('53') || (state.startsWith('08') && state !== '08P01')
    )
  const errno = socketErrno(error)
  if (errno !== undefined) return transientErrnos.has(errno) || isMissingSocket(error)
  return error instanceof Error && lostConnection.test(error.message)
}

/** The Unix socket of a server that is stopped; a file that is missing elsewhere stays missing. */
function isMissingSocket(error: unknown): boolean {
  const { code, syscall } = error as NodeJS.ErrnoException
  return code === 'ENOENT' && syscall === 'connect'
}

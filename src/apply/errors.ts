import { ExitCode, FollowerError } from '../errors.ts'
import { formatLsn } from '../model/lsn.ts'
import { relationName } from '../model/relation.ts'
import type { ServerError } from '../postgres/response.ts'
import { isTransient, sqlstate } from '../postgres/sqlstate.ts'
import { type Place, placeContext } from './place.ts'
import { remedies } from './remedies.ts'

/** SQLSTATE by which `follower.advance_progress` says that another daemon has taken the follow (P8). */
export const fenced = 'FLW11'
/** SQLSTATE by which `follower.skip_transaction` says that nobody wants that any more. */
const withdrawn = 'FLW12'

/** Transient elsewhere; while applying they are mostly the doing of what is applied. */
const ownDoing = new Set([
  '55006', // object_in_use: what holds a table against TRUNCATE or DDL is the session's own, such as deferred events
  '25006', // read_only_sql_transaction: a trigger may have said so; whether the server does is asked afterwards
])

/** True where the same statements may succeed in another session. */
export function mayPass(error: unknown): boolean {
  return isTransient(error) && !ownDoing.has(sqlstate(error) ?? '')
}

/** Turns what a statement downstream failed with into the error that stops or delays the follow. */
export function applyError(error: unknown, place: Place): Error {
  if (error instanceof FollowerError) return withPlace(error, place)
  const code = sqlstate(error)
  if (code === fenced) return fencedError()
  if (mayPass(error)) return downstreamLost(error)
  // No report of a server: a fault of this program, to be seen as one.
  if (code === undefined) return error instanceof Error ? error : new Error(String(error))
  const report = error as Partial<ServerError> & Error
  // Which value stands in a failing row is nobody's business in a log; a key is its name.
  const detail = code === '23505' || code === '23503' ? report.detail : undefined
  const relation = place.relation ? ` on ${relationName(place.relation)}` : ''
  return new FollowerError(
    `apply stopped at transaction ${place.transaction.xid}${relation}: ${report.message}`,
    {
      code:
        code === '23505'
          ? 'FLW-310'
          : code.startsWith('23')
            ? 'FLW-311'
            : code.startsWith('22')
              ? 'FLW-312'
              : 'FLW-313',
      exit: ExitCode.apply,
      detail: [describe(place), detail, report.hint].filter(Boolean).join('\n'),
      effect:
        'the downstream holds everything before this transaction and nothing of it; the position did not move',
      fix: [...remedies(code, report, place), 'remove the cause downstream'],
      sqlstate: code,
      context: {
        // A constraint that is checked at COMMIT fails at no row; the server still names its table.
        ...(report.schema && report.table ? { relation: `${report.schema}.${report.table}` } : {}),
        ...placeContext(place),
        ...(report.constraint ? { constraint: report.constraint } : {}),
        ...(place.column === undefined ? {} : { column: place.column }),
      },
      row: place.row?.(),
      cause: error,
    },
  )
}

/** What stops or delays the follow where not a row but its position could not be written. */
export function progressError(error: ServerError): Error {
  if (error.code === fenced) return fencedError()
  if (isTransient(error) || error.code === withdrawn) return downstreamLost(error)
  return new FollowerError(`the progress row downstream cannot be written: ${error.message}`, {
    code: 'FLW-313',
    exit: ExitCode.apply,
    effect: 'the downstream holds everything up to its position, which did not move',
    fix: ['remove the cause downstream'],
    sqlstate: error.code,
    cause: error,
  })
}

function describe(place: Place): string {
  return `commit ${formatLsn(place.transaction.endLsn)}${place.key ? `, key ${place.key}` : ''}`
}

function withPlace(error: FollowerError, place: Place): FollowerError {
  if (error.context.lsn !== undefined) return error
  return new FollowerError(error.message, {
    code: error.code,
    exit: error.exit,
    detail: [describe(place), error.detail].filter(Boolean).join('\n'),
    effect:
      error.effect ??
      'the downstream holds everything before this transaction and nothing of it; the position did not move',
    fix: error.fix,
    sqlstate: error.sqlstate,
    context: { ...placeContext(place), ...error.context },
    transient: error.transient,
    row: place.row?.(),
    cause: error.cause ?? error,
  })
}

/** Another daemon has taken the follow (P8). */
export function fencedError(): FollowerError {
  return new FollowerError('another follower has taken this follow', {
    code: 'FLW-230',
    exit: ExitCode.held,
    detail: 'the progress row downstream carries a newer epoch, or another position, than this process wrote',
    effect: 'the batch in hand was rolled back; the other follower goes on',
    fix: ['run one follower for each name'],
  })
}

/** What passes by itself. */
export function downstreamLost(error: unknown): FollowerError {
  return new FollowerError(`downstream: ${error instanceof Error ? error.message : String(error)}`, {
    code: 'FLW-510',
    exit: ExitCode.downstream,
    effect: 'the batch in hand is rolled back and applied again',
    sqlstate: sqlstate(error),
    transient: true,
    cause: error,
  })
}

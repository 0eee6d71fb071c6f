import { ExitCode, FollowerError } from '../errors.ts'
import type { Conninfo } from '../model/conninfo.ts'
import { isTransient, socketErrno, sqlstate } from '../postgres/sqlstate.ts'
import { StreamClosed } from '../stream/receiver.ts'

/** What ended the stream, as the error to wait out or to stop with; a fault of this program stays what it is. */
export function streamError(error: Error, upstream: Conninfo): Error {
  const state = sqlstate(error)
  const closed = error instanceof StreamClosed || socketErrno(error) !== undefined
  if (error instanceof FollowerError || (state === undefined && !closed)) return error
  return new FollowerError(`the stream from upstream ${upstream.display} ended: ${error.message}`, {
    code: 'FLW-410',
    exit: ExitCode.upstream,
    effect: 'the downstream holds whole transactions; nothing is skipped, what follows is sent again',
    fix: ['see the upstream’s log for what it says of this walsender, and start again'],
    sqlstate: state,
    transient: closed || isTransient(error),
    cause: error,
  })
}

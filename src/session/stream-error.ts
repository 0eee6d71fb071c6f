import type pg from 'pg'
import { ExitCode, FollowerError } from '../errors.ts'
import type { Conninfo } from '../model/conninfo.ts'
import { ServerError } from '../postgres/response.ts'
import { sql } from '../postgres/sql.ts'
import { isTransient, socketErrno, sqlstate } from '../postgres/sqlstate.ts'
import { askOne } from '../provision/query.ts'
import { StreamClosed } from '../stream/receiver.ts'

/** What ended the stream, as the error to wait out or to stop with; a fault of this program stays what it is. */
export function streamError(error: Error, upstream: Conninfo): Error {
  const state = sqlstate(error)
  const closed = error instanceof StreamClosed || socketErrno(error) !== undefined
  if (error instanceof FollowerError || (state === undefined && !closed)) return error
  if (error instanceof ServerError && isTooLarge(error)) return tooLarge(error)
  if (error instanceof ServerError && state?.startsWith('22')) return undecodable(error)
  const segment = error instanceof ServerError ? removedSegment(error) : undefined
  if (segment !== undefined) return removed(error as ServerError, segment)
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

/** What a row filter makes of a row, or an encoding of a value: the same row comes again, with the filter of its time. */
function undecodable(error: ServerError): FollowerError {
  // What stands behind the colon is a value.
  error.message = error.message.replace(/: ".*"$/s, ': "..."')
  return new FollowerError(`the upstream can't decode a transaction: ${error.message}`, {
    code: 'FLW-336',
    exit: ExitCode.apply,
    detail: error.where ?? 'a row filter of a publication, or the encoding of a value, fails at a row',
    effect: 'the downstream holds everything before this transaction and nothing of it',
    fix: [
      "mend the publication's row filter upstream: what was written before keeps the filter of its time",
      'begin anew behind it: follower cleanup, bring the rows over, follower start',
    ],
    sqlstate: error.code,
    cause: error,
  })
}

/** The file in `requested WAL segment 000000010000000000000066 has already been removed`, in whatever language; 58P01 from the file system. */
function removedSegment({ code, message }: ServerError): string | undefined {
  return code === 'XX000' || code === '58P01' ? /\b[0-9A-F]{24}\b/.exec(message)?.[0] : undefined
}

/** A slot whose WAL is gone; `judgeRemoved` tells whether it needs it. */
function removed(error: ServerError, segment: string): FollowerError {
  return new FollowerError(
    `the upstream slot is lost, replication cannot continue from it: ${error.message}`,
    {
      code: 'FLW-207',
      exit: ExitCode.slot,
      effect: 'the downstream is intact; what was committed upstream since then cannot be streamed any more',
      fix: ['begin anew: follower cleanup, load the tables again, follower start'],
      sqlstate: error.code,
      context: { segment },
      cause: error,
    },
  )
}

/**
 * A walsender reads from where the slot stood when it began. What its predecessor had left to be confirmed moves the slot with the first
 * acknowledgement, and a checkpoint may then remove what it is still reading: the next one begins behind that. Returns what the error really is.
 */
export async function judgeRemoved(error: unknown, upstream: pg.Client, slot: string): Promise<unknown> {
  const segment = error instanceof FollowerError ? error.context.segment : undefined
  if (segment === undefined) return error
  const { message } = (error as FollowerError).cause as ServerError
  const passing = new FollowerError(`the stream ended: ${message}`, {
    code: 'FLW-410',
    exit: ExitCode.upstream,
    effect: 'the slot has moved on meanwhile: the stream begins anew from there, and nothing is skipped',
    transient: true,
    cause: error,
  })
  try {
    const row = await askOne(upstream, 'upstream', sql('query/slot_is_beyond'), [slot, String(segment)])
    return row?.beyond === 't' ? passing : error
  } catch {
    // Nobody can tell now: the next session looks at the slot before it streams.
    return passing
  }
}

/** What PostgreSQL allocates at most in one piece: a message of the stream is one. */
const maxAllocation = 0x3fffffff

/**
 * True where a row does not fit: XX000 `invalid memory alloc request size …` for a value, which PostgreSQL never translates; 54000 (from 17 on)
 * or 53200 `Cannot enlarge string buffer containing … bytes by … more bytes` for the row, by the numbers, since those words may be translated.
 * Never transient: the same row comes again.
 */
function isTooLarge({ code, message, detail }: ServerError): boolean {
  if (code === 'XX000') return /^invalid memory alloc request size \d+$/.test(message)
  if (code !== '54000' && code !== '53200') return false
  const numbers = `${message} ${detail ?? ''}`.match(/\d+/g) ?? []
  return numbers.reduce((sum, number) => sum + Number(number), 0) >= maxAllocation
}

function tooLarge(error: ServerError): FollowerError {
  const lsn = /[0-9A-F]+\/[0-9A-F]+/.exec(error.where ?? '')?.[0]
  return new FollowerError(
    `the upstream can't send a row: as text it is larger than 1 GB, PostgreSQL's limit`,
    {
      code: 'FLW-333',
      exit: ExitCode.apply,
      detail: [error.message, error.detail, error.where].filter(Boolean).join('\n'),
      effect: 'the downstream holds everything before this transaction and nothing of it',
      fix: [
        'keep such values in pieces: less than 512 MB of bytea, less than 1 GB of all columns together',
        'begin anew behind it: follower cleanup, bring the rows over, follower start',
      ],
      sqlstate: error.code,
      context: lsn === undefined ? {} : { lsn },
      cause: error,
    },
  )
}

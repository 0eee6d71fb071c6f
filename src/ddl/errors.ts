import { ExitCode, FollowerError } from '../errors.ts'
import type { DdlMessage } from '../model/ddl-message.ts'
import type { DdlContext } from './context.ts'

export interface DdlErrorDetails {
  readonly detail?: string
  readonly fix?: readonly string[]
  readonly statement?: string | undefined
  readonly sqlstate?: string | undefined
  readonly cause?: unknown
}

/** An error that stops the follow at a schema change: exit 8, with the command, its author and its place. */
export function ddlError(
  number: number,
  what: string,
  message: DdlMessage,
  context: Pick<DdlContext, 'lsn'>,
  more: DdlErrorDetails = {},
): FollowerError {
  const object = message.objects[0]?.identity ?? message.dropped[0]?.identity
  return new FollowerError(`${message.tag}: ${what}`, {
    code: `FLW-${number}`,
    exit: ExitCode.apply,
    effect: 'the transaction is not applied; the follow stops before it and keeps its position',
    sqlstate: more.sqlstate,
    ...(more.detail === undefined ? {} : { detail: more.detail }),
    ...(more.fix === undefined ? {} : { fix: more.fix }),
    ...(more.cause === undefined ? {} : { cause: more.cause }),
    context: {
      tag: message.tag,
      role: message.role,
      ...(object === undefined ? {} : { relation: object }),
      ...(more.statement === undefined ? {} : { statement: excerpt(more.statement, 300) }),
      ...(context.lsn === undefined ? {} : { lsn: context.lsn }),
      xid: message.xid,
    },
  })
}

/** A text of at most `length` characters. */
export function excerpt(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`
}

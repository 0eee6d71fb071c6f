import { FollowerError } from '../errors.ts'
import type { DdlMessage } from '../model/ddl-message.ts'
import { quoteIdentifier } from '../postgres/identifier.ts'
import { sqlstate } from '../postgres/sqlstate.ts'
import { mayNotAct } from './author.ts'
import type { DdlContext, DdlOutcome } from './context.ts'
import { ddlError, excerpt } from './errors.ts'
import { rewriteRefused } from './rewrite.ts'
import { differences, type Truth } from './truth.ts'

/** What came of all ways. */
export interface Failure {
  readonly error?: unknown
  readonly text?: string
  /** Differences that were left after a way that ran. */
  readonly differences?: readonly string[]
}

/**
 * Nothing worked. It need not have to: where the downstream holds what the upstream holds already, the message asked for
 * nothing that is missing, and stopping would be in any role's power. Errors that say that something is there already,
 * is gone already or is forbidden are believed to have nothing to remove; after others, the downstream must not hold
 * more than the upstream either.
 */
export async function settle(
  message: DdlMessage,
  truths: readonly Truth[],
  failure: Failure,
  context: DdlContext,
): Promise<DdlOutcome> {
  if (failure.error instanceof FollowerError && failure.error.code === rewriteRefused) throw failure.error
  const code = codeOf(failure)
  const harmless = code !== undefined && (code === '42501' || harmlessStates.has(code))
  const statement = failure.text === undefined ? {} : { statement: failure.text }
  if (truths.length > 0) {
    const left = await differences(truths, context, !harmless)
    if (left.length > 0) throw failed(message, { differences: left, ...failure }, context)
    return code === '42501'
      ? { result: 'rejected', reason: reasonOf(failure), ...statement }
      : { result: 'noop', reason: 'already so', ...statement }
  }
  // PostgreSQL tells no object of a GRANT: it may be about one that is not followed.
  if (/^(GRANT|REVOKE|ALTER DEFAULT PRIVILEGES)$/.test(message.tag) && goneStates.has(code ?? ''))
    return { result: 'skipped', reason: reasonOf(failure), ...statement }
  if (message.attributes.superuser || !harmless) throw failed(message, failure, context)
  return { result: 'rejected', reason: reasonOf(failure), ...statement }
}

/** An author who may do nothing here has done nothing here; one whom the daemon's role may not act for could. */
function codeOf({ error }: Failure): string | undefined {
  if (!(error instanceof FollowerError)) return sqlstate(error)
  return error.code === mayNotAct ? undefined : '42501'
}

/** duplicate_* and undefined_*: https://www.postgresql.org/docs/current/errcodes-appendix.html */
const harmlessStates = new Set(
  '42701 42P03 42P04 42723 42P05 42P06 42P07 42712 42710 42703 42883 42P01 42P02 42704 3F000'.split(' '),
)

/** Undefined table, function, schema. */
const goneStates = new Set(['42P01', '42883', '3F000'])

function reasonOf({ error }: Failure): string {
  return error instanceof Error ? error.message : 'no statement was found'
}

export const manualFix = [
  'run on the downstream what the statement did upstream',
  'start the follow again: it finds that the catalogs agree, and goes on',
]

/** The error that stops the follow where all ways failed. */
export function failed(message: DdlMessage, failure: Failure, context: DdlContext): FollowerError {
  const { error, text } = failure
  if (error instanceof FollowerError) return error
  const lines = [
    ...(error instanceof Error ? [error.message, hintOf(error)] : []),
    ...(text === undefined ? [] : [excerpt(text, 300)]),
    ...(failure.differences ?? []).slice(0, 20),
  ]
    .filter((line) => line !== undefined)
    .join('\n')
  if (text === undefined)
    return ddlError(321, 'its statement could not be found', message, context, {
      detail: lines,
      fix: manualFix,
    })
  if (error === undefined)
    return ddlError(323, 'the downstream differs from the upstream after the replay', message, context, {
      detail: lines,
      statement: text,
      fix: manualFix,
    })
  return ddlError(322, 'the downstream refused the statement', message, context, {
    detail: lines,
    statement: text,
    sqlstate: sqlstate(error),
    cause: error,
    fix: rightFixes(message, error, context),
  })
}

/** What asks for a superuser (extensions, languages, …) says so in a hint. */
function hintOf(error: Error): string | undefined {
  const { hint } = error as { readonly hint?: unknown }
  return typeof hint === 'string' ? hint : undefined
}

function rightFixes(message: DdlMessage, error: unknown, { daemonRole }: DdlContext): readonly string[] {
  if (sqlstate(error) === 'FLW24')
    return [
      `GRANT ${quoteIdentifier(message.role)} TO ${quoteIdentifier(daemonRole)};  -- downstream`,
      ...manualFix.slice(1),
    ]
  if (sqlstate(error) !== '42501' || !message.attributes.superuser) return manualFix
  // English only: a help where it can be had.
  const other = /must be (?:member of|able to SET) ?(?:ROLE|role) "(.+)"/.exec((error as Error).message)?.[1]
  return [
    ...(other === undefined
      ? []
      : [`GRANT ${quoteIdentifier(other)} TO ${quoteIdentifier(daemonRole)};  -- downstream`]),
    `give role ${quoteIdentifier(daemonRole)}, as which it ran, the right that is missing downstream`,
    'or let a role that has it run on the downstream what the statement did upstream',
    ...manualFix.slice(1),
  ]
}

export function broken(message: DdlMessage, context: DdlContext): FollowerError {
  return ddlError(320, 'the capture failed upstream, what the statement did is not known', message, context, {
    detail: message.error ?? '',
    fix: manualFix,
  })
}

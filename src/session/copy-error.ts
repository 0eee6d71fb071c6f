import { CopyFailed } from '../copy/transfer.ts'
import { ExitCode, FollowerError } from '../errors.ts'
import { isTransient, sqlstate } from '../postgres/sqlstate.ts'
import { heldError } from './connections.ts'

/** What stopped a copy, as the error to wait out or to stop with. Values of rows are nobody's business in a log. */
export function copyError(error: unknown, settings: { readonly name: string }): unknown {
  if (!(error instanceof CopyFailed)) return error
  const { end, cause, table } = error
  const state = sqlstate(cause)
  if (state === 'FLW11')
    return heldError(
      settings.name,
      'the progress row downstream carries a newer epoch than this process wrote',
    )
  // The snapshot's connection is gone, and the snapshot with it.
  const transient = isTransient(cause) || (end === 'upstream' && state === '22023')
  // No report of a server: a fault of this program, to be seen as one.
  if (state === undefined && !transient) return cause
  const upstream = end === 'upstream'
  const { detail } = cause as { detail?: string }
  return new FollowerError(
    `${table === undefined ? 'the copy' : `the copy of ${table}`} stopped ${upstream ? 'upstream' : 'downstream'}: ${cause.message}`,
    {
      code: 'FLW-350',
      exit: transient ? (upstream ? ExitCode.upstream : ExitCode.downstream) : ExitCode.apply,
      ...(state === '23505' && detail ? { detail } : {}),
      effect:
        'tables that are copied stay; the rest is copied as of a later moment, each table whole or not at all',
      fix: remedies(state, upstream, table),
      sqlstate: state,
      context: table === undefined ? {} : { relation: table },
      transient,
      cause,
    },
  )
}

function remedies(state: string | undefined, upstream: boolean, table = 'the table'): string[] {
  if (state === '42501')
    return upstream
      ? [`GRANT SELECT ON ${table} TO …;   -- upstream; with row security also BYPASSRLS for that role`]
      : [`make the downstream role a member of the owner of ${table}, then start again`]
  if (state?.startsWith('53')) return ['make room downstream; the copy goes on by itself']
  return ['remove the cause, then start again']
}

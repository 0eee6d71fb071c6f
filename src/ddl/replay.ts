import { FollowerError } from '../errors.ts'
import type { DdlMessage } from '../model/ddl-message.ts'
import { failpointOn } from '../postgres/failpoint.ts'
import { sql } from '../postgres/sql.ts'
import { isTransient, sqlstate } from '../postgres/sqlstate.ts'
import { type Author, findAuthor } from './author.ts'
import { findCandidates } from './candidates.ts'
import { type DdlContext, type DdlOutcome, isFollowed, isForeign, skipsTag } from './context.ts'
import { tableFromState, withoutData } from './create-table-as.ts'
import { replayDetach } from './detach.ts'
import { synthesizeDrops } from './drop.ts'
import { ddlError, excerpt } from './errors.ts'
import { attempt, executeAs, freeLocks, limitLocks } from './execute.ts'
import { replayFilling } from './rewrite.ts'
import { loadParser, withoutConcurrently } from './statement.ts'
import { createsTableAs, type DdlTransactionState } from './transaction.ts'
import { differences, readState, type Truth, truthOf } from './truth.ts'

/** One way of doing what the message tells. */
interface Way {
  readonly text: string
  run(role: string): Promise<void>
  accept(): void
}

/** What came of all ways. */
interface Failure {
  readonly error?: unknown
  readonly text?: string
  /** Differences that were left after a way that ran. */
  readonly differences?: readonly string[]
}

/**
 * Replays one DDL message in its place inside the open apply transaction, with the rights of its author, and compares
 * what the downstream's catalog then holds with what the upstream's held. Leaves the session pinned and the
 * transaction usable. Throws a FollowerError (exit 8) where the downstream cannot be made equal, and the server's or
 * network's own error where trying again may help (a lock that was not had within 3 s).
 */
export async function replayDdl(
  message: DdlMessage,
  state: DdlTransactionState,
  context: DdlContext,
): Promise<DdlOutcome> {
  await limitLocks(context)
  const outcome = await replay(message, state, context)
  await freeLocks(context)
  const { result, reason, statement } = outcome
  context.log[result === 'rejected' ? 'warn' : result === 'skipped' ? 'debug' : 'info'](
    {
      ddl: message.tag,
      result,
      role: message.role,
      object: message.objects[0]?.identity ?? message.dropped[0]?.identity,
      ...(reason === undefined ? {} : { reason }),
      ...(statement === undefined ? {} : { statement: excerpt(statement, 200) }),
    },
    `schema change ${result}`,
  )
  return outcome
}

async function replay(
  message: DdlMessage,
  state: DdlTransactionState,
  context: DdlContext,
): Promise<DdlOutcome> {
  if (message.kind === 'broken') throw broken(message, context)
  if (message.kind === 'start') return { result: 'skipped', reason: 'marker' }
  await loadParser()
  const candidates = await findCandidates(message, state, (name) => sourcesOf(name, context))
  const skipped = skipReason(message, context)
  if (skipped) {
    // It counts all the same: the next event of the string is that of a later statement.
    candidates.list[0]?.accept()
    return { result: 'skipped', reason: skipped }
  }
  await failpointOn('ddl.before', context.client)
  const author = await findAuthor(message, context)
  if (message.kind === 'drop') return replayDrop(message, author, context)

  const truths = truthOf(message, context, 'role' in author ? author.role : message.role)
  if ('problem' in author) return settle(message, truths, { error: author.problem }, context)
  if (candidates.ambiguous && truths.length === 0)
    throw ddlError(321, 'which statement of its text ran cannot be told', message, context, {
      detail:
        'The text holds several statements that it may have been, and follower knows no state of the object to compare.',
      statement: candidates.list[0]?.statement.text,
      fix: manualFix,
    })
  let ways: Way[] = candidates.list.map(({ statement, accept }) => ({
    text: withoutConcurrently(statement),
    accept,
    run: (role) =>
      replayDetach(message, statement, role, context, () =>
        replayFilling(message, statement, role, context, () =>
          executeAs(context, role, settingsOf(message), withoutConcurrently(statement)),
        ),
      ),
  }))
  if (createsTableAs(message.tag)) {
    const texts = [
      ...candidates.list.map(({ statement }) => withoutData(statement)),
      tableFromState(message, context.columnOrder?.(message)),
    ]
    ways = texts.flatMap((text) =>
      text === undefined
        ? []
        : [
            {
              text,
              accept: () => {},
              run: (role: string) => executeAs(context, role, settingsOf(message), text),
            },
          ],
    )
  } else if (truths.length === 0) ways = ways.slice(0, 1)

  let failure: Failure = {}
  for (const way of ways) {
    try {
      const kept = await attempt(context, async () => {
        await way.run(author.role)
        await failpointOn('ddl.replayed', context.client)
        const left = await differences(truths, context)
        failure = { text: way.text, differences: left }
        return left.length === 0
      })
      if (!kept) continue
      way.accept()
      await failpointOn('ddl.checked', context.client)
      return { result: 'applied', statement: way.text }
    } catch (error) {
      if (error instanceof FollowerError || isTransient(error) || sqlstate(error) === undefined) throw error
      failure = { text: way.text, error }
    }
  }
  return settle(message, truths, failure, context)
}

async function replayDrop(message: DdlMessage, author: Author, context: DdlContext): Promise<DdlOutcome> {
  const drops = synthesizeDrops(message, (object) => isFollowed(object, context.publications))
  if (drops.length === 0) return { result: 'skipped', reason: 'nothing to drop' }
  const statement = drops.map(({ text }) => text).join('; ')
  let error: unknown
  if ('problem' in author) error = author.problem
  else
    try {
      await attempt(context, async () => {
        for (const { text } of drops) await executeAs(context, author.role, settingsOf(message), text)
        return true
      })
      await failpointOn('ddl.replayed', context.client)
      await failpointOn('ddl.checked', context.client)
      return { result: 'applied', statement }
    } catch (caught) {
      if (isTransient(caught) || sqlstate(caught) === undefined) throw caught
      error = caught
    }
  const states = await Promise.all(
    drops.flatMap(({ objects }) => objects).map((object) => readState(context.client, object)),
  )
  if (states.every((state) => state === null)) return { result: 'noop', reason: 'already so', statement }
  throw failed(message, { error, text: statement }, context)
}

/** Why a message needs nothing done. */
function skipReason(message: DdlMessage, context: DdlContext): string | undefined {
  if (skipsTag(message.tag)) return 'not replicated'
  if (message.kind === 'end' && message.tag.startsWith('DROP ')) return 'drops come by themselves'
  if (message.kind === 'end' && message.objects.length === 0) return 'no effect upstream'
  return isForeign(message, context) ? 'not followed' : undefined
}

/**
 * Nothing worked. It need not have to: where the downstream holds what the upstream holds already, the message asked for
 * nothing that is missing, and stopping would be in any role's power. Errors that say that something is there already,
 * is gone already or is forbidden are believed to have nothing to remove; after others, the downstream must not hold
 * more than the upstream either.
 */
async function settle(
  message: DdlMessage,
  truths: readonly Truth[],
  failure: Failure,
  context: DdlContext,
): Promise<DdlOutcome> {
  const code = failure.error instanceof FollowerError ? '42501' : sqlstate(failure.error)
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

/** duplicate_* and undefined_*: https://www.postgresql.org/docs/current/errcodes-appendix.html */
const harmlessStates = new Set(
  '42701 42P03 42P04 42723 42P05 42P06 42P07 42712 42710 42703 42883 42P01 42P02 42704 3F000'.split(' '),
)

/** Undefined table, function, schema. */
const goneStates = new Set(['42P01', '42883', '3F000'])

function reasonOf({ error }: Failure): string {
  return error instanceof Error ? error.message : 'no statement was found'
}

const manualFix = [
  'run on the downstream what the statement did upstream',
  'start the follow again: it finds that the catalogs agree, and goes on',
]

function failed(message: DdlMessage, failure: Failure, context: DdlContext): FollowerError {
  const { error, text } = failure
  if (error instanceof FollowerError) return error
  const lines = [
    ...(error instanceof Error ? [error.message] : []),
    ...(text === undefined ? [] : [excerpt(text, 300)]),
    ...(failure.differences ?? []).slice(0, 20),
  ].join('\n')
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
    fix:
      sqlstate(error) === 'FLW24'
        ? [`GRANT "${message.role}" TO "${context.daemonRole}";  -- downstream`, ...manualFix.slice(1)]
        : manualFix,
  })
}

function broken(message: DdlMessage, context: DdlContext): FollowerError {
  return ddlError(320, 'the capture failed upstream, what the statement did is not known', message, context, {
    detail: message.error ?? '',
    fix: manualFix,
  })
}

/** Settings under which the text means the same. The wall sets the role; bodies of functions may name what is not followed. */
function settingsOf(message: DdlMessage): Record<string, string> {
  const { role: _role, check_function_bodies: _bodies, ...settings } = message.settings
  return settings
}

async function sourcesOf(name: string, context: DdlContext): Promise<string[]> {
  const { rows } = await context.client.query<{ source: string }>(sql('query/sql_function_source'), [name])
  return rows.map(({ source }) => source)
}

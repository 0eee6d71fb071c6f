import { FollowerError } from '../errors.ts'
import type { DdlMessage } from '../model/ddl-message.ts'
import { failpointOn } from '../postgres/failpoint.ts'
import { sql } from '../postgres/sql.ts'
import { isTransient, sqlstate } from '../postgres/sqlstate.ts'
import { type Author, findAuthor } from './author.ts'
import { findCandidates } from './candidates.ts'
import { type DdlContext, type DdlOutcome, isFollowed, isForeign, skipsTag } from './context.ts'
import { hasData } from './create-table-as.ts'
import { synthesizeDrops } from './drop.ts'
import { ddlError, excerpt } from './errors.ts'
import { attempt, executeAs, freeLocks, limitLocks } from './execute.ts'
import { loadParser } from './parser.ts'
import { broken, type Failure, failed, manualFix, settle } from './settle.ts'
import { parseStatements } from './statement.ts'
import { createsTableAs, type DdlTransactionState } from './transaction.ts'
import { differences, readState, truthOf } from './truth.ts'
import { settingsOf, waysOf } from './ways.ts'

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
  const skipped =
    skipReason(message, context) ?? (ofExtension(message, state) ? 'of an extension' : undefined)
  if (skipped) {
    // It counts all the same: the next event of the string is that of a later statement.
    candidates.list[0]?.accept()
    return { result: 'skipped', reason: skipped }
  }
  await failpointOn('ddl.before', context.client)
  // DDL refuses a table with pending trigger events; those of constraints that the upstream did not defer were none there.
  if (context.origin) await context.client.query('SET CONSTRAINTS ALL IMMEDIATE')
  const author = await findAuthor(message, context)
  if (message.kind === 'drop') return replayDrop(message, author, context)

  const truths = truthOf(message, context, author)
  if ('problem' in author) return settle(message, truths, { error: author.problem }, context)
  if (
    context.newTablesUnpublished &&
    createsTableAs(message.tag) &&
    hasData(candidates.list[0]?.statement) &&
    (await differences(truths, context)).length > 0
  )
    throw ddlError(327, 'its rows are not in the stream', message, context, {
      detail: 'A table joins the publication when its command ends; the rows of this command came before.',
      statement: candidates.list[0]?.statement.text,
      fix: [
        'copy the table to the downstream, with its rows as they are upstream now and no others',
        'start the follow again: it finds that the catalogs agree, and goes on',
        'in future: CREATE TABLE … AS … WITH NO DATA, then INSERT INTO … SELECT: that is followed',
      ],
    })
  const ways = waysOf(message, candidates, truths, context)
  // No state tells which one ran. That matters only where one of them has anything to do here.
  const blind = candidates.ambiguous && truths.length === 0
  let failure: Failure = {}
  for (const way of ways) {
    try {
      const kept = await attempt(context, async () => {
        await way.run(author.role)
        if (blind) throw undecided(message, way.text, context)
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
      if (isTransient(error) || (sqlstate(error) === undefined && !(error instanceof FollowerError)))
        throw error
      failure = { text: way.text, error }
      if (blind) await settle(message, truths, failure, context)
    }
  }
  return settle(message, truths, failure, context)
}

function undecided(message: DdlMessage, statement: string, context: DdlContext): FollowerError {
  return ddlError(321, 'which statement of its text ran cannot be told', message, context, {
    detail:
      'The text holds several statements that it may have been, and follower knows no state of the object to compare.',
    statement,
    fix: manualFix,
  })
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

/** What the script of an extension drops is dropped by the extension's script here: nothing but its command was run. */
function ofExtension(message: DdlMessage, state: DdlTransactionState): boolean {
  if (message.kind !== 'drop' || message.tag === 'DROP EXTENSION') return false
  const statements = parseStatements(message.query ?? state.texts.get(message.query_hash) ?? '') ?? []
  return statements.length > 0 && statements.every(({ tag }) => /^(CREATE|ALTER) EXTENSION$/.test(tag ?? ''))
}

async function sourcesOf(name: string, context: DdlContext): Promise<string[]> {
  const { rows } = await context.client.query<{ source: string }>(sql('query/sql_function_source'), [name])
  return rows.map(({ source }) => source)
}

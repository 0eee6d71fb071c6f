import {
  changesIn,
  messageLogical,
  messageTruncate,
  messageUpdate,
  relationsIn,
  type Transaction,
} from '../model/changes.ts'
import { failpointOn } from '../postgres/failpoint.ts'
import type { ServerError } from '../postgres/response.ts'
import type { Gatherer } from './gather.ts'
import type { ApplySession } from './session.ts'
import { noWays, type Ways } from './ways.ts'
import { writeChange, writeStatement } from './write.ts'

/** The quick way did not do what was expected: roll back and go step by step. */
export class BatchFailed extends Error {
  readonly error: ServerError | undefined

  constructor(error: ServerError | undefined) {
    super(error?.message ?? 'a change met another number of rows than one')
    this.error = error
  }
}

/** How many changes are written between two looks at the socket. */
const lookEvery = 256
/** Batches of so few changes are sent with their COMMIT. */
const fewChanges = 100
/** Statements of one exchange: what they met has to be remembered, and a refused one makes the rest vain. */
export const exchangeLimit = 20_000

/**
 * For statements over many rows: find each by its index, whatever is known of the table's size, and plan once. Until the end of
 * the transaction, in which no code of a table runs.
 */
export const planForSets = `SELECT ${['hashjoin', 'mergejoin', 'seqscan', 'bitmapscan']
  .map((way) => `pg_catalog.set_config('enable_${way}', 'off', true)`)
  .join(', ')}, pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', true)`

/**
 * Sends the changes of whole transactions in one exchange, after BEGIN, and checks that each met exactly one row.
 * `together`: many changes by one statement, where that may be. Leaves the downstream transaction open for `commit`.
 * Throws BatchFailed where anything else happened.
 */
export async function sendBatch(
  session: ApplySession,
  batch: readonly Transaction[],
  together: boolean,
): Promise<Ways> {
  await failpointOn('apply.begin', session.client)
  session.statements.makesView = undefined
  await session.statements.load(relationsIn(batch))
  session.pipeline.open()
  for (const statement of session.begin) session.pipeline.statement(statement)
  const gatherer = together ? gathererFor(session, batch) : undefined
  session.together = gatherer !== undefined
  if (gatherer) session.pipeline.statement(planForSets)
  await sendChanges(session, batch, gatherer)
  gatherer?.flush()
  await failpointOn('apply.mid-batch', session.client)
  await expectOneRowEach(session)
  return gatherer?.ways ?? { ...noWays(), ordered: changesIn(batch) }
}

/** Writes all changes into the exchange in hand, or into several. */
export async function sendChanges(
  session: ApplySession,
  batch: readonly Transaction[],
  gatherer: Gatherer | undefined,
): Promise<void> {
  let changes = 0
  for (const transaction of batch) {
    session.cursor.seek(transaction)
    while (!session.pipeline.refused && session.cursor.advance()) {
      if (isIgnored(session)) continue
      const gathered = gatherer !== undefined && gather(session, gatherer)
      if (!gathered) sendChange(session, transaction)
      if (gatherer?.full) {
        gatherer.flush()
        // The server begins with them while the next are put together.
        session.pipeline.writer.flush()
      } else if (++changes % lookEvery !== 0) continue
      if (session.pipeline.writer.congested) await session.pipeline.drained()
      if (session.pipeline.sent < exchangeLimit) continue
      await expectOneRowEach(session)
      session.pipeline.open()
    }
  }
}

/**
 * Whether a batch may go with its COMMIT, all in one exchange: the server itself refuses a change that doesn't meet one row then.
 * Under a steady load each exchange less is what the latency is made of. Not so where
 * a table runs code or is none (a view), nor with a TRUNCATE.
 */
async function isQuick(session: ApplySession, batch: readonly Transaction[]): Promise<boolean> {
  const { statements, togetherFrom } = session
  const changes = changesIn(batch)
  if (changes > fewChanges || (session.gatherer && changes >= togetherFrom)) return false
  if (batch.some(({ sides }) => sides.length > 0)) return false
  const relations = relationsIn(batch)
  await statements.load(relations)
  return relations.every((it) => statements.ignores(it) || statements.isFree(statements.of(it)))
}

/** Sends the changes and commits them. False, and nothing is done, where that can't be done at once. */
export async function sendQuick(session: ApplySession, batch: readonly Transaction[]): Promise<boolean> {
  session.statements.makesView = undefined
  if (!(await isQuick(session, batch))) return false
  await failpointOn('apply.begin', session.client)
  const { pipeline, cursor } = session
  pipeline.open()
  for (const statement of session.begin) pipeline.statement(statement)
  for (const transaction of batch) {
    cursor.seek(transaction)
    while (!pipeline.refused && cursor.advance()) {
      if (isIgnored(session)) continue
      sendChange(session, transaction, true)
      if (pipeline.writer.congested) await pipeline.drained()
    }
  }
  await failpointOn('apply.mid-batch', session.client)
  await session.commit(batch[batch.length - 1]!, true)
  return true
}

/** Undefined where the batch is applied in order. */
function gathererFor(session: ApplySession, batch: readonly Transaction[]): Gatherer | undefined {
  if (!session.gatherer || changesIn(batch) < session.togetherFrom) return undefined
  return session.gatherer.begin(batch) ? session.gatherer : undefined
}

/** Gives the message under the cursor to the gatherer. False where it is to be sent by itself, after what came before it. */
function gather({ cursor, change, relations }: ApplySession, gatherer: Gatherer): boolean {
  if (cursor.type === messageTruncate || cursor.type === messageLogical) {
    gatherer.flush()
    return false
  }
  const { buffer, offset, length } = cursor
  const relation = relations[cursor.index]!
  if (gatherer.takeUnread(relation, buffer, offset, length)) return true
  change.read(buffer, offset)
  return gatherer.take(relation, buffer, offset, length)
}

/** Whether the message under the cursor is a row of a materialized view. Its relation is loaded. */
export function isIgnored({ cursor, relations, statements }: ApplySession): boolean {
  return cursor.type !== messageTruncate && statements.ignores(relations[cursor.index]!)
}

/** Writes the message under the cursor: a row or a TRUNCATE. `checked`: as in ChangeShape. */
export function sendChange(session: ApplySession, transaction: Transaction, checked = false): void {
  const { cursor, change, statements, pipeline } = session
  if (cursor.type === messageTruncate) {
    const side = transaction.sides[cursor.index]
    if (side?.kind !== 'truncate') return
    for (const statement of session.waiting.truncate(side.relations, transaction.endLsn))
      pipeline.statement(statement)
    for (const part of statements.truncates(
      session.waiting.truncatable(side.relations),
      side.restartIdentity,
    )) {
      statements.wall.before(pipeline, part)
      writeStatement(pipeline.writer, part)
    }
    return
  }
  if (cursor.type === messageLogical) throw new Error('a DDL message in a batch of rows')
  change.read(cursor.buffer, cursor.offset)
  if (change.type === messageUpdate) session.unchanged += change.newTuple.unchanged
  const known = statements.of(session.relations[cursor.index]!)
  const prepared = statements.forChange(known, change, checked)
  statements.wall.before(pipeline, prepared)
  writeChange(pipeline.writer, prepared, change)
}

/** Ends the exchange. Commands without a count (BEGIN, TRUNCATE) say -1. */
export async function expectOneRowEach({ pipeline }: ApplySession): Promise<void> {
  const { sent } = pipeline
  const result = await pipeline.sync()
  if (result.error) throw new BatchFailed(result.error)
  if (result.completed !== sent) throw new Error(`${sent} statements sent, ${result.completed} completed`)
  for (let i = 0; i < sent; i++) {
    const count = pipeline.counts[i]!
    if (count !== (pipeline.expected.get(i) ?? 1) && count !== -1) throw new BatchFailed(undefined)
  }
}

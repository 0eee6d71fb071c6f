import { messageLogical, messageTruncate, messageUpdate, type Transaction } from '../model/changes.ts'
import { failpointOn } from '../postgres/failpoint.ts'
import type { ServerError } from '../postgres/response.ts'
import type { ApplySession } from './session.ts'
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
/** Statements of one exchange: what they met has to be remembered, and a refused one makes the rest vain. */
export const exchangeLimit = 20_000

/**
 * Sends the changes of whole transactions in one exchange, after BEGIN, and checks that each met exactly one
 * row. Leaves the downstream transaction open for `commit`. Throws BatchFailed where anything else happened.
 */
export async function sendBatch(session: ApplySession, batch: readonly Transaction[]): Promise<void> {
  await failpointOn('apply.begin', session.client)
  session.statements.makesView = undefined
  await session.statements.load(batch.flatMap((transaction) => [...transaction.relations]))
  session.pipeline.open()
  for (const statement of session.begin) session.pipeline.statement(statement)
  let changes = 0
  for (const transaction of batch) {
    session.cursor.seek(transaction)
    while (!session.pipeline.refused && session.cursor.advance()) {
      if (isIgnored(session)) continue
      sendChange(session, transaction)
      if (++changes % lookEvery !== 0) continue
      if (session.pipeline.writer.congested) await session.pipeline.drained()
      if (session.pipeline.sent < exchangeLimit) continue
      await expectOneRowEach(session)
      session.pipeline.open()
    }
  }
  await failpointOn('apply.mid-batch', session.client)
  await expectOneRowEach(session)
}

/** Whether the message under the cursor is a row of a materialized view. Its relation is loaded. */
export function isIgnored({ cursor, relations, statements }: ApplySession): boolean {
  return cursor.type !== messageTruncate && statements.ignores(relations[cursor.index]!)
}

/** Writes the message under the cursor: a row or a TRUNCATE. */
export function sendChange(session: ApplySession, transaction: Transaction): void {
  const { cursor, change, statements, pipeline } = session
  if (cursor.type === messageTruncate) {
    const side = transaction.sides[cursor.index]
    if (side?.kind !== 'truncate') return
    const oids = side.relations.map((relation) => relation.oid)
    for (const statement of session.waiting.truncate(oids, transaction.endLsn)) pipeline.statement(statement)
    for (const part of statements.truncates(side.relations, side.restartIdentity)) {
      statements.wall.before(pipeline, part)
      writeStatement(pipeline.writer, part)
    }
    return
  }
  if (cursor.type === messageLogical) throw new Error('a DDL message in a batch of rows')
  change.read(cursor.buffer, cursor.offset)
  if (change.type === messageUpdate) session.unchanged += change.newTuple.unchanged
  const known = statements.of(session.relations[cursor.index]!)
  const prepared = statements.forChange(known, change)
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
    if (count !== 1 && count !== -1) throw new BatchFailed(undefined)
  }
}

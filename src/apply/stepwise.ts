import { messageInsert, messageTruncate, type Transaction } from '../model/changes.ts'
import type { ConflictResolution, ConflictType } from '../model/follow.ts'
import type { Relation } from '../model/relation.ts'
import type { ChangeShape } from '../model/statement.ts'
import type { ServerError } from '../postgres/response.ts'
import { sqlstate } from '../postgres/sqlstate.ts'
import { sendChange } from './batch.ts'
import { conflictError } from './conflicts.ts'
import { applyError } from './errors.ts'
import type { ApplyEvents } from './events.ts'
import { hiddenValues, hideValues, rowOf } from './hide.ts'
import { keyText, type Place } from './place.ts'
import type { Prepared } from './prepared.ts'
import type { ApplySession } from './session.ts'
import { shapeOf } from './shape.ts'
import type { RelationStatements } from './statements.ts'
import { firstProbe } from './wall.ts'
import { writeChange } from './write.ts'

export type OnConflict = Readonly<Record<ConflictType, ConflictResolution>>

/**
 * Applies the message under the cursor alone, inside the open downstream transaction: what fails here is
 * known by its place, and conflicts are resolved as the user chose.
 */
export async function applyStep(
  session: ApplySession,
  transaction: Transaction,
  onConflict: OnConflict,
  events: ApplyEvents,
): Promise<void> {
  const { cursor, change, statements } = session
  if (cursor.type === messageTruncate) {
    const side = transaction.sides[cursor.index]
    const relation = side?.kind === 'truncate' ? side.relations[0] : undefined
    if (side?.kind === 'truncate') await statements.load(side.relations)
    const place: Place = { transaction, ...(relation && { relation }), role: session.client.user ?? '' }
    await truncateStep(session, side?.kind === 'truncate' ? side.relations : [], () =>
      exchange(session, place, () => sendChange(session, transaction)),
    )
    return
  }
  const relation = session.relations[cursor.index]!
  change.read(cursor.buffer, cursor.offset)
  const place: Place = {
    ...{ transaction, relation, key: keyText(relation, change) },
    ...{ insert: change.type === messageInsert, role: session.client.user ?? '' },
    ...(session.incidentRows && { row: () => rowOf(relation, change) }),
  }
  try {
    await statements.load([relation])
    if (statements.ignores(relation)) return
    const known = statements.of(relation)
    if (change.type === messageInsert) await insertStep(session, known, place, onConflict, events)
    else {
      await findStep(session, known, place, onConflict, events)
      session.cascades?.changed(relation)
    }
  } catch (error) {
    throw applyError(error, place)
  }
}

/** Deferred checks that are pending on the table forbid its TRUNCATE (55006); upstream they need not have been deferred. */
async function truncateStep(
  session: ApplySession,
  relations: readonly Relation[],
  truncate: () => Promise<number>,
): Promise<void> {
  if (!session.cascades) {
    await truncate()
    return
  }
  await session.client.query('SAVEPOINT follower_truncate')
  try {
    await truncate()
    await session.client.query('RELEASE SAVEPOINT follower_truncate')
  } catch (error) {
    if (sqlstate(error) !== '55006') throw error
    await session.client.query('ROLLBACK TO SAVEPOINT follower_truncate; RELEASE SAVEPOINT follower_truncate')
    await session.checkPending(relations)
    await truncate()
    await session.deferAgain()
  }
}

async function insertStep(
  session: ApplySession,
  known: RelationStatements,
  place: Place,
  onConflict: OnConflict,
  events: ApplyEvents,
): Promise<void> {
  const { change, statements } = session
  const resolution = onConflict.insert_exists
  if (resolution === 'halt') {
    await run(session, place, statements.forChange(known, change))
    return
  }
  if (!(await isInTheWay(session, known, place))) return
  if (resolution === 'overwrite') {
    const shape = shapeOf(change, known.identityAlways)
    // ON CONFLICT DO UPDATE sets an identity ALWAYS column as little as UPDATE does.
    const always = known.identityAlways.others || known.identityAlways.key.length > 0
    const replace = { ...shape, operation: 'update' as const, replaces: true }
    const replaced = always ? await run(session, place, statements.forShape(known, replace)) : 0
    if (replaced === 0)
      await run(
        session,
        place,
        statements.forShape(known, { ...shape, existing: always ? 'error' : 'overwrite' }),
      )
  }
  events.conflict('insert_exists', resolution, place)
}

/** Inserts the row; true where another one is in its way. A trigger that suppresses the row is no conflict. */
async function isInTheWay(session: ApplySession, known: RelationStatements, place: Place): Promise<boolean> {
  const { change, client, statements } = session
  if (!known.target.replicaTriggers) {
    const shape = { ...shapeOf(change, known.identityAlways), existing: 'skip' as const }
    return (await run(session, place, statements.forShape(known, shape))) === 0
  }
  // No row is what both say, the trigger and ON CONFLICT; the error of a plain INSERT is the row's alone.
  await client.query('SAVEPOINT follower_insert')
  try {
    await run(session, place, statements.forChange(known, change))
    await client.query('RELEASE SAVEPOINT follower_insert')
  } catch (error) {
    if (!['23505', '23P01'].includes(sqlstate(error) ?? '')) throw error
    await client.query('ROLLBACK TO SAVEPOINT follower_insert; RELEASE SAVEPOINT follower_insert')
    return true
  }
  return false
}

async function findStep(
  session: ApplySession,
  known: RelationStatements,
  place: Place,
  onConflict: OnConflict,
  events: ApplyEvents,
): Promise<void> {
  const { change, statements } = session
  const count = await run(session, place, statements.forChange(known, change))
  if (count !== 0) return
  const shape = shapeOf(change, known.identityAlways)
  // A trigger that returns NULL has suppressed the change, as it would have under the native worker.
  if (known.target.replicaTriggers && (await run(session, place, statements.existence(known, shape))) > 0)
    return
  const type = shape.operation === 'update' ? 'update_missing' : 'delete_missing'
  if (await session.cascades?.explains(known.relation)) {
    if (type === 'delete_missing' || (await hasNewKey(session, known, place, shape))) {
      events.cascaded(type, place)
      return
    }
  }
  const resolution = onConflict[type]
  if (resolution === 'halt') throw conflictError(type, place)
  if (resolution === 'overwrite' && type === 'update_missing') {
    if (shape.unchanged.length > 0 || mayLackColumns(known))
      throw conflictError(type, place, 'its TOASTed values were not sent, so the row cannot be made')
    await run(
      session,
      place,
      statements.forShape(known, { ...shape, operation: 'insert', unchanged: [], existing: 'error' }),
    )
  }
  events.conflict(type, resolution, place)
}

/** Updates the row that a foreign key downstream has given the new key already; false where there is none. */
async function hasNewKey(
  session: ApplySession,
  known: RelationStatements,
  place: Place,
  shape: ChangeShape,
): Promise<boolean> {
  // A value that was not sent cannot tell rows apart.
  if (shape.old === 'none' || (shape.old === 'full' && shape.unchanged.length > 0)) return false
  const found = { ...shape, old: 'none' as const, replaces: known.identityAlways.others }
  return (await run(session, place, session.statements.forShape(known, found))) > 0
}

/** Whether a column downstream may be one whose value was not sent. */
function mayLackColumns({ relation, target }: RelationStatements): boolean {
  if (!relation.partial) return false
  const sent = new Set(relation.columns.map((column) => column.name))
  return [...target.columns.values()].some((column) => !column.generated && !sent.has(column.name))
}

/** Runs one prepared statement for the current change; returns how many rows it met. */
async function run(session: ApplySession, place: Place, prepared: Prepared): Promise<number> {
  const write = (): void => {
    session.statements.wall.before(session.pipeline, prepared)
    writeChange(session.pipeline.writer, prepared, session.change)
  }
  return exchange(session, place, write, (error) => refusedColumn(error, place, prepared))
}

async function exchange(
  session: ApplySession,
  place: Place,
  write: () => void,
  column?: (error: ServerError) => string | undefined,
): Promise<number> {
  session.pipeline.open()
  write()
  const { error } = await session.pipeline.sync()
  if (!error) return session.pipeline.lastCount
  if (place.relation && place.key !== undefined) {
    const values = hiddenValues(place.relation, session.change)
    error.message = hideValues(error.message, values, error.code.startsWith('22'))
  }
  const refused = column?.(error)
  throw applyError(error, refused === undefined ? place : { ...place, column: refused })
}

/** The server names a parameter that its type refuses in CONTEXT only: `unnamed portal parameter $2 = …`. */
function refusedColumn(error: ServerError, place: Place, prepared: Prepared): string | undefined {
  const where = error.where ?? ''
  const probed = /follower_row_\d+\(text\[\]\) line (\d+) at assignment/.exec(where)?.[1]
  const number = prepared.wall ? probed && Number(probed) - firstProbe + 1 : /\$(\d+)/.exec(where)?.[1]
  const ref = number === undefined ? undefined : prepared.statement.parameters[Number(number) - 1]
  return ref === undefined ? undefined : place.relation?.columns[ref >= 0 ? ref : -1 - ref]?.name
}

import { messageDelete, messageInsert, oldFull, oldNone, type RowChange } from '../model/changes.ts'
import type { ChangeShape } from '../model/statement.ts'

/** How many there are. */
export const commonShapes = 9

/** Operation and old tuple in one small number: the index of the statements that most changes take. */
export function commonShape(change: RowChange): number {
  const operation = change.type === messageInsert ? 0 : change.type === messageDelete ? 2 : 1
  return operation * 3 + (change.old === oldNone ? 0 : change.old === oldFull ? 2 : 1)
}

/** The table's identity ALWAYS columns, which no UPDATE can set. */
export interface IdentityAlways {
  /** Indexes of those in the replica identity: whether they change can be seen. */
  readonly key: readonly number[]
  /** Whether there are others: they may change unseen. */
  readonly others: boolean
}

export function isCommon(change: RowChange, identity: IdentityAlways): boolean {
  if (change.type === messageInsert || change.type === messageDelete) return true
  return change.newTuple.unchanged === 0 && !replaces(change, identity)
}

export function shapeOf(change: RowChange, identity: IdentityAlways): ChangeShape {
  const isUpdate = change.type !== messageInsert && change.type !== messageDelete
  return {
    operation: change.type === messageInsert ? 'insert' : isUpdate ? 'update' : 'delete',
    old: change.old === oldNone ? 'none' : change.old === oldFull ? 'full' : 'key',
    unchanged: isUpdate ? unchangedColumns(change) : [],
    replaces: isUpdate && replaces(change, identity),
    existing: 'error',
    checked: false,
  }
}

/** A key of a Map: equal shapes, equal text. */
export function shapeKey(shape: ChangeShape): string {
  return `${shape.operation} ${shape.old} ${shape.replaces} ${shape.existing} ${shape.checked} ${shape.unchanged.join(' ')}`
}

function unchangedColumns(change: RowChange): number[] {
  const columns: number[] = []
  if (change.newTuple.unchanged > 0)
    for (let i = 0; i < change.newTuple.count; i++) if (change.newTuple.isUnchanged(i)) columns.push(i)
  return columns
}

function replaces(change: RowChange, identity: IdentityAlways): boolean {
  if (identity.others) return true
  // Without an old tuple the key did not change.
  if (change.old === oldNone) return false
  return identity.key.some((column) => !change.newTuple.sameValue(column, change.oldTuple))
}

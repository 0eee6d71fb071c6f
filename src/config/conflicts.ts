import type { ConflictResolution, ConflictType } from '../model/follow.ts'
import { unknownWord } from './value-problem.ts'

/** What may be done about each conflict. There is no row to overwrite where a DELETE found none. */
const allowed: Readonly<Record<ConflictType, readonly ConflictResolution[]>> = {
  insert_exists: ['halt', 'skip', 'overwrite'],
  update_missing: ['halt', 'skip', 'overwrite'],
  delete_missing: ['halt', 'skip'],
}
const types = Object.keys(allowed) as ConflictType[]

/** Parses `insert_exists=skip,update_missing=overwrite`; what is not named halts. */
export function parseConflicts(text: string): Record<ConflictType, ConflictResolution> {
  const result: Record<ConflictType, ConflictResolution> = {
    insert_exists: 'halt',
    update_missing: 'halt',
    delete_missing: 'halt',
  }
  for (const part of text.split(',').map((each) => each.trim())) {
    if (part === '') continue
    const [left = '', right = ''] = part.split('=').map((each) => each.trim())
    const type = types.find((each) => each === left)
    if (!type) throw unknownWord(left, 'conflict', types)
    const resolution = allowed[type].find((each) => each === right)
    if (!resolution) throw unknownWord(right, `resolution of ${type}`, allowed[type])
    result[type] = resolution
  }
  return result
}

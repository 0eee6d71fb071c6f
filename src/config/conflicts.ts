import type { ConflictResolution, ConflictType } from '../model/follow.ts'
import { unknownWord } from './value-problem.ts'

/** A row that is to be deleted and is not there leaves both ends alike; the other conflicts leave them different. */
const defaults: Readonly<Record<ConflictType, ConflictResolution>> = {
  insert_exists: 'halt',
  update_missing: 'halt',
  delete_missing: 'skip',
}
const types = Object.keys(defaults) as ConflictType[]
const resolutions: readonly ConflictResolution[] = ['halt', 'skip', 'overwrite']

/** Parses `insert_exists=skip,update_missing=overwrite`; what is not named has its default. */
export function parseConflicts(text: string): Record<ConflictType, ConflictResolution> {
  const result = { ...defaults }
  for (const part of text.split(',').map((each) => each.trim())) {
    if (part === '') continue
    const [left = '', right = ''] = part.split('=').map((each) => each.trim())
    const type = types.find((each) => each === left)
    if (!type) throw unknownWord(left, 'conflict', types)
    const resolution = resolutions.find((each) => each === right)
    if (!resolution) throw unknownWord(right, `resolution of ${type}`, resolutions)
    result[type] = resolution
  }
  return result
}

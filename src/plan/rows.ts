import type { Planner } from '../model/statement.ts'
import { whyText } from './binary.ts'
import { isFree, planSets } from './sets.ts'
import { planDelete, planExists, planInsert, planReplace, planUpdate } from './statements.ts'
import { planTruncate } from './truncate.ts'

/** On the ordered path each change becomes one statement, in upstream order; on the others one is for many. */
export const planner: Planner = {
  row(relation, target, shape) {
    switch (shape.operation) {
      case 'insert':
        return planInsert(relation, target, shape)
      case 'update':
        return shape.replaces ? planReplace(relation, target, shape) : planUpdate(relation, target, shape)
      case 'delete':
        return planDelete(relation, target, shape)
    }
  },
  exists: planExists,
  truncate: planTruncate,
  isFree,
  sets: planSets,
  whyText,
}

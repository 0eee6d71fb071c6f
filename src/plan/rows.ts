import type { Planner } from '../model/statement.ts'
import { planDelete, planExists, planInsert, planReplace, planUpdate } from './statements.ts'
import { planTruncate } from './truncate.ts'

/** The ordered path: each change becomes one statement, in upstream order. */
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
}

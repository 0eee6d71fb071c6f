import { ExitCode, FollowerError } from '../errors.ts'
import type { ConflictType } from '../model/follow.ts'
import { relationName } from '../model/relation.ts'
import { type Place, placeContext } from './place.ts'

/** The stop at a row that should be there and is not. */
export function conflictError(type: ConflictType, place: Place, why?: string): FollowerError {
  const relation = place.relation ? relationName(place.relation) : 'a table'
  return new FollowerError(`${type}: the row of ${relation} with key ${place.key} is not there downstream`, {
    code: 'FLW-330',
    exit: ExitCode.apply,
    detail: why ?? 'the upstream changed it; somebody removed it downstream, or it was never copied',
    effect:
      'the downstream holds everything before this transaction and nothing of it; the position did not move',
    fix: [`put the row into ${relation} downstream`, `or start with --on-conflict ${type}=skip|overwrite`],
    context: { ...placeContext(place), conflict: type },
    row: place.row?.(),
  })
}

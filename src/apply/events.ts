import type { Transaction } from '../model/changes.ts'
import type { ConflictResolution, ConflictType } from '../model/follow.ts'
import type { Lsn } from '../model/lsn.ts'
import type { Place } from './place.ts'
import type { Ways } from './ways.ts'

/** What the applier tells: once a batch or a conflict, never once a row. */
export interface ApplyEvents {
  /** `unchanged`: TOASTed values that were left as they are. `arriving`: it began before the commit had arrived. */
  applied(
    batch: readonly Transaction[],
    milliseconds: number,
    unchanged: number,
    ways: Ways,
    arriving?: boolean,
  ): void
  moved(lsn: Lsn): void
  /** The position has moved over a transaction that a person said to leave out. */
  skipped(transaction: Transaction): void
  conflict(type: ConflictType, resolution: ConflictResolution, place: Place): void
  /** A row was not found that a foreign key's action downstream had deleted, or changed, in this transaction already. */
  cascaded(type: ConflictType, place: Place): void
  /** A batch was rolled back; it is done again in parts, in order, step by step. */
  redone(batch: readonly Transaction[], reason: string): void
}

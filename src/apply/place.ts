import type { RowChange, Transaction } from '../model/changes.ts'
import { formatLsn } from '../model/lsn.ts'
import { type Relation, relationName } from '../model/relation.ts'

/** Where in the stream something happened; no row value but the key's. */
export interface Place {
  readonly transaction: Transaction
  readonly relation?: Relation
  readonly key?: string
  readonly insert?: boolean
  /** The column whose value its downstream type refused. */
  readonly column?: string
  /** Whose rights downstream it takes. */
  readonly role?: string
  /** The row's values, where an incident shows them; to be read while the change is at hand. */
  readonly row?: () => Readonly<Record<string, string | null>>
}

export function placeContext(place: Place): Record<string, string | number> {
  return {
    lsn: formatLsn(place.transaction.endLsn),
    commit_lsn: formatLsn(place.transaction.commitLsn),
    xid: place.transaction.xid,
    ...(place.relation ? { relation: relationName(place.relation) } : {}),
    ...(place.key ? { key: place.key } : {}),
  }
}

/** `(id)=(5521)`: the columns of the replica identity and their values. Under FULL only the names. */
export function keyText(relation: Relation, change: RowChange): string {
  const keys = relation.columns.flatMap((column, i) => (column.key ? [i] : []))
  if (relation.identity === 'f' || keys.length === 0) return 'replica identity full'
  const names = keys.map((i) => relation.columns[i]!.name).join(', ')
  return `(${names})=(${keys.map((i) => change.identity.text(i) ?? 'null').join(', ')})`
}

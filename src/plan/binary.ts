import { type Relation, relationName } from '../model/relation.ts'
import type { Versions } from '../model/statement.ts'
import type { TargetTable } from '../model/target.ts'

/** First OID that differs between servers: of types that are not built in, and of some that are. */
const firstOwnOid = 10_000

/**
 * Why the table's values can't be taken in binary; undefined where they can. Only those of one type at both ends can, whose
 * bytes say the same in every server: built-in ones and enums (their labels). Arrays and composites of other types
 * carry OIDs that mean something else downstream.
 * https://www.postgresql.org/docs/current/sql-createsubscription.html#SQL-CREATESUBSCRIPTION-PARAMS-WITH-BINARY
 */
export function whyText(relation: Relation, target: TargetTable, versions: Versions): string | undefined {
  // Statements of its functions take texts.
  if (target.owner?.risky) return `rows of ${relationName(relation)} are written as its owner`
  for (const { name, typeOid, typeName } of relation.columns) {
    // Missing there: the plan says so.
    const column = target.columns.get(name)
    if (!column) continue
    const { binary } = column
    const same = binary && (typeOid < firstOwnOid ? binary.oid === typeOid : binary.name === typeName)
    if (!same || isInfinite(binary.name, versions))
      return `the type of ${relationName(relation)}.${name} is not the same in binary at both ends`
  }
  return undefined
}

/** Infinite intervals came with 17: to an older server their bytes are another interval. */
function isInfinite(type: string, { upstream, downstream }: Versions): boolean {
  return /^pg_catalog\._?interval$/.test(type) && upstream >= 170_000 && downstream < 170_000
}

/** A downstream table as the catalog has it. */
export interface TargetTable {
  readonly schema: string
  readonly name: string
  /** pg_class.relkind: `r` table, `p` partitioned table, `m` materialized view, … */
  readonly kind: string
  readonly columns: ReadonlyMap<string, TargetColumn>
  /** Columns of the primary key; empty without one. */
  readonly primaryKey: readonly string[]
  /** Column sets of valid, immediate, complete unique indexes. */
  readonly uniqueKeys: readonly (readonly string[])[]
  /** A unique or exclusion constraint is deferrable: ON CONFLICT then has to name another one. */
  readonly deferrableKeys: boolean
  /** Triggers that fire under session_replication_role = replica, or rules: they may suppress a change, or see others. */
  readonly replicaTriggers: boolean
  /** Whose code its rows run; absent where that is a superuser or the daemon's own role. */
  readonly owner?: TableOwner
  /** Statements are for the body of a function of the owner. */
  readonly asOwner?: boolean
}

/** A role that is not trusted with the daemon's rights. */
export interface TableOwner {
  readonly role: string
  readonly oid: number
  /** Its rows run code of the owner or of others: a trigger, or an expression that is not provably harmless. */
  readonly risky: boolean
  /** The daemon's role may act for the owner. */
  readonly mayAct: boolean
  /** The partition, or what the table is a partition of, that belongs to this role while the table belongs to a trusted one. */
  readonly partition: string | undefined
  /** How a text becomes a value of a column's type, as its input function makes it. */
  readonly casts: ReadonlyMap<string, ColumnCast>
}

export interface ColumnCast {
  /** Qualified name, without type modifier: lengths are for the assignment to check. */
  readonly type: string
  /** There is a cast from text that is a function of its own. */
  readonly cast: boolean
}

export interface TargetColumn {
  readonly name: string
  /** The downstream's own type OID. */
  readonly typeOid: number
  readonly notNull: boolean
  readonly generated: boolean
  readonly identityAlways: boolean
  /** `OPERATOR(schema.=)` of the type; null for those without one (json, xml, point, …). */
  readonly equality: string | null
  /** The type's array type; 0 where its values can't stand in one. */
  readonly arrayOid: number
  /** Equal values are the same bytes: not so for 0 and -0, 1.0 and 1.00, 1 day and 24:00:00. */
  readonly exact: boolean
  /** The type, or what its domain is of, where its values have one binary representation in every server; else null. */
  readonly binary: { readonly oid: number; readonly name: string } | null
}

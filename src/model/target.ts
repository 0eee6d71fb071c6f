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
  /** Row triggers that fire under session_replication_role = replica: they may suppress a change. */
  readonly replicaTriggers: boolean
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
  /** Equal values are the same bytes: not so for 0 and -0, 1.0 and 1.00, 1 day and 24:00:00. */
  readonly exact: boolean
}

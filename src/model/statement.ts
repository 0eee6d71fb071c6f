import type { Relation } from './relation.ts'
import type { TableOwner, TargetTable } from './target.ts'

/** Server versions as numbers (180001). */
export interface Versions {
  readonly upstream: number
  readonly downstream: number
}

/** One SQL statement for one shape of change, and which of the change's values its parameters take. */
export interface RowStatement {
  readonly sql: string
  /** Types of the parameters: the downstream's OIDs. */
  readonly types: readonly number[]
  /** Column `i` of the new tuple as `i`, of the old tuple as `-1 - i`. */
  readonly parameters: Int16Array
  /** For the body of a function of this role: `sql` takes the values as texts in its parameter, an array. */
  readonly owner?: TableOwner
  /** In place of `types` then: each parameter as an expression of its type. */
  readonly casts?: readonly string[]
}

/** COPY of new rows. */
export interface CopyStatement {
  readonly sql: string
  /** Columns of the tuple that it takes, in its order. */
  readonly columns: readonly number[]
}

/** One statement for many rows: each parameter is an array of one column's values, of `columns` in order. */
export interface SetStatement extends RowStatement {
  readonly columns: readonly number[]
  /** Types of the arrays' elements: the downstream's OIDs. */
  readonly elements: readonly number[]
}

/** What one table's changes need on the quick ways. */
export interface SetPlan {
  /** Values go in binary, as they came. */
  readonly binary: boolean
  /** Columns of the tuple that find a row; empty where rows are only inserted. */
  readonly key: readonly number[]
  readonly insert: CopyStatement
  /** Absent where rows are only inserted. */
  readonly update?: SetStatement
  readonly delete?: SetStatement
}

/** What makes two changes of one table take the same statement. */
export interface ChangeShape {
  readonly operation: 'insert' | 'update' | 'delete'
  /** Which tuple identifies the row: under `none` the new one. */
  readonly old: 'none' | 'key' | 'full'
  /** Columns of the new tuple whose TOASTed value is unchanged and not sent. */
  readonly unchanged: readonly number[]
  /** An identity ALWAYS column changes its value, which no UPDATE may do. */
  readonly replaces: boolean
  /** What to do about rows that are there already (insert). */
  readonly existing: 'error' | 'skip' | 'overwrite'
  /** The statement itself fails where it doesn't meet exactly one row (update, delete): for when nobody can look before COMMIT. */
  readonly checked: boolean
}

/** Makes statements: pure. Throws a FollowerError where the table can't take the change. */
export interface Planner {
  row(relation: Relation, target: TargetTable, shape: ChangeShape): RowStatement
  /** Asks whether the row that an update or delete means is there. */
  exists(relation: Relation, target: TargetTable, shape: ChangeShape): RowStatement
  truncate(targets: readonly TargetTable[], restartIdentity: boolean): string
  /** Whether the order of the table's changes among those of other tables matters to nobody. */
  isFree(target: TargetTable): boolean
  /** Why values that arrive in binary can't be taken so; undefined where they can. */
  whyText(relation: Relation, target: TargetTable, versions: Versions): string | undefined
  /** How changes of the table may be put together, when `operations` are done to it; undefined where they may not. */
  sets(relation: Relation, target: TargetTable, operations: number, binary: boolean): SetPlan | undefined
}

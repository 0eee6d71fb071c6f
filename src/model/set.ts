import type { RowStatement } from './statement.ts'

/** How the changes of one table are applied in a batch of many. */
export type Route = 'ordered' | 'copy' | 'net'

/** COPY of new rows. */
export interface CopyStatement {
  readonly sql: string
  /** Columns of the tuple that it takes, in its order. */
  readonly columns: readonly number[]
}

/** One statement for many rows: each parameter is an array of one column's values, of `columns` in order. */
export interface SetStatement extends RowStatement {
  readonly columns: readonly number[]
}

/** What one table's changes need on the quick ways. */
export interface SetPlan {
  /** Columns of the tuple that find a row; empty where rows are only inserted. */
  readonly key: readonly number[]
  readonly insert: CopyStatement
  /** Absent where rows are only inserted. */
  readonly update?: SetStatement
  readonly delete?: SetStatement
}

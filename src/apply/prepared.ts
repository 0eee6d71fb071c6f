import type { RowStatement } from '../model/statement.ts'
import type { TableOwner } from '../model/target.ts'

/** A statement that has, or soon will have, a name on the server. */
export interface Prepared {
  readonly statement: RowStatement
  readonly name: string
  parsed: boolean
  /** The statement is a call of this function. */
  readonly wall?: WallFunction
}

/** The function of a table's owner in which a statement runs. */
export interface WallFunction {
  readonly name: string
  readonly owner: TableOwner
  readonly create: readonly string[]
  made: boolean
}

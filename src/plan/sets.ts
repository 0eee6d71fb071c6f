import { operationInsert } from '../model/changes.ts'
import type { Relation } from '../model/relation.ts'
import type { CopyStatement, SetPlan, SetStatement } from '../model/statement.ts'
import type { TargetColumn, TargetTable } from '../model/target.ts'
import { quoteIdentifier } from '../postgres/identifier.ts'
import { tableExpression } from './truncate.ts'

/** Types whose values are sorted for less than what it saves to meet the rows of an index in its order. */
const quicklySorted = new Set(
  ['int2', 'int4', 'int8', 'oid', 'uuid', 'date', 'timestamp', 'timestamptz'].map(
    (name) => `pg_catalog.${name}`,
  ),
)

/** Compared as text: where the array itself had to become one of text, the server would look into all partitions for each row. */
const varchar = 1043

interface Column {
  /** Index in the relation, so in the tuples. */
  readonly index: number
  readonly name: string
  readonly column: TargetColumn
}

/**
 * Whether changes of the table may be applied in another order than they came, as far as other tables are concerned:
 * nothing that it runs can see them, and nothing of theirs is looked at.
 */
export function isFree(target: TargetTable): boolean {
  return (target.kind === 'r' || target.kind === 'p') && !target.replicaTriggers && !target.asOwner
}

/**
 * How the changes of a table may be put together, when `operations` are done to it; undefined where each has to be a
 * statement of its own. Rows that are only inserted are copied. Others need a key by which equal rows are the same
 * row, so that of many changes of one row the last is left, and columns whose values can stand in arrays.
 */
export function planSets(
  relation: Relation,
  target: TargetTable,
  operations: number,
  binary: boolean,
): SetPlan | undefined {
  const columns: Column[] = []
  for (const [index, { name }] of relation.columns.entries()) {
    const column = target.columns.get(name)
    // The ordered way says what is missing.
    if (!column) return undefined
    columns.push({ index, name: quoteIdentifier(name), column })
  }
  const written = columns.filter(({ column }) => !column.generated)
  if (written.length === 0) return undefined
  const insert = planCopy(target, written, binary)
  if (operations === operationInsert) return { binary, key: [], insert }
  const key = keyColumns(relation, target, columns)
  const others = written.filter((each) => !key.includes(each))
  const settable = others.every(({ column }) => column.arrayOid !== 0 && !column.identityAlways)
  if (key.length === 0 || others.length === 0 || !settable) return undefined
  return {
    binary,
    key: key.map(({ index }) => index),
    insert,
    update: planSetUpdate(target, key, others),
    delete: planSetDelete(target, key),
  }
}

/** Columns that find one row, and no other, by the bytes of their values; none where that can't be said. */
function keyColumns(relation: Relation, target: TargetTable, columns: readonly Column[]): Column[] {
  const chosen =
    relation.identity === 'f'
      ? columns.filter(({ column }) => target.primaryKey.includes(column.name))
      : columns.filter(({ index }) => relation.columns[index]!.key)
  const names = new Set(chosen.map(({ column }) => column.name))
  const unique = target.uniqueKeys.some((key) => key.length > 0 && key.every((name) => names.has(name)))
  const sure = chosen.every(
    ({ column }) =>
      column.notNull &&
      column.exact &&
      column.equality !== null &&
      column.arrayOid !== 0 &&
      !column.generated,
  )
  return unique && sure ? chosen : []
}

function planCopy(target: TargetTable, written: readonly Column[], binary: boolean): CopyStatement {
  const table = `${quoteIdentifier(target.schema)}.${quoteIdentifier(target.name)}`
  return {
    sql: `COPY ${table} (${written.map(({ name }) => name).join(', ')}) FROM STDIN${binary ? ' (FORMAT binary)' : ''}`,
    columns: written.map(({ index }) => index),
  }
}

function planSetUpdate(target: TargetTable, key: readonly Column[], others: readonly Column[]): SetStatement {
  const set = others.map(({ name }, i) => `${name} = given.${value(key.length + i)}`)
  // A unique value that goes from row to row does so in the upstream's order.
  const isSorted = target.uniqueKeys.length === 1 && key.every(isQuicklySorted)
  return setStatement(
    [...key, ...others],
    (values) =>
      `UPDATE ${tableExpression(target)} AS t SET ${set.join(', ')} FROM ${isSorted ? sorted(values, key.length) : values} WHERE ${same(key)}`,
  )
}

function planSetDelete(target: TargetTable, key: readonly Column[]): SetStatement {
  const [only] = key
  // The index sorts them itself.
  if (key.length === 1 && only && isQuicklySorted(only))
    return setStatement(
      key,
      () =>
        `DELETE FROM ${tableExpression(target)} AS t WHERE t.${only.name} ${only.column.equality} ANY ($1)`,
    )
  return setStatement(
    key,
    (values) =>
      `DELETE FROM ${tableExpression(target)} AS t USING ${key.every(isQuicklySorted) ? sorted(values, key.length) : values} WHERE ${same(key)}`,
  )
}

function isQuicklySorted({ column }: Column): boolean {
  return column.binary !== null && quicklySorted.has(column.binary.name)
}

function sorted(values: string, columns: number): string {
  const places = Array.from({ length: columns }, (_, i) => i + 1)
  return `(SELECT * FROM ${values} ORDER BY ${places.join(', ')}) AS given`
}

/** Arrays side by side. https://www.postgresql.org/docs/current/queries-table-expressions.html#QUERIES-TABLEFUNCTIONS */
function setStatement(columns: readonly Column[], sql: (values: string) => string): SetStatement {
  const names = columns.map((_, i) => value(i)).join(', ')
  const arrays = columns.map((_, i) => `pg_catalog.unnest($${i + 1})`).join(', ')
  return {
    sql: sql(`ROWS FROM (${arrays}) AS given (${names})`),
    types: columns.map(({ column }) => column.arrayOid),
    elements: columns.map(({ column }) => column.typeOid),
    parameters: Int16Array.from(columns, (_, i) => i),
    columns: columns.map(({ index }) => index),
  }
}

function value(i: number): string {
  return `v${i + 1}`
}

/**
 * Each given row finds its own by the index. With a plain equality the planner might go the other way round, through all of a table that its
 * statistics call empty (ANALYZE has met dead rows only), and through all given rows for each: no order of the index is of use to it here.
 */
function same(key: readonly Column[]): string {
  const given = (column: TargetColumn, i: number): string =>
    `given.${value(i)}${column.typeOid === varchar ? '::pg_catalog.text' : ''}`
  return key
    .map(({ name, column }, i) => `t.${name} ${column.equality} ANY (ARRAY[${given(column, i)}])`)
    .join(' AND ')
}

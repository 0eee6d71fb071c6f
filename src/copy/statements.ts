import { ExitCode, FollowerError } from '../errors.ts'
import { quoteIdentifier } from '../postgres/identifier.ts'
import type { CopyColumn, CopyPart, CopyTable, TableDefinition } from './table.ts'

/** The two ends of the way of one part's rows. https://www.postgresql.org/docs/current/sql-copy.html */
export interface CopyStatements {
  readonly out: string
  readonly into: string
  readonly columns: readonly CopyColumn[]
}

/** Server versions as server_version_num. */
export interface Versions {
  readonly upstream: number
  readonly downstream: number
}

export function qualified(table: { readonly schema: string; readonly name: string }): string {
  return `${quoteIdentifier(table.schema)}.${quoteIdentifier(table.name)}`
}

/**
 * Pure: COPY TO and COPY FROM of a part. Binary where every column has one representation at both ends. `stage` takes text
 * in place of the target. Throws FollowerError (FLW-302) where a column is missing downstream.
 */
export function copyStatements(
  part: CopyPart,
  target: TableDefinition,
  versions: Versions,
  stage?: string,
): CopyStatements {
  const { table } = part
  const below = new Map(target.columns.map((column) => [column.name, column]))
  const published = table.columns.filter((column) =>
    table.published ? table.published.includes(column.name) : !column.generated,
  )
  checkColumns(table, published, below)
  // What is computed downstream is not brought.
  const columns = published.filter((column) => !below.get(column.name)?.generated)
  const binary =
    stage === undefined && columns.every((column) => isBinary(column, below.get(column.name), versions))
  const list = columns.map((column) => quoteIdentifier(column.name)).join(', ')
  const format = `(FORMAT ${binary ? 'binary' : 'text'})`
  const parens = list === '' ? '' : ` (${list})`
  return {
    columns,
    out: `COPY ${source(part, columns, list)} TO STDOUT ${format}`,
    into: `COPY ${stage ?? qualified(target) + parens} FROM STDIN ${format}`,
  }
}

function checkColumns(
  table: CopyTable,
  published: readonly CopyColumn[],
  below: ReadonlyMap<string, CopyColumn>,
): void {
  const missing = published.filter((column) => !below.has(column.name)).map((column) => column.name)
  if (missing.length === 0) return
  throw new FollowerError(
    `table ${table.schema}.${table.name} has no column ${missing.map(quoteIdentifier).join(', ')} downstream`,
    {
      code: 'FLW-302',
      exit: ExitCode.apply,
      detail: 'its rows can not be copied',
      effect: 'tables that are copied stay; the next start goes on with the rest',
      fix: missing.map(
        (name) => `ALTER TABLE ${qualified(table)} ADD COLUMN ${quoteIdentifier(name)} …;   -- downstream`,
      ),
    },
  )
}

/** Infinite intervals came with 17: to an older server their bytes are another interval. */
function isBinary(column: CopyColumn, below: CopyColumn | undefined, versions: Versions): boolean {
  if (column.form === null || column.form !== below?.form) return false
  const since17 = (version: number): boolean => version >= 170000
  return !/^_?interval$/.test(column.form) || !since17(versions.upstream) || since17(versions.downstream)
}

/** The table itself where that says it all: quicker than a query. */
function source({ table, range }: CopyPart, columns: readonly CopyColumn[], list: string): string {
  const plain = table.kind === 'r' && table.filter === undefined && range === undefined && list !== ''
  if (plain && !columns.some((column) => column.generated)) return `${qualified(table)} (${list})`
  const conditions = [
    ...(table.filter === undefined ? [] : [`(${table.filter})`]),
    ...(range === undefined ? [] : [`ctid >= '(${range.from},0)'::pg_catalog.tid`]),
    ...(range?.to === undefined ? [] : [`ctid < '(${range.to},0)'::pg_catalog.tid`]),
  ]
  const where = conditions.length === 0 ? '' : ` WHERE ${conditions.join(' AND ')}`
  return `(SELECT ${list} FROM ${only(table)}${where})`
}

/** Without its inheritance children, which are tables of their own; a partitioned table is its partitions. */
export function only(table: TableDefinition): string {
  return `${table.kind === 'p' ? '' : 'ONLY '}${qualified(table)}`
}

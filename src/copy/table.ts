/** A column of a table that is copied. */
export interface CopyColumn {
  readonly name: string
  readonly generated: boolean
  /** Equal at both ends: the binary representation is the same. null: only text is safe. */
  readonly form: string | null
}

/** What a table is, at either end: sql/query/table_definitions.sql. */
export interface TableDefinition {
  /** At its own end. */
  readonly oid: number
  readonly schema: string
  readonly name: string
  /** pg_class.relkind: `r` or `p`. */
  readonly kind: string
  readonly columns: readonly CopyColumn[]
  /** All of the above and the files of its rows, as one text: equal as long as nothing has changed. */
  readonly mark: string
}

/** A table, or the root that partitions are sent as, whose rows are to be copied. */
export interface CopyTable extends TableDefinition {
  /** SQL condition of the publications; undefined: all rows. */
  readonly filter: string | undefined
  /** Names of the columns that are published; undefined: all that are not generated. */
  readonly published: readonly string[] | undefined
  /** Of its files; an estimate of what will come. */
  readonly bytes: number
  readonly blocks: number
  /** An earlier attempt has put rows there. */
  readonly begun: boolean
  /** What is there is removed by the transaction that brings the new rows. */
  readonly overwrite: boolean
}

/** Blocks `from` up to, not including, `to`. */
export interface BlockRange {
  readonly from: number
  /** undefined: to the end. */
  readonly to: number | undefined
}

/** One piece of work. */
export interface CopyPart {
  readonly table: CopyTable
  /** undefined: the whole table. */
  readonly range: BlockRange | undefined
  /** How many parts the table has. */
  readonly parts: number
}

/**
 * Pure: the work, the largest first, so that the end is not one connection at work on one table. A table is split where it is
 * larger than `splitBytes`, into as many parts for each of the `jobs`; block numbers mean something within one snapshot only.
 */
export function planParts(
  tables: readonly CopyTable[],
  how: { readonly splitBytes: number; readonly jobs: number },
): CopyPart[] {
  return tables
    .toSorted((a, b) => b.bytes - a.bytes)
    .flatMap((table) => split(table, partsOf(table, how.splitBytes, how.jobs)))
}

function partsOf(table: CopyTable, splitBytes: number, jobs: number): number {
  if (table.kind !== 'r' || table.overwrite || table.bytes <= splitBytes) return 1
  return Math.min(Math.ceil(table.bytes / splitBytes / jobs) * jobs, table.blocks)
}

function split(table: CopyTable, parts: number): CopyPart[] {
  if (parts <= 1) return [{ table, range: undefined, parts: 1 }]
  const each = Math.ceil(table.blocks / parts)
  const ranges: BlockRange[] = []
  for (let from = 0; from < table.blocks; from += each)
    ranges.push({ from, to: from + each < table.blocks ? from + each : undefined })
  return ranges.map((range) => ({ table, range, parts: ranges.length }))
}

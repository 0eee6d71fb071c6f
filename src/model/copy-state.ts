/** A table whose rows are coming. */
export interface TableInWork {
  /** `schema.table`. */
  readonly name: string
  /** As far as they are known: of parts that are there, and what a server counts of the others. */
  readonly rows: number | undefined
  /** Of rows, as they come. */
  readonly bytes: number
  /** Of its files upstream: rows as they come take more or less. */
  readonly fileBytes: number
  /** Since its first row; undefined where nobody knows. */
  readonly seconds: number | undefined
}

/** How far the copy in hand is. */
export interface CopyState {
  /** Since it began. */
  readonly seconds: number
  readonly tables: { readonly copied: number; readonly total: number }
  /** Of tables that are copied and of those in work. */
  readonly rows: number
  readonly bytes: number
  /** Of the rows of tables that are copied. */
  readonly copiedBytes: number
  readonly fileBytes: { readonly copied: number; readonly total: number }
  readonly inWork: readonly TableInWork[]
}

/** What a rate so far says of the rest. */
export interface Outlook {
  /** Bytes of rows in the end, about. */
  readonly bytes: number
  /** 0 to 1; 1 only when all is done. */
  readonly share: number
  /** A second. */
  readonly rate: number
  /** undefined: nothing has come yet. */
  readonly secondsLeft: number | undefined
}

/** As much of the files counts as if their bytes were those of rows: a few small tables say nothing of large ones. */
const unknown = 0.05

/** Bytes of rows for one byte of files, as the tables that are copied show it. */
function bytesPerFileByte({ copiedBytes, fileBytes }: CopyState): number {
  const guess = Math.max(1, fileBytes.total * unknown)
  return (copiedBytes + guess) / (fileBytes.copied + guess)
}

/** Pure: the whole copy. */
export function outlook(state: CopyState): Outlook {
  const each = bytesPerFileByte(state)
  const inWork = state.inWork.map((table) => Math.max(table.bytes, table.fileBytes * each))
  const ofWork = state.inWork.reduce((sum, table) => sum + table.fileBytes, 0)
  const waiting = Math.max(0, state.fileBytes.total - state.fileBytes.copied - ofWork)
  const expected = state.copiedBytes + inWork.reduce((sum, bytes) => sum + bytes, 0) + waiting * each
  const all = state.tables.copied >= state.tables.total
  return ahead(state.bytes, Math.max(state.bytes, expected), state.seconds, all)
}

/** Pure: one table of it. */
export function tableOutlook(state: CopyState, table: TableInWork): Outlook {
  const expected = Math.max(table.bytes, table.fileBytes * bytesPerFileByte(state))
  return ahead(table.bytes, expected, table.seconds ?? state.seconds, false)
}

function ahead(bytes: number, expected: number, seconds: number, all: boolean): Outlook {
  const rate = bytes / Math.max(0.001, seconds)
  return {
    bytes: expected,
    share: all ? 1 : expected === 0 ? 0 : Math.min(0.99, bytes / expected),
    rate,
    secondsLeft: all ? 0 : rate > 0 ? (expected - bytes) / rate : undefined,
  }
}

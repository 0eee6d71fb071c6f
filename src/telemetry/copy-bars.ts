import { type CopyState, type Outlook, outlook, tableOutlook } from '../model/copy-state.ts'
import { printable } from '../model/printable.ts'
import { formatBytes, formatSeconds } from '../model/size.ts'
import type { ScreenSize } from './screen.ts'

/** What follows a bar, by importance: where a terminal is narrow the last ones are left out. */
const columns = ['share', 'left', 'bytes', 'rows', 'rate'] as const
/** As they stand, from left to right. */
const order = ['share', 'rows', 'bytes', 'rate', 'left'] as const
type Column = (typeof columns)[number]
type Line = Readonly<Record<Column | 'label', string>> & { readonly part: number }

const shortestBar = 10
const longestBar = 40

/** Pure: one line a table in work, and one of the whole; none is wider than the terminal, and together they leave a line of it free. */
export function copyBars(state: CopyState, { width, height }: ScreenSize): string[] {
  const { tables } = state
  const shown = state.inWork.slice(0, Math.max(0, height - 3))
  const more = state.inWork.length - shown.length
  const lines = [
    ...shown.map((table) => line(printable(table.name), table.rows, table.bytes, tableOutlook(state, table))),
    line(
      `${tables.copied} of ${tables.total} tables${more > 0 ? `, ${more} more in work` : ''}`,
      state.rows,
      state.bytes,
      outlook(state),
    ),
  ]
  const longest = (column: Column | 'label'): number => Math.max(...lines.map((it) => length(it[column])))
  const labels = Math.min(longest('label'), Math.max(12, Math.floor(width / 3)))
  let room = width - labels - 3 - shortestBar
  const taken = new Set<Column>()
  for (const column of columns) {
    if (longest(column) + 2 > room) break
    room -= longest(column) + 2
    taken.add(column)
  }
  const bar = shortestBar + Math.min(room, longestBar - shortestBar)
  return lines.map((it) => {
    const cells = order.filter((column) => taken.has(column))
    const text = cells.map((column) => `  ${' '.repeat(longest(column) - length(it[column]))}${it[column]}`)
    const drawn = room < 0 ? '' : ` [${drawBar(it.part, bar)}]`
    return cut(
      `${cut(it.label, labels)}${' '.repeat(Math.max(0, labels - length(it.label)))}${drawn}${text.join('')}`,
      width,
    )
  })
}

function line(label: string, rows: number | undefined, bytes: number, ahead: Outlook): Line {
  return {
    label,
    part: ahead.share,
    share: `${Math.floor(ahead.share * 100)}%`,
    rows: rows === undefined ? '' : `${rows.toLocaleString('en-US')} rows`,
    bytes: `${formatBytes(bytes)} of ~${formatBytes(ahead.bytes)}`,
    rate: `${formatBytes(ahead.rate)}/s`,
    left: ahead.secondsLeft === undefined ? '' : `~${formatSeconds(ahead.secondsLeft)} left`,
  }
}

function drawBar(part: number, width: number): string {
  const full = Math.floor(part * width)
  return '#'.repeat(full) + '-'.repeat(width - full)
}

function length(text: string): number {
  return [...text].length
}

function cut(text: string, width: number): string {
  const characters = [...text]
  return characters.length <= width ? text : `${characters.slice(0, Math.max(0, width - 1)).join('')}…`
}

import type { RowChange } from '../model/changes.ts'
import type { Relation } from '../model/relation.ts'
import type { Tuple } from '../model/tuple.ts'

/** ASCII: it has to fit into any database. */
const hidden = '"..."'
/** Bare words shorter than this are not told from the server's own. */
const shortest = 3
/** A longer value can't stand in a message whole, and a row in an incident need not be whole. */
const longest = 10_000

/**
 * A server's message without the values of the row that it is about, which nobody has to see in a log: a key is a row's name,
 * everything else its content. `quotedParts`: what stands in double quotes may also be a part of a value (class 22).
 */
export function hideValues(message: string, values: readonly string[], quotedParts: boolean): string {
  let text = message
  if (quotedParts)
    text = text.replace(/"((?:[^"]|"(?=[^\s.,;:)]))+)"/g, (whole, inner: string) =>
      values.some((value) => value.includes(inner)) ? hidden : whole,
    )
  for (const value of values) {
    text = text.replaceAll(`"${value}"`, hidden)
    if (value.length >= shortest) text = text.replaceAll(value, '...')
  }
  return text
}

/** The values of a change that are no part of its key, longest first. */
export function hiddenValues(relation: Relation, change: RowChange): string[] {
  const values = new Set<string>()
  for (const tuple of tuples(change))
    for (const [i, column] of relation.columns.entries()) {
      if ((column.key && relation.identity !== 'f') || i >= tuple.count) continue
      const value = shortText(tuple, i)
      if (value !== null && value !== '') values.add(value)
    }
  return [...values].toSorted((a, b) => b.length - a.length)
}

/** The row of a change by column, as an incident keeps it where the user asked for that; long values are cut. */
export function rowOf(relation: Relation, change: RowChange): Record<string, string | null> {
  const tuple = tuples(change)[0]!
  const row: [string, string | null][] = []
  for (const [i, { name }] of relation.columns.entries()) {
    if (i >= tuple.count || tuple.isUnchanged(i)) continue
    const text = tuple.text(i)
    row.push([name, text !== null && text.length > longest ? `${text.slice(0, longest)}…` : text])
  }
  return Object.fromEntries(row)
}

/** The new row first, where there is one. */
function tuples(change: RowChange): readonly Tuple[] {
  const { newTuple, oldTuple, old, type } = change
  const isNew = type !== 0x44
  return [...(isNew ? [newTuple] : []), ...(old === 0 ? [] : [oldTuple])]
}

function shortText(tuple: Tuple, column: number): string | null {
  return tuple.length[column]! > longest && !tuple.isNull(column) ? null : tuple.text(column)
}

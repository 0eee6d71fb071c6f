import { valueNull, valueText, valueUnchanged } from '../model/tuple.ts'
import { jsonFalse, jsonNull, jsonTrue, unescapeJson } from './json.ts'
import type { JsonColumns } from './wal2json-record.ts'

const bytea = 17
/** What stands before the tuples: type and relation. */
const head = 5

/**
 * Makes Insert, Update and Delete messages as pgoutput sends them, all values as text.
 * https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
 */
export class MessageBuilder {
  /** The message is `length` bytes from the start; valid until the next one. */
  buffer: Buffer = Buffer.alloc(8192)
  length = 0
  relation = 0

  begin(type: number, relation: number): void {
    this.relation = relation
    this.buffer[0] = type
    this.buffer.writeUInt32BE(relation, 1)
    this.length = head
  }

  /**
   * Adds a tuple whose columns are `names`, with the values of `columns`, which stand in `source`. What is missing there is
   * an unchanged TOAST value, or null where `missing` says so.
   */
  tuple(
    marker: number,
    source: Buffer,
    columns: JsonColumns,
    names: readonly string[],
    missing?: typeof jsonNull,
  ): void {
    this.grow(3)
    this.buffer[this.length] = marker
    this.buffer.writeUInt16BE(names.length, this.length + 1)
    this.length += 3
    // Mostly both have the same columns in the same order.
    for (let i = 0; i < names.length; i++) {
      const at = columns.names[i] === names[i] ? i : columns.names.indexOf(names[i]!)
      if (at >= 0) this.value(source, columns, at)
      else this.kind(missing === jsonNull ? valueNull : valueUnchanged)
    }
  }

  private value(source: Buffer, columns: JsonColumns, at: number): void {
    const kind = columns.kinds[at]!
    if (kind === jsonNull) {
      this.kind(valueNull)
      return
    }
    const start = columns.starts[at]!
    const end = columns.ends[at]!
    // Room for \x, too.
    this.grow(1 + 4 + 2 + end - start)
    const from = this.length + 5
    let to = from
    // The output function's text: wal2json has made true of t, and cut off the \x of a bytea.
    if (kind === jsonTrue || kind === jsonFalse) this.buffer[to++] = kind
    else {
      if (columns.types[at] === bytea) to += this.buffer.write('\\x', to, 'latin1')
      if (columns.escaped[at]) to = unescapeJson(source, start, end, this.buffer, to)
      else to += source.copy(this.buffer, to, start, end)
    }
    this.buffer[this.length] = valueText
    this.buffer.writeInt32BE(to - from, this.length + 1)
    this.length = to
  }

  private kind(kind: number): void {
    this.grow(1)
    this.buffer[this.length++] = kind
  }

  private grow(bytes: number): void {
    if (this.length + bytes <= this.buffer.length) return
    const larger = Buffer.allocUnsafe(Math.max(2 * this.buffer.length, this.length + bytes))
    this.buffer.copy(larger, 0, 0, this.length)
    this.buffer = larger
  }
}

/** Kinds of a column value in TupleData. https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html */
export const valueNull = 0x6e // n
export const valueUnchanged = 0x75 // u: a TOASTed value that did not change and is not sent
export const valueText = 0x74 // t
export const valueBinary = 0x62 // b

const maxColumns = 1664

/** As a Buffer's readers and writers, but for one instruction each. */
export function viewOf({ buffer, byteOffset, length }: Buffer): DataView {
  return new DataView(buffer, byteOffset, length)
}

/** Where TupleData begins in an Insert message: behind its type, the relation's OID and `N`. */
export const tupleOfInsert = 6

/**
 * A reusable view of one TupleData: where each column's bytes stand in `buffer`. No value is copied or
 * parsed; `start` and `length` mean nothing for null and unchanged columns.
 */
export class Tuple {
  buffer: Buffer = Buffer.alloc(0)
  /** Of the buffer: several bytes in one step. */
  view = viewOf(this.buffer)
  count = 0
  readonly kind = new Uint8Array(maxColumns)
  readonly start = new Uint32Array(maxColumns)
  readonly length = new Uint32Array(maxColumns)
  /** How many columns are `u`. */
  unchanged = 0

  /** Reads TupleData at `offset`; returns the offset behind it. Throws a RangeError where the bytes are no TupleData. */
  read(buffer: Buffer, offset: number): number {
    // Hundreds of messages stand in one.
    if (buffer !== this.buffer) {
      this.buffer = buffer
      this.view = viewOf(buffer)
    }
    const { view } = this
    const count = view.getUint16(offset)
    if (count > maxColumns) throw new RangeError(`TupleData with ${count} columns`)
    let at = offset + 2
    let unchanged = 0
    for (let i = 0; i < count; i++) {
      const kind = view.getUint8(at++)
      this.kind[i] = kind
      if (kind === valueText || kind === valueBinary) {
        const length = view.getInt32(at)
        at += 4
        if (length < 0 || at + length > buffer.length) throw new RangeError(`column value of ${length} bytes`)
        this.start[i] = at
        this.length[i] = length
        at += length
      } else if (kind === valueUnchanged) unchanged++
      else if (kind !== valueNull) throw new RangeError(`column value of kind ${kind}`)
    }
    this.count = count
    this.unchanged = unchanged
    return at
  }

  isNull(column: number): boolean {
    return this.kind[column] === valueNull
  }

  /** Whether bytes of a value are there. */
  hasValue(column: number): boolean {
    return this.kind[column] === valueText || this.kind[column] === valueBinary
  }

  /** Whether a value in binary is there; NULL and unchanged are of no format. */
  isBinary(column: number): boolean {
    return this.kind[column] === valueBinary
  }

  isUnchanged(column: number): boolean {
    return this.kind[column] === valueUnchanged
  }

  /** Same kind and same bytes. */
  sameValue(column: number, other: Tuple): boolean {
    if (this.kind[column] !== other.kind[column]) return false
    if (this.kind[column] !== valueText && this.kind[column] !== valueBinary) return true
    const a = this.start[column]!
    const b = other.start[column]!
    return this.buffer.compare(other.buffer, b, b + other.length[column]!, a, a + this.length[column]!) === 0
  }

  /** The value's text for an error message; never on the way of the data. */
  text(column: number): string | null {
    if (this.kind[column] !== valueText) return null
    const at = this.start[column]!
    return this.buffer.toString('utf8', at, at + this.length[column]!)
  }
}

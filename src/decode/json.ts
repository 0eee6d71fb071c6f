/** First byte of a value: what kind it is. Numbers are all `jsonNumber`. */
export const jsonString = 0x22 // "
export const jsonNumber = 0x30 // 0
export const jsonTrue = 0x74 // t
export const jsonFalse = 0x66 // f
export const jsonNull = 0x6e // n

const backslash = 0x5c
const words: Readonly<Record<number, Buffer>> = {
  [jsonTrue]: Buffer.from('true'),
  [jsonFalse]: Buffer.from('false'),
  [jsonNull]: Buffer.from('null'),
}

/**
 * Walks over JSON without making values of it: says where a value's bytes stand, so that no digit goes through a number.
 * Throws a RangeError where the bytes are no JSON. https://www.rfc-editor.org/rfc/rfc8259
 */
export class JsonScanner {
  /** The value read last: its bytes, a string's without the quotes and still escaped. */
  start = 0
  end = 0
  /** Whether the string read last has escapes. */
  escaped = false
  private buffer: Buffer = Buffer.alloc(0)
  private at = 0
  private limit = 0

  open(buffer: Buffer, offset: number, length: number): void {
    this.buffer = buffer
    this.at = offset
    this.limit = offset + length
  }

  /** Goes over one structural sign if it is the next; false, and nowhere, if it is not. */
  take(sign: number): boolean {
    if (this.next() !== sign) return false
    this.at++
    return true
  }

  expect(sign: number): void {
    if (!this.take(sign)) throw this.wrong(`${String.fromCharCode(sign)} is expected`)
  }

  /** Nothing but white space may follow. */
  close(): void {
    if (this.next() !== undefined) throw this.wrong('the end is expected')
  }

  /** Reads a string, number or word, and returns its kind. */
  scalar(): number {
    const first = this.next()
    if (first === jsonString) return this.string()
    const word = first === undefined ? undefined : words[first]
    this.start = this.at
    this.escaped = false
    if (word) {
      this.end = this.at + word.length
      if (this.end > this.limit || this.buffer.compare(word, 0, word.length, this.at, this.end) !== 0)
        throw this.wrong('a value is expected')
    } else {
      this.end = this.at
      while (this.end < this.limit && isNumeric(this.buffer[this.end]!)) this.end++
      if (this.end === this.start) throw this.wrong('a value is expected')
    }
    this.at = this.end
    return word ? first! : jsonNumber
  }

  /** Goes over a value of any kind. */
  skip(): void {
    for (const [open, close] of nesting) {
      if (!this.take(open)) continue
      if (this.take(close)) return
      do {
        if (open === 0x7b) {
          this.scalar()
          this.expect(0x3a)
        }
        this.skip()
      } while (this.take(0x2c))
      this.expect(close)
      return
    }
    this.scalar()
  }

  /** The value read last, as text. */
  text(): string {
    if (!this.escaped) return this.buffer.toString('utf8', this.start, this.end)
    const target = Buffer.allocUnsafe(this.end - this.start)
    return target.toString('utf8', 0, unescapeJson(this.buffer, this.start, this.end, target, 0))
  }

  private string(): number {
    let at = ++this.at
    this.start = at
    this.escaped = false
    for (;;) {
      const byte = this.buffer[at]
      if (at >= this.limit) throw this.wrong('a string without an end')
      if (byte === jsonString) break
      if (byte === backslash) {
        this.escaped = true
        at++
      }
      at++
    }
    this.end = at
    this.at = at + 1
    return jsonString
  }

  /** The next byte that is no white space. */
  private next(): number | undefined {
    while (this.at < this.limit) {
      const byte = this.buffer[this.at]!
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return byte
      this.at++
    }
    return undefined
  }

  private wrong(what: string): RangeError {
    return new RangeError(`JSON: ${what} at byte ${this.at}`)
  }
}

const nesting = [
  [0x7b, 0x7d],
  [0x5b, 0x5d],
] as const

/** Digits, and + - . E e. */
function isNumeric(byte: number): boolean {
  return (
    (byte >= 0x30 && byte <= 0x39) ||
    byte === 0x2d ||
    byte === 0x2e ||
    byte === 0x2b ||
    byte === 0x65 ||
    byte === 0x45
  )
}

const simple = new Map(
  [...'"\\/bfnrt'].map((sign, i) => [sign.charCodeAt(0), '"\\/\b\f\n\r\t'.charCodeAt(i)]),
)

/**
 * Writes what a string's escaped bytes mean into `target`, which has room for as many; returns the offset behind it.
 * Half of a surrogate pair becomes U+FFFD.
 */
export function unescapeJson(source: Buffer, start: number, end: number, target: Buffer, to: number): number {
  let at = start
  let out = to
  while (at < end) {
    const stop = source.indexOf(backslash, at)
    const plain = stop < 0 || stop > end ? end : stop
    out += source.copy(target, out, at, plain)
    at = plain
    if (at >= end) break
    const sign = source[at + 1]!
    const meant = simple.get(sign)
    if (meant !== undefined) {
      target[out++] = meant
      at += 2
      continue
    }
    if (sign !== 0x75) throw new RangeError(`JSON: unknown escape \\${String.fromCharCode(sign)}`)
    let code = unit(source, at + 2, end)
    at += 6
    if (code >= 0xd800 && code < 0xdc00 && source[at] === backslash && source[at + 1] === 0x75 && at < end) {
      const low = unit(source, at + 2, end)
      if (low >= 0xdc00 && low < 0xe000) {
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00)
        at += 6
      }
    }
    out += target.write(String.fromCodePoint(code), out, 'utf8')
  }
  return out
}

function unit(source: Buffer, at: number, end: number): number {
  const digits = source.toString('latin1', at, Math.min(at + 4, end))
  if (!/^[0-9a-fA-F]{4}$/.test(digits)) throw new RangeError(`JSON: \\u${digits}`)
  return Number.parseInt(digits, 16)
}

/**
 * An ErrorResponse of the server, with the fields that people need.
 * https://www.postgresql.org/docs/current/protocol-error-fields.html
 */
export class ServerError extends Error {
  override readonly name = 'ServerError'
  /** SQLSTATE. */
  readonly code: string
  readonly severity: string
  readonly detail: string | undefined
  readonly hint: string | undefined
  readonly where: string | undefined
  readonly schema: string | undefined
  readonly table: string | undefined
  readonly column: string | undefined
  readonly constraint: string | undefined
  /** The function of the server that says it: the same in every language of its messages. */
  readonly routine: string | undefined

  constructor(fields: ReadonlyMap<string, string>) {
    super(fields.get('M') ?? 'error without a message')
    this.code = fields.get('C') ?? 'XX000'
    this.severity = fields.get('V') ?? fields.get('S') ?? 'ERROR'
    this.detail = fields.get('D')
    this.hint = fields.get('H')
    this.where = fields.get('W')
    this.schema = fields.get('s')
    this.table = fields.get('t')
    this.column = fields.get('c')
    this.constraint = fields.get('n')
    this.routine = fields.get('R')
  }
}

/** Reads the body of ErrorResponse or NoticeResponse: a type byte and a C string for each field, then a zero byte. */
export function readServerError(buffer: Buffer, offset: number, length: number): ServerError {
  const fields = new Map<string, string>()
  const end = offset + length
  let at = offset
  while (at < end && buffer[at] !== 0) {
    const stop = buffer.indexOf(0, at + 1)
    if (stop < 0 || stop >= end) break
    fields.set(String.fromCharCode(buffer[at]!), buffer.toString('utf8', at + 1, stop))
    at = stop + 1
  }
  return new ServerError(fields)
}

/** The row count at the end of a command tag (`INSERT 0 5`, `UPDATE 1`); -1 where it has none. */
export function commandCount(buffer: Buffer, offset: number, length: number): number {
  let at = offset + length - 2 // before the terminating zero
  let value = 0
  let scale = 1
  const first = at
  while (at >= offset && buffer[at]! >= 0x30 && buffer[at]! <= 0x39) {
    value += (buffer[at]! - 0x30) * scale
    scale *= 10
    at--
  }
  return at === first ? -1 : value
}

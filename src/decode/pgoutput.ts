import type { Lsn } from '../model/lsn.ts'
import type { Relation, RelationColumn } from '../model/relation.ts'
import type { DecodeSink } from './sink.ts'

/** Of the bytes that were read last: each chunk of the socket holds hundreds of messages. */
let view: DataView = new DataView(new ArrayBuffer(0))

/** As Buffer.readBigInt64BE, in one step instead of four. */
function int64(buffer: Buffer, offset: number): bigint {
  if (view.buffer !== buffer.buffer) view = new DataView(buffer.buffer)
  return view.getBigInt64(buffer.byteOffset + offset)
}

function lsnAt(buffer: Buffer, offset: number): Lsn {
  if (view.buffer !== buffer.buffer) view = new DataView(buffer.buffer)
  return view.getBigUint64(buffer.byteOffset + offset)
}

/**
 * Decodes one message of pgoutput, protocol version 1.
 * https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
 *
 * Reads no column value. Throws a RangeError where the bytes don't fit the format; an unknown message is
 * an error too, since ignoring it would drop data in silence.
 */
export function decodePgoutput(buffer: Buffer, offset: number, length: number, sink: DecodeSink): void {
  switch (buffer[offset]) {
    case 0x49: // I
    case 0x55: // U
    case 0x44: // D
      sink.row(buffer.readUInt32BE(offset + 1), buffer, offset, length)
      break
    case 0x42: // B
      requireLength(length, 21)
      sink.begin(lsnAt(buffer, offset + 1), int64(buffer, offset + 9), buffer.readUInt32BE(offset + 17))
      break
    case 0x43: // C, flags
      requireLength(length, 26)
      sink.commit(lsnAt(buffer, offset + 2), lsnAt(buffer, offset + 10), int64(buffer, offset + 18))
      break
    case 0x52: // R
      sink.relation(readRelation(buffer, offset + 1, offset + length))
      break
    case 0x54: // T
      readTruncate(buffer, offset + 1, sink)
      break
    case 0x4d: // M
      readMessage(buffer, offset + 1, offset + length, sink)
      break
    case 0x59: // Y
      readType(buffer, offset + 1, offset + length, sink)
      break
    case 0x4f: // O: origin
      return
    default:
      throw new RangeError(`pgoutput message of unknown type ${buffer[offset]}`)
  }
}

/** What is behind a message belongs to others, in the same memory. */
function requireLength(length: number, least: number): void {
  if (length < least) throw new RangeError(`pgoutput message of ${length} bytes, not ${least}`)
}

function readType(buffer: Buffer, offset: number, end: number, sink: DecodeSink): void {
  const schema = cstring(buffer, offset + 4, end)
  const name = cstring(buffer, schema.next, end)
  sink.type(buffer.readUInt32BE(offset), schema.text || 'pg_catalog', name.text)
}

function readRelation(buffer: Buffer, offset: number, end: number): Relation {
  const oid = buffer.readUInt32BE(offset)
  const schema = cstring(buffer, offset + 4, end)
  const name = cstring(buffer, schema.next, end)
  const identity = String.fromCharCode(buffer[name.next]!) as Relation['identity']
  const count = buffer.readUInt16BE(name.next + 1)
  const columns: RelationColumn[] = []
  let at = name.next + 3
  for (let i = 0; i < count; i++) {
    const column = cstring(buffer, at + 1, end)
    columns.push({
      name: column.text,
      key: (buffer[at]! & 1) === 1,
      typeOid: buffer.readUInt32BE(column.next),
      typeModifier: buffer.readInt32BE(column.next + 4),
    })
    at = column.next + 8
  }
  // pg_catalog is sent as an empty name.
  return { oid, schema: schema.text || 'pg_catalog', name: name.text, identity, columns }
}

function readTruncate(buffer: Buffer, offset: number, sink: DecodeSink): void {
  const count = buffer.readUInt32BE(offset)
  const options = buffer[offset + 4]!
  const oids: number[] = []
  for (let i = 0; i < count; i++) oids.push(buffer.readUInt32BE(offset + 5 + 4 * i))
  sink.truncate(oids, (options & 1) !== 0, (options & 2) !== 0)
}

function readMessage(buffer: Buffer, offset: number, end: number, sink: DecodeSink): void {
  const prefix = cstring(buffer, offset + 9, end)
  const length = buffer.readUInt32BE(prefix.next)
  const from = prefix.next + 4
  if (from + length > end) throw new RangeError(`logical message of ${length} bytes`)
  sink.message(
    (buffer[offset]! & 1) !== 0,
    buffer.readBigUInt64BE(offset + 1),
    prefix.text,
    buffer.subarray(from, from + length),
  )
}

function cstring(buffer: Buffer, offset: number, end: number): { text: string; next: number } {
  const stop = buffer.indexOf(0, offset)
  if (stop < 0 || stop >= end) throw new RangeError('string without an end')
  return { text: buffer.toString('utf8', offset, stop), next: stop + 1 }
}

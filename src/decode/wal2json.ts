import { ExitCode, FollowerError } from '../errors.ts'
import { messageDelete, messageInsert, messageUpdate, oldFull, oldKey } from '../model/changes.ts'
import { ddlPrefix } from '../model/ddl-message.ts'
import { lsnFromServer } from '../model/lsn.ts'
import type { Relation, RelationColumn } from '../model/relation.ts'
import { jsonNull } from './json.ts'
import { MessageBuilder } from './message.ts'
import type { DecodeSink } from './sink.ts'
import { type JsonColumns, JsonRecord } from './wal2json-record.ts'

/**
 * What the plugin is asked for. Types by OID: their names are not always valid JSON there, and say less. Our own rows and
 * those of information_schema, which pgoutput does not send either, stay away.
 * https://github.com/eulerto/wal2json#parameters
 */
export const wal2jsonOptions: Readonly<Record<string, string>> = {
  'format-version': '2',
  'include-xids': 'true',
  'include-timestamp': 'true',
  'include-lsn': 'true',
  'include-pk': 'true',
  'include-types': 'false',
  'include-type-oids': 'true',
  'filter-tables': 'follower.*, information_schema.*',
  'add-msg-prefixes': ddlPrefix,
}

/** Types whose NaN and Infinity the plugin writes as null: real, double precision, numeric. */
const mayBeNaN = new Set([700, 701, 1700])

/**
 * Decodes records of wal2json, format version 2: the same messages come of them as of pgoutput, in the same form.
 *
 * A record describes no table. So each set of columns and keys that comes becomes a relation of its own; an UPDATE that leaves
 * out unchanged TOAST values has a partial one. The plugin sends the rows of materialized views, too, as INSERTs without a
 * primary key.
 */
export class Wal2jsonDecoder {
  private readonly sink: DecodeSink
  private readonly nanAsNull: boolean
  private readonly record = new JsonRecord()
  private readonly message = new MessageBuilder()
  /** By names, columns and keys. */
  private readonly relations = new Map<string, number>()
  /** Tables of one TRUNCATE so far: one record each, all of one LSN. */
  private truncated: number[] = []
  private truncateLsn = ''

  constructor(sink: DecodeSink, options: { readonly nanAsNull: boolean }) {
    this.sink = sink
    this.nanAsNull = options.nanAsNull
  }

  /**
   * Takes one record. Throws a RangeError where the bytes don't fit the format, a FollowerError where the plugin has lost
   * something.
   */
  decode(buffer: Buffer, offset: number, length: number): void {
    const { record, sink } = this
    record.read(buffer, offset, length)
    if (record.action !== 'T' || record.lsn !== this.truncateLsn) this.endTruncate()
    switch (record.action) {
      case 'I':
      case 'U':
      case 'D':
        this.row(buffer)
        break
      case 'B':
        sink.begin(lsnFromServer(record.lsn), microseconds(record.timestamp), record.xid)
        break
      case 'C':
        sink.commit(lsnFromServer(record.lsn), lsnFromServer(record.nextLsn), microseconds(record.timestamp))
        break
      case 'T':
        this.truncateLsn = record.lsn
        this.truncated.push(this.relation('T', 'n', []))
        break
      case 'M':
        sink.message(record.transactional, lsnFromServer(record.lsn), record.prefix, record.content)
        break
      default:
        throw new RangeError(`wal2json record of unknown action ${record.action}`)
    }
  }

  private endTruncate(): void {
    if (this.truncated.length === 0) return
    const oids = this.truncated
    this.truncated = []
    this.truncateLsn = ''
    // The record does not say RESTART IDENTITY.
    this.sink.truncate(oids, false, false)
  }

  private row(buffer: Buffer): void {
    const { record, message, sink } = this
    const { columns, identity } = record
    this.refuseNaN(columns)
    this.refuseNaN(identity)
    if (record.action === 'I') {
      // Only errors name its key.
      message.begin(messageInsert, this.relation('I', 'd', describe(columns, record.primaryKey.names)))
      message.tuple(0x4e, buffer, columns, columns.names)
    } else {
      if (!identity.present) throw noIdentity(record)
      // Unchanged TOAST values are missing in the new row; under FULL the old one has all.
      const all = describe(columns, identity.names)
      for (const column of describe(identity, identity.names))
        if (!columns.names.includes(column.name)) all.push(column)
      const full = all.length === identity.count && !sameNames(identity.names, record.primaryKey.names)
      const names = all.map((column) => column.name)
      const type = record.action === 'U' ? messageUpdate : messageDelete
      message.begin(type, this.relation(record.action, full ? 'f' : 'd', all))
      message.tuple(full ? oldFull : oldKey, buffer, identity, names, jsonNull)
      if (type === messageUpdate) message.tuple(0x4e, buffer, columns, names)
    }
    sink.row(message.relation, message.buffer, 0, message.length)
  }

  /** The number of the relation that has these columns. */
  private relation(action: string, identity: Relation['identity'], columns: RelationColumn[]): number {
    const { schema, table, primaryKey } = this.record
    const shape = columns.flatMap(({ name, key, typeOid }) => [name, key, typeOid])
    const signature = JSON.stringify([action, schema, table, identity, ...shape])
    const known = this.relations.get(signature)
    if (known !== undefined) return known
    const oid = this.relations.size + 1
    this.relations.set(signature, oid)
    this.sink.relation({
      ...{ oid, schema, name: table, identity, columns },
      partial: action === 'U' && identity !== 'f',
      mayBeView: action === 'I' && primaryKey.count === 0,
    })
    return oid
  }

  private refuseNaN(columns: JsonColumns): void {
    if (this.nanAsNull) return
    for (let i = 0; i < columns.count; i++)
      if (columns.kinds[i] === jsonNull && mayBeNaN.has(columns.types[i]!))
        throw maybeNaN(this.record, columns.names[i]!)
  }
}

function describe({ names, types }: JsonColumns, key: readonly string[]): RelationColumn[] {
  return names.map((name, i) => ({
    name,
    key: key.includes(name),
    typeOid: types[i]!,
    typeModifier: -1,
  }))
}

function sameNames(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name) => b.includes(name))
}

const timePattern =
  /^(\d{4,6})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?([+-])(\d\d)(?::?(\d\d))?(?::?(\d\d))?$/

/** Microseconds since 2000-01-01 UTC of a timestamptz in ISO style. */
function microseconds(text: string): bigint {
  const match = timePattern.exec(text)
  if (!match) throw new RangeError(`wal2json: not a timestamp: ${text}`)
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map(Number) as [number, ...number[]]
  const local = Date.UTC(year, month! - 1, day, hour, minute, second) - Date.UTC(2000, 0, 1)
  const zone = Number(match[9]) * 3600 + Number(match[10] ?? 0) * 60 + Number(match[11] ?? 0)
  const seconds = local / 1000 - (match[8] === '-' ? -zone : zone)
  return BigInt(seconds) * 1_000_000n + BigInt((match[7] ?? '').padEnd(6, '0'))
}

const effect = 'the downstream holds everything before this transaction and nothing of it'

function maybeNaN({ schema, table, lsn }: JsonRecord, column: string): FollowerError {
  return new FollowerError(`column ${column} of ${schema}.${table} came as null, which may have been NaN`, {
    code: 'FLW-332',
    exit: ExitCode.apply,
    detail: 'wal2json writes NaN and Infinity of real, double precision and numeric as null.',
    effect,
    fix: [
      'take every such null for NULL:  follower start --nan-as-null …',
      'or follow by the plugin that loses nothing, under another name:  follower start --plugin pgoutput …',
    ],
    context: { relation: `${schema}.${table}`, column, lsn },
  })
}

function noIdentity({ schema, table, lsn }: JsonRecord): FollowerError {
  return new FollowerError(
    `table ${schema}.${table} has no replica identity: its UPDATE and DELETE name no row`,
    {
      code: 'FLW-303',
      exit: ExitCode.apply,
      effect,
      fix: [`ALTER TABLE ${schema}.${table} REPLICA IDENTITY FULL;  -- upstream`],
      context: { relation: `${schema}.${table}`, lsn },
    },
  )
}

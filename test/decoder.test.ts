import { PgoutputPlugin } from 'pg-logical-replication'
import { beforeAll, describe, expect, it } from 'vitest'
import { decodePgoutput } from '../src/decode/pgoutput.ts'
import type { DecodeSink } from '../src/decode/sink.ts'
import { oldFull, oldKey, RowChange } from '../src/model/changes.ts'
import { formatLsn } from '../src/model/lsn.ts'
import type { Relation } from '../src/model/relation.ts'
import { type Tuple, valueText, valueUnchanged } from '../src/model/tuple.ts'
import { FrameReader } from '../src/postgres/frames.ts'
import { databases } from './support/servers.ts'
import { query, statements } from './support/sql.ts'

/** A workload that makes pgoutput send every kind of message that protocol 1 has. */
const workload = [
  `BEGIN; INSERT INTO d VALUES (1, 'one', NULL), (2, '', 'ü€😀'); UPDATE d SET b = 'eins' WHERE a = 1;
   UPDATE d SET a = 10 WHERE a = 1; DELETE FROM d WHERE a = 2; COMMIT`,
  `BEGIN; INSERT INTO f VALUES (1, NULL), (1, NULL); UPDATE f SET b = 2; DELETE FROM f; COMMIT`,
  `INSERT INTO toast SELECT 1, string_agg(md5(g::text), ''), 0 FROM generate_series(1, 3000) g`,
  'UPDATE toast SET n = 1',
  'UPDATE toast SET a = 2',
  'BEGIN; TRUNCATE d, f RESTART IDENTITY CASCADE; COMMIT',
  `SELECT pg_logical_emit_message(true, 'somebody', '\\x00ff'::bytea), pg_logical_emit_message(false, 'else', 'text')`,
  'ALTER TABLE d ADD c numeric',
  `INSERT INTO d VALUES (3, 'x', NULL, 'NaN'), (4, 'y', NULL, 1e131071)`,
  'INSERT INTO none DEFAULT VALUES',
  `BEGIN; INSERT INTO "we""ird"."t'a b" VALUES ('a', '(1,x)'); COMMIT`,
]

let messages: Buffer[]

beforeAll(async () => {
  const { upstream, name } = await databases()
  await statements(upstream, [
    'CREATE TABLE d(a int PRIMARY KEY, b text, e text)',
    'CREATE TABLE f(a int, b int); ALTER TABLE f REPLICA IDENTITY FULL',
    'CREATE TABLE toast(a int PRIMARY KEY, b text, n int); ALTER TABLE toast ALTER b SET STORAGE EXTERNAL',
    'CREATE TABLE none()',
    `CREATE SCHEMA "we""ird"; CREATE TYPE "we""ird".pair AS (a int, b text)`,
    `CREATE TABLE "we""ird"."t'a b"(k text PRIMARY KEY, p "we""ird".pair)`,
    'CREATE PUBLICATION p FOR ALL TABLES',
    `SELECT pg_create_logical_replication_slot('${name}', 'pgoutput')`,
    ...workload,
  ])
  const rows = await query(
    upstream,
    `SELECT data FROM pg_logical_slot_get_binary_changes($1, NULL, NULL,
       'proto_version', '1', 'publication_names', 'p', 'messages', 'true')`,
    [name],
  )
  messages = rows.map((row) => Buffer.from(row.data!.slice(2), 'hex'))
})

describe('decodePgoutput', () => {
  it("reads a recorded stream as pg-logical-replication's parser does", () => {
    const oracle = new PgoutputPlugin({ protoVersion: 1, publicationNames: ['p'] })
    const sink = new Recorder()
    for (const message of messages) {
      const theirs = oracle.parse(message) as unknown as Record<string, unknown> & { tag: string }
      if (theirs.tag === 'relation') {
        for (const column of theirs.columns as { parser: unknown }[]) column.parser = (raw: unknown) => raw
      }
      sink.last = undefined
      decodePgoutput(message, 0, message.length, sink)
      if (theirs.tag === 'origin') expect(sink.last).toBeUndefined()
      else expect(sink.last).toEqual(normalised(theirs))
    }
    const seen = new Set(messages.map((message) => String.fromCharCode(message[0]!)))
    expect([...seen].sort().join('')).toBe('BCDIMRTUY')
    expect(sink.unchanged).toBe(2)
  })

  it('reads a message that stands anywhere in a larger buffer', () => {
    for (const message of messages) {
      const [alone, within] = [new Recorder(messages), new Recorder(messages)]
      decodePgoutput(message, 0, message.length, alone)
      const padded = Buffer.concat([Buffer.alloc(7, 0x55), message, Buffer.alloc(9, 0x49)])
      decodePgoutput(padded, 7, message.length, within)
      expect(within.last).toEqual(alone.last)
    }
  })

  it('refuses cut messages with an error, or reads what stands there; it never hangs', () => {
    let refused = 0
    for (const message of messages.filter((each) => each.length < 400))
      for (let length = 1; length < message.length; length++) {
        const cut = Buffer.from(message.subarray(0, length))
        try {
          decodePgoutput(cut, 0, length, new Recorder(messages))
        } catch (error) {
          expect(error).toBeInstanceOf(Error)
          refused++
        }
      }
    expect(refused).toBeGreaterThan(100)
  })

  it('refuses a Begin or Commit that is cut, whatever stands behind it', () => {
    const ends = messages.filter((message) => ['B', 'C'].includes(message.toString('latin1', 0, 1)))
    expect(ends.length).toBeGreaterThan(10)
    for (const message of ends) {
      const memory = Buffer.concat([message, Buffer.alloc(100, 1)])
      for (let length = 1; length < message.length; length++)
        expect(() => decodePgoutput(memory, 0, length, new Recorder())).toThrow(RangeError)
    }
  })

  it('refuses a message of unknown type', () => {
    expect(() => decodePgoutput(Buffer.from('Zx'), 0, 2, new Recorder())).toThrow(RangeError)
  })
})

describe('FrameReader', () => {
  it('gives the same messages whatever the place of the split', () => {
    const small = messages.filter((message) => message.length < 300).slice(0, 40)
    const stream = Buffer.concat(small.map(frame))
    const whole = read([stream])
    expect(whole).toEqual(small.map((message) => `d${message.toString('hex')}`))
    for (let at = 0; at <= stream.length; at++)
      expect(read([stream.subarray(0, at), stream.subarray(at)])).toEqual(whole)
  })

  it('gives the same messages byte by byte, and in random pieces', () => {
    const stream = Buffer.concat(messages.map(frame))
    const whole = read([stream])
    expect(whole).toHaveLength(messages.length)
    expect(read([...stream].map((byte) => Buffer.of(byte)))).toEqual(whole)
    for (let size = 2; size < 64; size++) {
      const pieces: Buffer[] = []
      for (let at = 0; at < stream.length; at += size) pieces.push(stream.subarray(at, at + size))
      expect(read(pieces)).toEqual(whole)
    }
  })

  it('refuses a length that no server sends', () => {
    const reader = new FrameReader(() => {})
    expect(() => reader.push(Buffer.from([0x64, 0, 0, 0, 3]))).toThrow(RangeError)
    expect(() => new FrameReader(() => {}).push(Buffer.from([0x64, 0xff, 0xff, 0xff, 0xff]))).toThrow(
      RangeError,
    )
  })
})

function frame(message: Buffer): Buffer {
  const header = Buffer.alloc(5)
  header[0] = 0x64
  header.writeUInt32BE(4 + message.length, 1)
  return Buffer.concat([header, message])
}

function read(pieces: Buffer[]): string[] {
  const seen: string[] = []
  const reader = new FrameReader((type, buffer, offset, length) =>
    seen.push(String.fromCharCode(type) + buffer.toString('hex', offset, offset + length)),
  )
  for (const piece of pieces) reader.push(piece)
  return seen
}

/** Writes down what the decoder says, in the oracle's words. */
class Recorder implements DecodeSink {
  last: Record<string, unknown> | undefined
  unchanged = 0
  private readonly relations = new Map<number, Relation>()
  private readonly change = new RowChange()

  constructor(relationsOf: Buffer[] = []) {
    for (const message of relationsOf)
      if (message[0] === 0x52) decodePgoutput(message, 0, message.length, this)
  }

  begin(commitLsn: bigint, commitTime: bigint, xid: number): void {
    this.last = { tag: 'begin', commitLsn: formatLsn(commitLsn), commitTime, xid }
  }

  commit(commitLsn: bigint, endLsn: bigint, commitTime: bigint): void {
    this.last = {
      tag: 'commit',
      commitLsn: formatLsn(commitLsn),
      commitEndLsn: formatLsn(endLsn),
      commitTime,
    }
  }

  relation(relation: Relation): void {
    this.relations.set(relation.oid, relation)
    this.last = { tag: 'relation', relation }
  }

  type(oid: number, schema: string, name: string): void {
    this.last = { tag: 'type', oid, type: `${schema}.${name}` }
  }

  row(oid: number, buffer: Buffer, offset: number, length: number): void {
    this.change.read(buffer.subarray(0, offset + length), offset)
    const { type, old, oldTuple, newTuple } = this.change
    const relation = this.relations.get(oid)!
    this.last = {
      tag: { 73: 'insert', 85: 'update', 68: 'delete' }[type],
      relation: `${relation.schema}.${relation.name}`,
      key: old === oldKey ? this.values(relation, oldTuple, true) : null,
      old: old === oldFull ? this.values(relation, oldTuple) : null,
      ...(type === 68 ? {} : { new: this.values(relation, newTuple) }),
    }
  }

  truncate(oids: readonly number[], cascade: boolean, restartIdentity: boolean): void {
    const relations = oids.map((oid) => this.relations.get(oid)?.name)
    this.last = { tag: 'truncate', cascade, restartIdentity, relations }
  }

  message(transactional: boolean, lsn: bigint, prefix: string, content: Buffer): void {
    this.last = {
      tag: 'message',
      transactional,
      lsn: formatLsn(lsn),
      prefix,
      content: content.toString('hex'),
    }
  }

  private values(relation: Relation, tuple: Tuple, keysOnly = false): Record<string, unknown> {
    const result: Record<string, unknown> = {}
    for (const [i, column] of relation.columns.entries()) {
      if (keysOnly && !column.key) continue
      if (tuple.kind[i] === valueUnchanged) this.unchanged++
      else result[column.name] = tuple.kind[i] === valueText ? tuple.text(i) : null
    }
    return result
  }
}

/** The oracle's message, less what it adds. */
function normalised(theirs: Record<string, unknown>): Record<string, unknown> {
  const name = (relation: unknown): string => {
    const { schema, name } = relation as { schema: string; name: string }
    return `${schema}.${name}`
  }
  const lsn = (text: unknown): string => {
    const [high, low] = (text as string).split('/')
    return `${Number.parseInt(high!, 16).toString(16).toUpperCase()}/${Number.parseInt(low!, 16).toString(16).toUpperCase()}`
  }
  const row = (values: unknown): unknown =>
    values && Object.fromEntries(Object.entries(values as object).filter(([, value]) => value !== undefined))
  switch (theirs.tag) {
    case 'type':
      return { tag: 'type', oid: theirs.typeOid, type: `${theirs.typeSchema}.${theirs.typeName}` }
    case 'begin':
      return {
        tag: 'begin',
        commitLsn: lsn(theirs.commitLsn),
        commitTime: micro(theirs.commitTime),
        xid: theirs.xid,
      }
    case 'commit':
      return {
        tag: 'commit',
        commitLsn: lsn(theirs.commitLsn),
        commitEndLsn: lsn(theirs.commitEndLsn),
        commitTime: micro(theirs.commitTime),
      }
    case 'relation': {
      const columns = (
        theirs.columns as { name: string; flags: number; typeOid: number; typeMod: number }[]
      ).map(({ name, flags, typeOid, typeMod }) => ({
        name,
        key: flags === 1,
        typeOid,
        typeModifier: typeMod,
      }))
      const { relationOid: oid, schema, name: table, replicaIdentity } = theirs
      return {
        tag: 'relation',
        relation: { oid, schema, name: table, identity: (replicaIdentity as string)[0], columns },
      }
    }
    case 'truncate': {
      const { cascade, restartIdentity } = theirs
      const relations = (theirs.relations as { name: string }[]).map((relation) => relation.name)
      return { tag: 'truncate', cascade, restartIdentity, relations }
    }
    case 'message': {
      const { transactional, prefix } = theirs
      const content = Buffer.from(theirs.content as Uint8Array).toString('hex')
      return { tag: 'message', transactional, lsn: lsn(theirs.messageLsn), prefix, content }
    }
    default: {
      const { tag, key = null, old = null } = theirs
      return {
        tag,
        relation: name(theirs.relation),
        key: row(key),
        old: row(old),
        ...(tag === 'delete' ? {} : { new: row(theirs.new) }),
      } as Record<string, unknown>
    }
  }
}

/** The oracle gives microseconds since 1970. */
function micro(time: unknown): bigint {
  return BigInt(time as bigint) - 946_684_800_000_000n
}

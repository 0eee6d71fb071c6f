import { createHash, createHmac, randomBytes } from 'node:crypto'
import pg from 'pg'
import pino from 'pino'
import type { DdlContext, DdlOutcome } from '../src/ddl/context.ts'
import type { Keys } from '../src/ddl/message.ts'
import { replayDdl } from '../src/ddl/replay.ts'
import { beginDdlTransaction, hoistCreateTableAs, takeDdlMessage } from '../src/ddl/transaction.ts'
import type { Cluster } from '../src/demo/cluster.ts'
import type { DdlMessage } from '../src/model/ddl-message.ts'
import { quoteIdentifier, quoteLiteral } from '../src/postgres/identifier.ts'
import { pins } from '../src/postgres/pins.ts'
import { sql } from '../src/postgres/sql.ts'
import { isTransient } from '../src/postgres/sqlstate.ts'

/** A connection as the applier has it: every value is a text. */
export async function open(cluster: Cluster, database: string, user = 'postgres'): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: cluster.conninfo(database, user),
    types: { getTypeParser: () => (value: string) => value },
  } as pg.ClientConfig)
  client.on('error', () => {})
  await client.connect()
  return client
}

let databases = 0

/** A new database with files of sql/ run in it; files of upstream run after those of both. */
export async function database(cluster: Cluster, ...parts: string[]): Promise<string> {
  const name = `ddl_${++databases}`
  const root = await open(cluster, 'postgres')
  await root.query(`CREATE DATABASE ${name}`)
  await root.end()
  const client = await open(cluster, name)
  await client.query(`BEGIN; CREATE SCHEMA IF NOT EXISTS follower; ${parts.map(sql).join('\n;')}; COMMIT`)
  await client.end()
  return name
}

export const both = [
  'both/object_state',
  'both/object_state_other',
  'both/object_state_relation',
  'both/object_state_type',
]
export const upstreamParts = [
  ...both,
  'upstream/10_registry',
  'upstream/20_signature',
  'upstream/30_publications',
  'upstream/40_identity',
  'upstream/50_message',
  'upstream/60_emit',
  'upstream/70_hand_over',
  'upstream/80_event_triggers',
]
export const downstreamParts = [...both, 'downstream/replay', 'downstream/rows']

/** An upstream whose changes are read from a slot with pgoutput, without a daemon. */
export class Upstream {
  readonly client: pg.Client
  readonly cluster: Cluster
  readonly name: string
  private constructor(cluster: Cluster, name: string, client: pg.Client) {
    this.cluster = cluster
    this.name = name
    this.client = client
  }

  static async create(cluster: Cluster): Promise<Upstream> {
    const name = await database(cluster, ...upstreamParts)
    const client = await open(cluster, name)
    await client.query(`
      CREATE PUBLICATION pub FOR ALL TABLES;
      INSERT INTO follower.follow (name, slot, publications, ddl, no_identity) VALUES ('f', '${name}', '{pub}', true, 'full')`)
    await client.query(`SELECT pg_create_logical_replication_slot('${name}', 'pgoutput')`)
    return new Upstream(cluster, name, client)
  }

  async keys(): Promise<Keys> {
    const { rows } = await this.client.query('SELECT key_id, ipad, opad FROM follower.secret')
    const bytes = (text: string) => Buffer.from(text.slice(2), 'hex')
    const known = new Map(rows.map((row) => [row.key_id, { ipad: bytes(row.ipad), opad: bytes(row.opad) }]))
    return { get: (id) => known.get(id) }
  }

  /** Runs a text as one simple query; errors are left to the caller. */
  async run(text: string, user = 'postgres'): Promise<void> {
    const client = await open(this.cluster, this.name, user)
    try {
      await client.query(text)
    } finally {
      await client.end()
    }
  }

  /** What was committed since the last time. */
  async changes(peek = false): Promise<UpstreamTransaction[]> {
    const { rows } = await this.client.query(
      `SELECT data FROM pg_logical_slot_${peek ? 'peek' : 'get'}_binary_changes('${this.name}', NULL, NULL,
        'proto_version', '1', 'publication_names', 'pub', 'messages', 'true')`,
    )
    return decode(rows.map((row) => Buffer.from(row.data.slice(2), 'hex')))
  }

  async drop(): Promise<void> {
    await this.client.query(`SELECT pg_drop_replication_slot('${this.name}')`)
    await this.client.end()
  }
}

export type Change = { ddl: Buffer } | { insert: string; values: (string | null)[] } | { other: string }
export interface UpstreamTransaction {
  xid: number
  changes: Change[]
}

/** As much of pgoutput as these tests need: https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html */
function decode(messages: Buffer[]): UpstreamTransaction[] {
  const transactions: UpstreamTransaction[] = []
  const relations = new Map<number, string>()
  const text = (buffer: Buffer, at: number): [string, number] => {
    const end = buffer.indexOf(0, at)
    return [buffer.toString('utf8', at, end), end + 1]
  }
  for (const message of messages) {
    const changes = transactions.at(-1)?.changes
    switch (String.fromCharCode(message[0]!)) {
      case 'B':
        transactions.push({ xid: message.readUInt32BE(17), changes: [] })
        break
      case 'M': {
        const [prefix, at] = text(message, 10)
        if (prefix === 'follower.ddl') changes!.push({ ddl: message.subarray(at + 4) })
        break
      }
      case 'R': {
        const [schema, at] = text(message, 5)
        const [table, next] = text(message, at)
        const columns: string[] = []
        let position = next + 3
        for (let n = message.readUInt16BE(next + 1); n > 0; n--) {
          const [column, after] = text(message, position + 1)
          columns.push(quoteIdentifier(column))
          position = after + 8
        }
        relations.set(
          message.readUInt32BE(1),
          `${quoteIdentifier(schema)}.${quoteIdentifier(table)} (${columns.join(', ')})`,
        )
        break
      }
      case 'I': {
        const values: (string | null)[] = []
        let at = 8
        for (let n = message.readUInt16BE(6); n > 0; n--) {
          if (message[at] === 0x6e) values.push(null)
          else {
            const length = message.readUInt32BE(at + 1)
            values.push(message.toString('utf8', at + 5, at + 5 + length))
            at += 4 + length
          }
          at++
        }
        changes!.push({ insert: relations.get(message.readUInt32BE(1))!, values })
        break
      }
      case 'C':
        break
      default:
        changes!.push({ other: String.fromCharCode(message[0]!) })
    }
  }
  return transactions
}

export interface Replayed {
  message: DdlMessage
  outcome: DdlOutcome
}

/** A downstream that applies as the daemon does: replica role, pinned, one transaction for one of the upstream. */
export class Downstream {
  readonly client: pg.Client
  readonly cluster: Cluster
  readonly name: string
  private constructor(cluster: Cluster, name: string, client: pg.Client) {
    this.cluster = cluster
    this.name = name
    this.client = client
  }

  static async create(cluster: Cluster): Promise<Downstream> {
    const name = await database(cluster, ...downstreamParts)
    const client = await open(cluster, name)
    await client.query(`${pins('downstream')}; SET session_replication_role = replica`)
    return new Downstream(cluster, name, client)
  }

  /** A database that follows and is followed. */
  static async over(upstream: Upstream): Promise<Downstream> {
    const client = await open(upstream.cluster, upstream.name)
    for (const part of ['downstream/replay', 'downstream/rows']) await client.query(sql(part))
    await client.query(`${pins('downstream')}; SET session_replication_role = replica`)
    return new Downstream(upstream.cluster, upstream.name, client)
  }

  context(upstreamVersion: number, more: Partial<DdlContext> = {}): DdlContext {
    return {
      client: this.client,
      follow: 'f',
      publications: ['pub'],
      upstreamMajor: Math.trunc(upstreamVersion / 10_000),
      downstreamMajor: Math.trunc(this.cluster.version / 10_000),
      onRewrite: 'halt',
      daemonRole: 'postgres',
      log: pino({ level: 'silent' }),
      pins: () => this.client.query(pins('downstream')),
      ...more,
    }
  }

  /** Applies a transaction; rolls back and throws what stopped it. */
  async apply(transaction: UpstreamTransaction, keys: Keys, context: DdlContext): Promise<Replayed[]> {
    const state = beginDdlTransaction()
    const messages = transaction.changes.flatMap((change, index) => {
      if (!('ddl' in change)) return []
      const taken = takeDdlMessage(change.ddl, keys, transaction.xid, state)
      if ('rejected' in taken) throw new Error(`rejected: ${taken.rejected}`)
      return [{ index, message: taken.message }]
    })
    const due = new Map(hoistCreateTableAs(messages).map(({ index, message }) => [index, message]))
    const replayed: Replayed[] = []
    await this.client.query('BEGIN')
    try {
      for (const [index, change] of transaction.changes.entries()) {
        const message = due.get(index)
        if (message) {
          replayed.push({ message, outcome: await replayDdl(message, state, context) })
        } else if ('insert' in change && !change.insert.startsWith('"follower".')) {
          const values = change.values.map((value) => (value === null ? 'NULL' : quoteLiteral(value)))
          await this.client.query(`INSERT INTO ${change.insert} VALUES (${values.join(', ')})`)
        }
      }
      await this.client.query('COMMIT')
    } catch (error) {
      await this.client.query('ROLLBACK')
      throw isTransient(error) ? Object.assign(error as Error, { transientHere: true }) : error
    }
    return replayed
  }

  async one(query: string): Promise<string | null> {
    const { rows } = await this.client.query<Record<string, string | null>>(query)
    return Object.values(rows[0] ?? {})[0] ?? null
  }
}

/** Runs a text upstream and applies what came of it. */
export async function follow(
  upstream: Upstream,
  downstream: Downstream,
  text: string,
  { user = 'postgres', context = {} }: { user?: string; context?: Partial<DdlContext> } = {},
): Promise<Replayed[]> {
  await upstream.run(text, user)
  return catchUp(upstream, downstream, context)
}

export async function catchUp(
  upstream: Upstream,
  downstream: Downstream,
  context: Partial<DdlContext> = {},
  peek = false,
): Promise<Replayed[]> {
  const keys = await upstream.keys()
  const replayed: Replayed[] = []
  for (const transaction of await upstream.changes(peek))
    replayed.push(
      ...(await downstream.apply(transaction, keys, downstream.context(upstream.cluster.version, context))),
    )
  return replayed
}

const blank = Buffer.alloc(32, 7)
/** A key that a test signs with. */
export function testKey(): { keys: Keys; sign(json: string, id?: string, version?: number): Buffer } {
  const key = Buffer.concat([
    createHash('sha256').update(blank).update(randomBytes(8)).digest(),
    Buffer.alloc(32),
  ])
  const padded = (byte: number) => Buffer.from(key.map((value) => value ^ byte))
  const entry = { ipad: padded(0x36), opad: padded(0x5c) }
  return {
    keys: { get: (id) => (id === 'k1' ? entry : undefined) },
    sign: (json, id = 'k1', version = 1) =>
      Buffer.from(
        `FLW${version} ${id} ${createHmac('sha256', key.subarray(0, 32)).update(json, 'utf8').digest('hex')} ${json}`,
      ),
  }
}

let counter = 0
/** A message made by hand. */
export function message(more: Partial<DdlMessage>): DdlMessage {
  return {
    v: 1,
    kind: 'end',
    xid: '7',
    n: String(++counter),
    role: 'postgres',
    attributes: {
      superuser: true,
      createrole: true,
      createdb: true,
      replication: true,
      bypassrls: true,
      member_of: [],
    },
    tag: 'CREATE TABLE',
    query_hash: 'h',
    context: 'PL/pgSQL function follower.capture_ddl() line 3 at SQL statement',
    statement_time: '2026-01-01 00:00:00+00',
    settings: { search_path: '"$user", public' },
    objects: [],
    dropped: [],
    ...more,
  }
}

/** Every object of a database that is not the system's or follower's, with its state. */
export async function catalog(client: pg.Client): Promise<Record<string, unknown>> {
  const { rows } = await client.query<{ all: string }>(`
    WITH object AS (
      SELECT 'pg_class'::regclass AS classid, c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind NOT IN ('t', 'c') AND n.nspname !~ '^(pg_|information_schema|follower$)'
      UNION ALL
      SELECT 'pg_proc'::regclass, p.oid FROM pg_proc p WHERE p.pronamespace::regnamespace::text !~ '^(pg_|information_schema|follower$)'
      UNION ALL
      SELECT 'pg_type'::regclass, t.oid FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
      WHERE t.typnamespace::regnamespace::text !~ '^(pg_|information_schema|follower$)' AND t.typelem = 0 AND coalesce(c.relkind, 'c') = 'c'
      UNION ALL
      SELECT 'pg_namespace'::regclass, n.oid FROM pg_namespace n WHERE n.nspname !~ '^(pg_|information_schema|follower$)'
      UNION ALL
      SELECT 'pg_trigger'::regclass, t.oid FROM pg_trigger t WHERE NOT t.tgisinternal AND t.tgrelid <> ALL (
        SELECT c.oid FROM pg_class c WHERE c.relnamespace::regnamespace::text = 'follower')
      UNION ALL
      SELECT 'pg_default_acl'::regclass, d.oid FROM pg_default_acl d
    )
    SELECT coalesce(jsonb_object_agg(i.type || ' ' || i.identity, follower.object_state(i.type, a.object_names, a.object_args)), '{}') AS all
    FROM object o, pg_identify_object(o.classid, o.oid, 0) i, pg_identify_object_as_address(o.classid, o.oid, 0) a`)
  return JSON.parse(rows[0]!.all)
}

/** Objects and aspects in which two catalogs differ. */
export function catalogDifferences(
  upstream: Record<string, unknown>,
  downstream: Record<string, unknown>,
  sameMajor = true,
): string[] {
  const lines: string[] = []
  for (const object of new Set([...Object.keys(upstream), ...Object.keys(downstream)])) {
    const here = upstream[object] as Record<string, string> | undefined
    const there = downstream[object] as Record<string, string> | undefined
    if (!here || !there) lines.push(`${object}: only ${here ? 'upstream' : 'downstream'}`)
    else
      for (const aspect of new Set([...Object.keys(here), ...Object.keys(there)]))
        if (here[aspect] !== there[aspect] && (sameMajor || !aspect.startsWith('~')))
          lines.push(`${object} ${aspect}: ${here[aspect]} | ${there[aspect]}`)
  }
  return lines
}

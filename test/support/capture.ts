import { randomBytes } from 'node:crypto'
import type pg from 'pg'
import { type Keys, verifyDdlMessage } from '../../src/ddl/message.ts'
import type { DdlMessage } from '../../src/model/ddl-message.ts'
import { installObjects } from '../../src/provision/objects.ts'
import { cleanUp } from './cleanup.ts'
import { asUser, databases } from './servers.ts'
import { client, query, type Row, value } from './sql.ts'

/** One change of the stream: a DDL message, a message that is none of ours, or a row change of a table. */
export type Change =
  | { readonly kind: 'ddl'; readonly message: DdlMessage }
  | { readonly kind: 'rejected'; readonly reason: string; readonly content: string }
  | { readonly kind: 'row'; readonly operation: string; readonly table: string }

export interface FollowRow {
  readonly publications: readonly string[]
  readonly ddl?: boolean
  readonly noIdentity?: 'refuse' | 'full' | 'insert-only'
  readonly tables?: readonly string[]
}

/** A database with capture objects, roles and a slot. */
export interface Captured {
  readonly conninfo: string
  readonly name: string
  /** Two roles that may do nothing but create in this database; they can log in. */
  readonly alice: string
  readonly bob: string
  /** A session of the superuser, of alice, or of bob. */
  session(role?: string): Promise<pg.Client>
  /** Everything since the last call, without rows of follower's own tables. */
  changes(): Promise<Change[]>
  /** The DDL messages since the last call; fails where a message was rejected. */
  messages(): Promise<DdlMessage[]>
  register(name: string, row: FollowRow): Promise<void>
}

/** Installs the capture in a fresh database; `follow` is registered for all tables unless `setUp` says otherwise. */
export async function captured(
  major: '15' | '18',
  setUp?: (it: Captured) => Promise<void>,
): Promise<Captured> {
  const roles = ['alice', 'bob'].map((name) => `${name}_${randomBytes(4).toString('hex')}`)
  const [alice, bob] = roles as [string, string]
  let server: string | undefined
  cleanUp(async () => {
    // The database is gone by then, and with it what they own.
    if (server) await query(server, `DROP ROLE IF EXISTS ${roles.join(', ')}`)
  })
  const { upstream: conninfo, name } = await databases(major)
  server = new URL('/postgres', conninfo).href
  const password = 'p'
  for (const role of roles) await query(conninfo, `CREATE ROLE ${role} LOGIN PASSWORD '${password}'`)
  await query(conninfo, `GRANT CREATE ON DATABASE ${name} TO ${roles.join(', ')}`)
  await install(conninfo)
  const keys = await readKeys(conninfo)
  const changes = async (): Promise<Change[]> =>
    decode(await query(conninfo, sqlChanges, [name, await publications(conninfo)]), keys)
  const it: Captured = {
    conninfo,
    name,
    alice,
    bob,
    session: (role) => client(role ? asUser(conninfo, role, password) : conninfo),
    changes,
    async messages() {
      return (await changes()).flatMap((change) => {
        if (change.kind === 'rejected') throw new Error(`rejected: ${change.reason}`)
        return change.kind === 'ddl' ? [change.message] : []
      })
    },
    async register(follow, row) {
      await query(
        conninfo,
        `INSERT INTO follower.follow (name, slot, publications, ddl, no_identity, tables) VALUES ($1, $1, $2, $3, $4, $5)`,
        [follow, row.publications, row.ddl ?? true, row.noIdentity ?? 'full', row.tables ?? []],
      )
    },
  }
  if (setUp) await setUp(it)
  else {
    await query(conninfo, 'CREATE PUBLICATION everything FOR ALL TABLES')
    await it.register('follow', { publications: ['everything'] })
  }
  await query(conninfo, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", [name])
  return it
}

/** Runs the files as the start of a follow does. */
export async function install(conninfo: string): Promise<boolean> {
  const session = await client(conninfo)
  await session.query('BEGIN')
  const did = await installObjects(session, 'upstream')
  await session.query('COMMIT')
  await session.end()
  return did
}

export async function readKeys(conninfo: string): Promise<Keys> {
  const rows = await query(conninfo, 'SELECT key_id, ipad, opad FROM follower.secret')
  return new Map(rows.map((row) => [row.key_id!, { ipad: bytes(row.ipad!), opad: bytes(row.opad!) }]))
}

const sqlChanges = `SELECT data FROM pg_logical_slot_get_binary_changes($1, NULL, NULL,
  'proto_version', '1', 'publication_names', $2, 'messages', 'true')`

async function publications(conninfo: string): Promise<string> {
  return (await value(conninfo, "SELECT string_agg(quote_ident(pubname), ',') FROM pg_publication"))!
}

/** https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html, protocol 1. */
function decode(rows: readonly Row[], keys: Keys): Change[] {
  const result: Change[] = []
  const tables = new Map<number, string>()
  let xid = 0
  let lastN = 0n
  for (const row of rows) {
    const data = bytes(row.data!)
    const tag = String.fromCharCode(data[0]!)
    if (tag === 'B') {
      xid = data.readUInt32BE(17)
      lastN = 0n
    } else if (tag === 'R') {
      const [schema, table] = data.toString('utf8', 5).split('\0')
      tables.set(data.readUInt32BE(1), `${schema}.${table}`)
    } else if (tag === 'M') {
      const end = data.indexOf(0, 10)
      if (data.toString('utf8', 10, end) !== 'follower.ddl') continue
      const content = data.subarray(end + 5)
      const verified = verifyDdlMessage(content, keys, xid, lastN)
      if ('message' in verified) {
        lastN = BigInt(verified.message.n)
        result.push({ kind: 'ddl', message: verified.message })
      } else result.push({ kind: 'rejected', reason: verified.rejected, content: content.toString('utf8') })
    } else if ('IUDT'.includes(tag)) {
      const table = tables.get(data.readUInt32BE(tag === 'T' ? 6 : 1)) ?? 'unknown'
      if (!table.startsWith('follower.')) result.push({ kind: 'row', operation: tag, table })
    }
  }
  return result
}

function bytes(text: string): Buffer {
  return Buffer.from(text.slice(2), 'hex')
}

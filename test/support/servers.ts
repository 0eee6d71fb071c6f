import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { inject } from 'vitest'
import { type Cluster, type ClusterOptions, startCluster } from '../../src/demo/cluster.ts'
import { type Major, serverBinDir } from './binaries.ts'
import { cleanUp } from './cleanup.ts'
import { query, script, statements } from './sql.ts'
import { streamed } from './streaming.ts'

/** Majors at the two ends: `15-18` is from 15 to 18, `18` from 18 to 18. */
export type Pair = `${Major}` | `${Major}-${Major}`

export interface Databases {
  /** URIs of two fresh databases, for the superuser `postgres`. */
  readonly upstream: string
  readonly downstream: string
  /** Their name, the same at both ends, and no other test's: good for slots and roles, too. */
  readonly name: string
}

const warned = new Set<string>()

/**
 * Whether the servers of a pair exist here: `describe.skipIf(!available('15'))`. Skips loudly; where
 * continuous integration asks (FOLLOWER_CI=1), a missing server is a failure.
 */
export function available(pair: Pair): boolean {
  const missing = majors(pair).filter((major) => serverBinDir(major) === undefined)
  return missing.length === 0 || absent(`PostgreSQL ${missing.join(', ')}`)
}

/** A program of Debian's PostgreSQL 15; undefined where it is missing, as loudly as a missing server. */
export function program(name: string): string | undefined {
  const dir = serverBinDir(15)
  if (dir && existsSync(path.join(dir, name))) return path.join(dir, name)
  absent(`${name} of PostgreSQL 15`)
  return undefined
}

/** Whether Debian's PostgreSQL 15 has the output plugin wal2json. */
export function hasWal2json(): boolean {
  const dir = serverBinDir(15)
  if (dir && existsSync(path.join(dir, '../lib/wal2json.so'))) return true
  return absent('wal2json for PostgreSQL 15')
}

/** Says once that something is missing here; where continuous integration asks (FOLLOWER_CI=1), that is a failure. */
export function absent(name: string): false {
  const what = `${name} is not installed`
  if (process.env.FOLLOWER_CI === '1') throw new Error(`${what}, and FOLLOWER_CI=1 forbids to skip`)
  if (!warned.has(what)) console.warn(`SKIPPED: ${what}; its tests do not run`)
  warned.add(what)
  return false
}

/** What every later major begins with: else the ends would differ before anything happened. */
const publicSchemaSince15 =
  'ALTER SCHEMA public OWNER TO pg_database_owner; REVOKE CREATE ON SCHEMA public FROM PUBLIC'

/** Makes an empty database at both ends; dropped with their slots at the end of the test (or file). */
export async function databases(
  pair: Pair = '18',
  encodings: readonly [upstream: string, downstream: string] = ['UTF8', 'UTF8'],
): Promise<Databases> {
  const [up, down] = majors(pair)
  const [upstream, downstream] = await Promise.all([server(`${up}-upstream`), server(`${down}-downstream`)])
  const name = `t_${randomBytes(5).toString('hex')}`
  for (const [conninfo, major, encoding] of [
    [upstream, up, encodings[0]],
    [downstream, down, encodings[1]],
  ] as const) {
    await script(conninfo, `CREATE DATABASE ${name} TEMPLATE template0 ${inEncoding(encoding)}`)
    cleanUp(() => dropDatabase(conninfo, name))
    if (major === 14) await script(inDatabase(conninfo, name), publicSchemaSince15)
  }
  return { upstream: inDatabase(upstream, name), downstream: inDatabase(downstream, name), name }
}

/** What CREATE DATABASE needs for an encoding that may not be the cluster's. */
export function inEncoding(encoding: string): string {
  return encoding === 'UTF8' ? '' : `ENCODING '${encoding}' LOCALE 'C'`
}

/** A server of the test's own, to be stopped, killed or configured; removed at the end of the test (or file). */
export async function cluster(options: ClusterOptions & { readonly major?: Major } = {}): Promise<Cluster> {
  const binDir = serverBinDir(options.major ?? 18)
  const settings = { ...streamed, ...options.settings }
  const it = await startCluster({ ...(binDir && { binDir }), ...options, settings })
  cleanUp(() => it.destroy())
  return it
}

/** The same URI with another database. */
export function inDatabase(conninfo: string, database: string): string {
  const url = new URL(conninfo)
  url.pathname = `/${encodeURIComponent(database)}`
  return url.href
}

/** The same URI with another user. */
export function asUser(conninfo: string, user: string, password?: string): string {
  const url = new URL(conninfo)
  url.username = encodeURIComponent(user)
  url.password = password === undefined ? '' : encodeURIComponent(password)
  return url.href
}

function majors(pair: Pair): readonly [Major, Major] {
  const [upstream, downstream = upstream] = pair.split('-').map(Number) as Major[]
  return [upstream!, downstream!]
}

async function server(name: string): Promise<string> {
  const response = await fetch(`${inject('serversUrl')}/${name}`)
  const text = await response.text()
  if (!response.ok) throw new Error(text)
  return text
}

/** Also where the test left slots, prepared transactions and connections behind. */
async function dropDatabase(conninfo: string, name: string): Promise<void> {
  await dropSlots(conninfo, name)
  const prepared = await query(conninfo, 'SELECT gid FROM pg_prepared_xacts WHERE database = $1', [name])
  if (prepared.length > 0)
    await statements(
      inDatabase(conninfo, name),
      prepared.map((row) => `ROLLBACK PREPARED '${row.gid}'`),
    )
  await script(conninfo, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)
}

async function dropSlots(conninfo: string, database: string): Promise<void> {
  for (let attempt = 0; ; attempt++)
    try {
      await query(
        conninfo,
        'SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE database = $1 AND active',
        [database],
      )
      await query(
        conninfo,
        'SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = $1',
        [database],
      )
      return
    } catch (error) {
      // 55006: somebody took the slot in between.
      if (attempt === 20) throw error
    }
}

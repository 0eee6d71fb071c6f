import { execFileSync } from 'node:child_process'
import { mkdirSync, renameSync, statSync } from 'node:fs'
import path from 'node:path'
import type { Cluster } from '../../src/demo/cluster.ts'
import type { Major } from '../support/binaries.ts'
import { cleanUp } from '../support/cleanup.ts'
import { type Follow, start } from '../support/kill.ts'
import { type Load, startLoad } from '../support/load.ts'
import { type Random, random } from '../support/random.ts'
import { cluster, inDatabase } from '../support/servers.ts'
import { script } from '../support/sql.ts'
import { type Canary, makeCanary } from './canary.ts'
import { Daemon } from './daemon.ts'
import { TcpProxy } from './proxy.ts'

/** Two servers, a proxy before each, a load upstream, a follower between the proxies. */
export interface World {
  readonly seed: number
  readonly chance: Random
  readonly up: Cluster
  readonly down: Cluster
  readonly upProxy: TcpProxy
  readonly downProxy: TcpProxy
  /** Without the proxies, for everybody but the follower. */
  readonly upstream: string
  readonly downstream: string
  /** Its arguments may be others after each beginning; `args` are those of all. */
  follow: Follow
  readonly args: readonly string[]
  /** How often it began, where that is done again and again. */
  beginnings: number
  /** Another one after each beginning. */
  daemon: Daemon
  /** The follower's --synchronous-commit, by the seed. */
  readonly synchronousCommit: 'on' | 'off'
  readonly load: Load
  /** Whether the downstream's data lie on a small file system of their own. */
  readonly smallDisk: boolean
  readonly canary: Canary
  /** What the follower finds when it starts for the first time. */
  readonly beginning: Beginning
}

export type Unfollowed = Omit<World, 'daemon'>

/** How a follow begins. */
export interface Beginning {
  /** Before anybody writes. */
  prepare(ends: { readonly upstream: string; readonly follow: Follow }): Promise<void>
  /** While the load writes: the first start. */
  begin(world: Unfollowed): Promise<Daemon>
}

/** Two empty databases, and a follower before the first table. */
export const empty: Beginning = {
  async prepare({ upstream, follow }) {
    const first = start(follow)
    await first.ready({ upstream })
    await first.stop()
    await script(upstream, `CREATE TABLE secret (id serial PRIMARY KEY, value text NOT NULL)`)
  },
  async begin({ upstream, follow }) {
    await script(upstream, 'CREATE TABLE probe (id serial PRIMARY KEY)')
    return new Daemon(follow)
  },
}

const settings = {
  // Crashes that forget nothing need fsync.
  fsync: 'on',
  max_wal_size: '128MB',
  min_wal_size: '32MB',
  checkpoint_timeout: '30s',
}
const plugin = process.env.FOLLOWER_CHAOS_PLUGIN ?? 'pgoutput'
const databaseName = 'shop'
/** What every session begins with, at both ends, and what no value may be read or written by. */
const hostile = [
  `DateStyle = 'SQL, DMY'`,
  `IntervalStyle = 'sql_standard'`,
  `TimeZone = 'Asia/Kolkata'`,
  'extra_float_digits = -15',
  `bytea_output = 'escape'`,
]

export async function makeWorld(
  majors: readonly [Major, Major],
  seed: number,
  beginning: Beginning,
): Promise<World> {
  const canary = makeCanary()
  // Followers get it from the environment, as a service does; conninfos with it stay in this process.
  const { password } = canary
  process.env.PGPASSWORD = password
  const [up, down] = await Promise.all(majors.map((major) => cluster({ major, settings, password })))
  const smallDisk = await ontoSmallDisk(down!)
  for (const server of [up!, down!]) await freshDatabase(server)
  const upProxy = await TcpProxy.listen(() => up!.port)
  const downProxy = await TcpProxy.listen(() => down!.port)
  cleanUp(() => Promise.all([upProxy.close(), downProxy.close()]))
  const upstream = inDatabase(up!.conninfo(), databaseName)
  const downstream = inDatabase(down!.conninfo(), databaseName)
  const synchronousCommit = seed % 3 === 0 ? 'off' : 'on'
  const args = [
    ...['--synchronous-commit', synchronousCommit, '--plugin', plugin],
    // The load writes none.
    ...(plugin === 'wal2json' ? ['--nan-as-null'] : []),
    ...['--web-listen', '127.0.0.1:0'],
  ]
  const follow: Follow = {
    upstream: through(upstream, upProxy),
    downstream: through(downstream, downProxy),
    name: 'shop',
    args,
  }
  await beginning.prepare({ upstream, follow })
  await script(upstream, `SELECT pg_create_logical_replication_slot('judge', 'test_decoding')`)
  const load = await startLoad(upstream, { seed, pause: 40 })
  const world: Unfollowed = {
    beginning,
    seed,
    chance: random(seed),
    up: up!,
    down: down!,
    upProxy,
    downProxy,
    upstream,
    downstream,
    follow,
    args,
    beginnings: 0,
    synchronousCommit,
    load,
    smallDisk,
    canary,
  }
  return Object.assign(world, { daemon: await beginning.begin(world) })
}

/** Made anew where it is there. */
export async function freshDatabase(server: Cluster): Promise<void> {
  await script(server.conninfo(), `DROP DATABASE IF EXISTS ${databaseName} WITH (FORCE)`)
  await script(server.conninfo(), `CREATE DATABASE ${databaseName}`)
  for (const setting of hostile)
    await script(server.conninfo(), `ALTER DATABASE ${databaseName} SET ${setting}`)
}

function through(conninfo: string, proxy: TcpProxy): string {
  const url = new URL(conninfo)
  url.port = String(proxy.port)
  url.password = ''
  return url.href
}

/** Only where this process has a mount namespace of its own (run.mjs): nothing of it is seen outside, or outlives it. */
async function ontoSmallDisk(server: Cluster): Promise<boolean> {
  if (process.env.FOLLOWER_CHAOS_NAMESPACE !== '1') return false
  await server.stop('fast')
  const aside = path.join(server.dir, 'aside')
  renameSync(server.dataDir, aside)
  mkdirSync(server.dataDir, { mode: 0o700 })
  const { uid, gid } = statSync(aside)
  execFileSync('mount', [
    '-t',
    'tmpfs',
    '-o',
    `size=700m,mode=0700,uid=${uid},gid=${gid}`,
    'tmpfs',
    server.dataDir,
  ])
  execFileSync('cp', ['-a', `${aside}/.`, server.dataDir])
  await server.start()
  cleanUp(async () => {
    await server.stop('immediate')
    execFileSync('umount', ['-l', server.dataDir])
  })
  return true
}

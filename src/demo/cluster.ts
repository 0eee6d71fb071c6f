import { type ChildProcess, execFile, spawn } from 'node:child_process'
import {
  appendFileSync,
  chownSync,
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { type Account, binaryVersion, embeddedBinDir, serverAccount, temporaryRoot } from './binaries.ts'
import { exited, freePort, guard, isReady } from './postmaster.ts'

export interface ClusterOptions {
  /** Directory of initdb and postgres; the embedded PostgreSQL where absent. */
  readonly binDir?: string
  /** Lines of postgresql.conf; win over the defaults below. `fsync` is off unless given. */
  readonly settings?: Readonly<Record<string, string>>
  /** With it every connection needs this password of `postgres` (SCRAM); without it everybody is trusted. */
  readonly password?: string
}

/** `fast` and `immediate` as in pg_ctl; `kill` is SIGKILL to the postmaster. */
export type StopMode = 'fast' | 'immediate' | 'kill'

const signals = { fast: 'SIGINT', immediate: 'SIGQUIT', kill: 'SIGKILL' } as const

const defaults: Readonly<Record<string, string>> = {
  listen_addresses: '127.0.0.1',
  wal_level: 'logical',
  max_wal_senders: '40',
  max_replication_slots: '40',
  max_prepared_transactions: '10',
  // Each subscription needs one, as long as it lives.
  max_logical_replication_workers: '40',
  max_worker_processes: '50',
  shared_buffers: '32MB',
  fsync: 'off',
  max_connections: '120',
}

/** Clusters to remove when this process ends, in whatever way it can notice. */
const alive = new Set<Cluster>()
process.on('exit', () => {
  for (const cluster of alive) cluster.destroyNow()
})

/** Turns signals into an exit, so that nothing is left over; for programs, not for test runners. */
export function exitOnSignals(): void {
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)
    process.once(signal, () => process.exit(code))
}

/** Makes and starts a throw-away PostgreSQL server. Takes a few seconds; throws with the end of the server's log. */
export async function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const binDir = options.binDir ?? embeddedBinDir()
  const account = serverAccount()
  const dir = mkdtempSync(path.join(temporaryRoot(), 'follower-pg-'))
  if (account) chownSync(dir, account.uid, account.gid)
  const cluster = new Cluster(binDir, dir, account, options.password)
  alive.add(cluster)
  try {
    await initdb(cluster, account, options)
    await cluster.start()
    return cluster
  } catch (error) {
    await cluster.destroy()
    throw error
  }
}

/** One throw-away server: its data, sockets and log lie in `dir`. Its port stays the same over restarts. */
export class Cluster {
  readonly host = '127.0.0.1'
  /** As server_version_num: 180004. */
  readonly version: number
  readonly binDir: string
  readonly dir: string
  readonly #account: Account | undefined
  readonly #password: string | undefined
  #port = 0
  #process: ChildProcess | undefined
  readonly #guardian: ChildProcess

  constructor(binDir: string, dir: string, account: Account | undefined, password: string | undefined) {
    this.binDir = binDir
    this.dir = dir
    this.version = binaryVersion(binDir)
    this.#account = account
    this.#password = password
    this.#guardian = guard(dir)
  }

  get port(): number {
    return this.#port
  }
  get dataDir(): string {
    return path.join(this.dir, 'data')
  }
  get socketDir(): string {
    return this.dir
  }
  get logFile(): string {
    return path.join(this.dir, 'log')
  }
  /** The postmaster; undefined while stopped. */
  get pid(): number | undefined {
    return this.#process?.pid
  }

  /** A URI as libpq reads it. */
  conninfo(database = 'postgres', user = 'postgres'): string {
    const secret = this.#password === undefined ? '' : `:${encodeURIComponent(this.#password)}`
    return `postgresql://${encodeURIComponent(user)}${secret}@${this.host}:${this.port}/${encodeURIComponent(database)}`
  }

  /** Starts, and waits until connections are accepted. */
  async start(): Promise<void> {
    const deadline = Date.now() + 60_000
    for (;;) {
      const fresh = this.#port === 0
      if (fresh) this.#port = await freePort()
      const failure = await this.#launch(deadline)
      if (failure === undefined) return
      // Backends of a killed postmaster may live a moment longer; a port may be taken between the look and the bind.
      const again = /still in use|already in use|lock file .* already exists|being used by/.test(failure)
      if (!again || Date.now() > deadline) throw new Error(`PostgreSQL did not start:\n${failure}`)
      if (fresh) this.#port = 0
      else await sleep(100)
    }
  }

  /** Stops, and waits until the postmaster is gone. Does nothing while stopped. */
  async stop(mode: StopMode = 'fast'): Promise<void> {
    const child = this.#process
    if (!child) return
    const gone = exited(child)
    child.kill(signals[mode])
    await gone
    this.#process = undefined
  }

  async restart(mode: StopMode = 'fast'): Promise<void> {
    await this.stop(mode)
    await this.start()
  }

  /** Stops and removes everything. */
  async destroy(): Promise<void> {
    await this.stop('immediate')
    this.destroyNow()
  }

  /** The same without waiting, for the `exit` event of the process. */
  destroyNow(): void {
    alive.delete(this)
    this.#process?.kill('SIGQUIT')
    this.#process = undefined
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 })
    this.#guardian.kill('SIGKILL')
  }

  /** Lets the server outlive this process; whoever asks for it has to remove `dir` later. */
  release(): void {
    alive.delete(this)
    this.#process?.unref()
    this.#guardian.kill('SIGKILL')
  }

  /** Undefined once connections are accepted, else the end of the log. */
  async #launch(deadline: number): Promise<string | undefined> {
    const log = openSync(this.logFile, 'a')
    const before = readFileSync(this.logFile).length
    // A process group of its own: a Ctrl-C at the terminal must not stop the servers before their user.
    const child = spawn(path.join(this.binDir, 'postgres'), ['-D', this.dataDir, '-p', String(this.#port)], {
      ...spawnOptions(this.dir, this.#account),
      stdio: ['ignore', log, log],
      detached: true,
    })
    closeSync(log)
    this.#process = child
    while (Date.now() < deadline) {
      if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) {
        this.#process = undefined
        return readFileSync(this.logFile).subarray(before).toString().slice(-4000)
      }
      if (isReady(this.dataDir, child.pid)) return undefined
      await sleep(20)
    }
    await this.stop('immediate')
    return `not ready in time\n${readFileSync(this.logFile, 'utf8').slice(-4000)}`
  }
}

async function initdb(
  cluster: Cluster,
  account: Account | undefined,
  options: ClusterOptions,
): Promise<void> {
  const args = [
    '-D',
    cluster.dataDir,
    '-U',
    'postgres',
    '-E',
    'UTF8',
    '--locale=C',
    '--no-sync',
    '--no-instructions',
  ]
  if (options.password === undefined) args.push('-A', 'trust')
  else {
    const file = path.join(cluster.dir, 'password')
    writeFileSync(file, `${options.password}\n`, { mode: 0o600 })
    if (account) chownSync(file, account.uid, account.gid)
    args.push('-A', 'scram-sha-256', `--pwfile=${file}`)
  }
  await promisify(execFile)(path.join(cluster.binDir, 'initdb'), args, spawnOptions(cluster.dir, account))
  const settings = {
    ...defaults,
    // Each subscription needs an origin; before PostgreSQL 18 there are as many as slots.
    ...(cluster.version >= 180000 && { max_active_replication_origins: '40' }),
    unix_socket_directories: cluster.socketDir,
    ...options.settings,
  }
  const lines = Object.entries(settings).map(
    ([name, value]) => `${name} = '${value.replaceAll("'", "''")}'\n`,
  )
  appendFileSync(path.join(cluster.dataDir, 'postgresql.conf'), lines.join(''))
}

function spawnOptions(cwd: string, account: Account | undefined) {
  return { cwd, env: { PATH: process.env.PATH, LC_ALL: 'C', TZ: 'UTC' }, ...account }
}

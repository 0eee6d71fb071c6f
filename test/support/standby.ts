import { execFileSync } from 'node:child_process'
import { appendFileSync, chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { serverAccount, temporaryRoot } from '../../src/demo/binaries.ts'
import { Cluster } from '../../src/demo/cluster.ts'
import { cleanUp } from './cleanup.ts'
import { client, query, script, value } from './sql.ts'
import { waitUntil } from './wait.ts'

export interface CopyOptions {
  /** Lines of postgresql.conf, over those of the original. */
  readonly settings?: Readonly<Record<string, string>>
}

/**
 * A copy of a running server's data by its own low-level backup API, which is what pg_basebackup uses (no npm package has
 * that program). As there, slots are left out. Not started; `signal` makes it a standby or recover from an archive.
 * https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-LOWLEVEL-BASE-BACKUP
 */
export async function baseBackup(
  original: Cluster,
  signal: 'standby' | 'recovery',
  options: CopyOptions = {},
): Promise<Cluster> {
  const session = await client(original.conninfo())
  const old = original.version < 150000
  await session.query(
    old ? "SELECT pg_start_backup('copy', true, false)" : "SELECT pg_backup_start('copy', true)",
  )
  const copy = copyFiles(original)
  const { rows } = await session.query<{ labelfile: string }>(
    old
      ? 'SELECT labelfile FROM pg_stop_backup(false, false)'
      : 'SELECT labelfile FROM pg_backup_stop(false)',
  )
  await session.end()
  for (const leave of ['postmaster.pid', 'postmaster.opts', 'pg_wal', 'pg_replslot'])
    rmSync(path.join(copy.dataDir, leave), { recursive: true, force: true })
  run('mkdir', '-p', path.join(copy.dataDir, 'pg_wal/archive_status'), path.join(copy.dataDir, 'pg_replslot'))
  put(copy, 'backup_label', rows[0]!.labelfile)
  put(copy, `${signal}.signal`, '')
  own(copy)
  configure(copy, options)
  return copy
}

/** A file-by-file copy of a stopped server, with its slots and its timeline: what a snapshot of a volume is. */
export function volumeCopy(original: Cluster, options: CopyOptions = {}): Cluster {
  if (original.pid !== undefined) throw new Error('stop it first')
  const copy = copyFiles(original)
  configure(copy, options)
  return copy
}

/** A standby that streams from `primary` over a physical slot of that name, running. */
export async function standby(
  primary: Cluster,
  slot: string,
  options: CopyOptions & { database?: string } = {},
): Promise<Cluster> {
  await query(primary.conninfo(), 'SELECT pg_create_physical_replication_slot($1, true)', [slot])
  const { host, port } = primary
  const copy = await baseBackup(primary, 'standby', {
    settings: {
      primary_conninfo: `host=${host} port=${port} user=postgres dbname=${options.database ?? 'postgres'} application_name=${slot}`,
      primary_slot_name: slot,
      hot_standby_feedback: 'on',
      wal_receiver_status_interval: '1s',
      ...options.settings,
    },
  })
  await copy.start()
  return copy
}

/** Lets a standby no longer receive anything, so that it lags behind for good. */
export async function detach(copy: Cluster): Promise<void> {
  await script(copy.conninfo(), "ALTER SYSTEM SET primary_conninfo = ''")
  await script(copy.conninfo(), 'SELECT pg_reload_conf()')
  await waitUntil(
    async () => (await value(copy.conninfo(), 'SELECT count(*) FROM pg_stat_wal_receiver')) === '0',
  )
}

/** Waits until the standby has applied what `primary` has written so far. */
export async function caughtUp(copy: Cluster, primary: Cluster): Promise<void> {
  const lsn = await value(primary.conninfo(), 'SELECT pg_current_wal_lsn()')
  await waitUntil(
    async () => (await value(copy.conninfo(), `SELECT pg_last_wal_replay_lsn() >= $1`, [lsn])) === 't',
    { what: 'the standby to catch up' },
  )
}

export async function promote(copy: Cluster): Promise<void> {
  await query(copy.conninfo(), 'SELECT pg_promote(true, 60)')
}

/** Settings of a stopped server. */
export function configure(copy: Cluster, { settings = {} }: CopyOptions): void {
  const all = { ...settings, unix_socket_directories: copy.socketDir }
  const lines = Object.entries(all).map(([name, text]) => `${name} = '${text.replaceAll("'", "''")}'\n`)
  appendFileSync(path.join(copy.dataDir, 'postgresql.conf'), lines.join(''))
}

function copyFiles(original: Cluster): Cluster {
  const dir = mkdtempSync(path.join(temporaryRoot(), 'follower-pg-'))
  const copy = new Cluster(original.binDir, dir, serverAccount(), undefined)
  cleanUp(() => copy.destroy())
  // Files may go away meanwhile: recovery does not need those.
  run('sh', '-c', 'cp -a "$0" "$1" 2>/dev/null || true', original.dataDir, copy.dataDir)
  own(copy)
  return copy
}

function put(copy: Cluster, file: string, text: string): void {
  writeFileSync(path.join(copy.dataDir, file), text)
}

function own(copy: Cluster): void {
  const account = serverAccount()
  if (!account) return
  chownSync(copy.dir, account.uid, account.gid)
  run('chown', '-R', `${account.uid}:${account.gid}`, copy.dataDir)
}

function run(file: string, ...args: string[]): void {
  execFileSync(file, args, { stdio: 'pipe' })
}

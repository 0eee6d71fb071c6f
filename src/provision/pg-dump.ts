import { execFile } from 'node:child_process'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { bareScript, type CopyStep, isWanted, parseList, stepsOf } from '../copy/archive.ts'
import { ExitCode, FollowerError } from '../errors.ts'
import type { Conninfo } from '../model/conninfo.ts'
import type { CopySettings } from '../model/follow.ts'

/** Where Debian keeps the programs of each major. */
const debian = '/usr/lib/postgresql'

export interface DumpTools {
  readonly dump: string
  readonly restore: string
  readonly major: number
}

/**
 * The pg_dump that is chosen, or else the oldest that understands the server, of the path and Debian's directories; with its
 * pg_restore. Undefined where there is none, or `none` is chosen. Throws FollowerError (FLW-124, exit 6) where the chosen one does not fit.
 */
export async function findDumpTools(
  chosen: string | undefined,
  serverMajor: number,
): Promise<DumpTools | undefined> {
  if (chosen === 'none') return undefined
  const candidates = chosen === undefined ? await installed() : [chosen]
  const found: DumpTools[] = []
  for (const dump of candidates) {
    const major = await majorOf(dump)
    if (major !== undefined) found.push({ dump, restore: path.join(path.dirname(dump), 'pg_restore'), major })
  }
  const fitting = found.filter((tools) => tools.major >= serverMajor).toSorted((a, b) => a.major - b.major)
  if (fitting[0] || chosen === undefined) return fitting[0]
  const seen = found.map(({ dump, major }) => `${dump} is of ${major}`)
  throw new FollowerError(`the copy of the schema needs pg_dump of PostgreSQL ${serverMajor} or later`, {
    code: 'FLW-124',
    exit: ExitCode.preflight,
    detail: seen.length > 0 ? seen.join('\n') : `there is none: ${chosen}`,
    effect: 'nothing was changed',
    fix: [
      `apt install postgresql-client-${serverMajor}   # or as your system has it`,
      'or name one:  follower start --pg-dump /…/bin/pg_dump …',
      'or load the schema yourself:  follower start --copy data …',
    ],
  })
}

async function installed(): Promise<string[]> {
  const majors = await readdir(debian).catch(() => [])
  return [
    ...(process.env.PATH ?? '').split(':').filter(path.isAbsolute),
    ...majors.map((major) => path.join(debian, major, 'bin')),
  ].map((directory) => path.join(directory, 'pg_dump'))
}

async function majorOf(program: string): Promise<number | undefined> {
  try {
    const { stdout } = await promisify(execFile)(program, ['--version'])
    const major = /\(PostgreSQL\) (\d+)/.exec(stdout)?.[1]
    return major === undefined ? undefined : Number(major)
  } catch {
    return undefined
  }
}

/** A schema as of a snapshot: statements before the rows, and steps after them. */
export interface DumpedSchema {
  readonly before: string
  readonly after: readonly CopyStep[]
  /** What of the upstream's is not among it, for people. */
  readonly leftOut?: readonly string[]
}

/** Runs pg_dump under the snapshot. Throws FollowerError (FLW-125) with what it said. */
export async function dumpSchema(
  tools: DumpTools,
  upstream: Conninfo,
  settings: Pick<CopySettings, 'owner' | 'privileges'>,
  snapshot: string,
): Promise<DumpedSchema> {
  const directory = await mkdtemp(path.join(tmpdir(), 'follower-schema-'))
  const file = (name: string): string => path.join(directory, name)
  const how = [...(settings.owner ? [] : ['--no-owner']), ...(settings.privileges ? [] : ['--no-privileges'])]
  try {
    await run(
      tools.dump,
      [
        ...['--format=custom', '--schema-only', `--snapshot=${snapshot}`, `--file=${file('archive')}`],
        ...['--exclude-schema=follower', '--no-publications', '--no-subscriptions', '--no-password', ...how],
      ],
      await environment(upstream),
    )
    const restore = (...args: string[]): Promise<string> =>
      run(tools.restore, [...args, ...how, file('archive')], {})
    const section = async (name: string, ...args: string[]) => {
      const entries = parseList(await restore('--list', `--section=${name}`)).filter(isWanted)
      await writeFile(file(name), `${entries.map((entry) => entry.line).join('\n')}\n`)
      const chosen = [`--use-list=${file(name)}`, `--section=${name}`, '--file=-', ...args]
      return { entries, script: entries.length === 0 ? '' : await restore(...chosen) }
    }
    const before = await section('pre-data')
    const after = await section('post-data', '--verbose')
    return { before: bareScript(before.script), after: stepsOf(after.entries, after.script) }
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

async function run(program: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<string> {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith('PG'))
  try {
    const { stdout } = await promisify(execFile)(program, args, {
      env: { ...Object.fromEntries(own), LC_ALL: 'C', ...env },
      maxBuffer: 2 ** 30,
    })
    return stdout
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: string }
    throw new FollowerError(`${path.basename(program)} failed`, {
      code: 'FLW-125',
      exit: ExitCode.preflight,
      detail: (stderr?.trim() || message).slice(-2000),
      effect: 'nothing was changed downstream',
      fix: ['remove the cause, then start again; or load the schema yourself:  follower start --copy data …'],
      cause: error,
    })
  }
}

/** The conninfo as libpq's environment: arguments can be seen by others. */
async function environment(conninfo: Conninfo): Promise<NodeJS.ProcessEnv> {
  const password = await conninfo.password()
  const { hostaddr, sslrootcert, sslcert, sslkey } = conninfo
  return {
    PGHOST: conninfo.host,
    ...(hostaddr === undefined ? {} : { PGHOSTADDR: hostaddr }),
    PGPORT: String(conninfo.port),
    PGUSER: conninfo.user,
    PGDATABASE: conninfo.database,
    PGSSLMODE: conninfo.sslmode,
    ...(sslrootcert === undefined ? {} : { PGSSLROOTCERT: sslrootcert }),
    ...(sslcert === undefined ? {} : { PGSSLCERT: sslcert }),
    ...(sslkey === undefined ? {} : { PGSSLKEY: sslkey }),
    PGCONNECT_TIMEOUT: String(conninfo.connectTimeout),
    PGAPPNAME: conninfo.applicationName ?? 'follower',
    ...(password === undefined ? {} : { PGPASSWORD: password }),
  }
}

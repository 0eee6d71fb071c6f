import { existsSync } from 'node:fs'
import { homedir, userInfo } from 'node:os'
import path from 'node:path'
import type { Conninfo, SslMode, TargetSessionAttrs } from '../model/conninfo.ts'
import { checkValue, conninfoError, keywords } from './conninfo-keywords.ts'
import { type Place, readInteger, readPlaces } from './conninfo-places.ts'
import { readParameters } from './conninfo-text.ts'
import { readPassfile } from './passfile.ts'

type Environment = Readonly<Record<string, string | undefined>>

const sslmodes: readonly string[] = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full']

/** Seconds. libpq would wait for ever, which a daemon that retries has no use for. */
const defaultConnectTimeout = 30

/**
 * Reads a URI or keyword=value text as libpq does: what the text says, then the PG* variables of `env`, then
 * defaults. What follower cannot do is refused by name. Throws FollowerError exit 3, never with a secret in it.
 * https://www.postgresql.org/docs/current/libpq-connect.html
 */
export function parseConninfo(text: string, env: Environment): Conninfo {
  const given = readParameters(text)
  const values = new Map<string, string>()
  for (const [keyword, { env: variable }] of Object.entries(keywords)) {
    const explicit = given.get(keyword)
    const value = explicit ?? (variable === undefined ? undefined : env[variable])
    if (value === undefined) continue
    checkValue(keyword, value, explicit === undefined ? variable! : keyword)
    // An empty value hides the environment and then means the default.
    if (value !== '') values.set(keyword, value)
  }

  const servers = readPlaces(values).map((place) => readServer(place, values, env))
  const first = servers[0]!
  if (servers.length === 1) return first
  const { database, user } = first
  const places = servers.map(({ host, port }) => displayPlace(host, port)).join(',')
  return { ...first, servers, display: `${places}/${database} as ${user}` }
}

/** The conninfo of one server. */
function readServer(place: Place, values: ReadonlyMap<string, string>, env: Environment): Conninfo {
  const { host, hostaddr, port } = place
  const user = values.get('user') ?? systemUser()
  const database = values.get('dbname') ?? user
  const applicationName = values.get('application_name')
  const home = env.HOME || systemHome()
  const passfile = values.get('passfile') ?? path.join(home, '.pgpass')
  const ask = () => readPassfile(passfile, { host, port, database, user }, env.CREDENTIALS_DIRECTORY)
  const password = values.get('password')

  return {
    host,
    port,
    user,
    database,
    ...(hostaddr === undefined ? {} : { hostaddr }),
    ...readTls(values, path.join(home, '.postgresql')),
    targetSessionAttrs: (values.get('target_session_attrs') ?? 'any') as TargetSessionAttrs,
    connectTimeout: readTimeout(values.get('connect_timeout')),
    ...(applicationName === undefined ? {} : { applicationName }),
    password: async () => password ?? (await ask()).password,
    passfileProblem: async () => (password === undefined ? (await ask()).problem : undefined),
    display: `${displayPlace(host, port)}/${database} as ${user}`,
  }
}

function displayPlace(host: string, port: number): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}

/** The operating system's name of the user; a container may run under a number without a name. */
function systemUser(): string {
  try {
    return userInfo().username
  } catch {
    throw conninfoError('FLW-023', 'conninfo: no user is given, and the user of this process has no name', {
      fix: ['add user=… to the conninfo, or set PGUSER'],
    })
  }
}

/** As for the name: a user without one (a container's, systemd's DynamicUser=) has no directory, either. */
function systemHome(): string {
  try {
    return homedir()
  } catch {
    return '/'
  }
}

function readTimeout(text: string | undefined): number {
  return text === undefined ? defaultConnectTimeout : Math.max(0, readInteger('connect_timeout', text))
}

/** The TLS part, with libpq's default files below ~/.postgresql where they exist. */
function readTls(
  values: ReadonlyMap<string, string>,
  directory: string,
): Pick<Conninfo, 'sslmode' | 'sslrootcert' | 'sslcert' | 'sslkey'> {
  const file = (keyword: string, name: string): string | undefined => {
    const given = values.get(keyword)
    if (given === 'system' && keyword === 'sslrootcert') return given
    const place = given ?? path.join(directory, name)
    if (existsSync(place)) return place
    if (given === undefined) return undefined
    throw conninfoError('FLW-024', `conninfo: ${keyword} ${JSON.stringify(given)} does not exist`, {
      fix: [`correct the path, or take ${keyword} out`],
    })
  }
  const sslrootcert = file('sslrootcert', 'root.crt')
  const system = sslrootcert === 'system'
  const sslmode = values.get('sslmode') ?? (system ? 'verify-full' : 'prefer')
  if (!sslmodes.includes(sslmode))
    throw conninfoError('FLW-023', `conninfo: there is no sslmode ${JSON.stringify(sslmode)}`, {
      fix: [`use one of ${sslmodes.join(', ')}`],
    })
  if (system && sslmode !== 'verify-full')
    throw conninfoError('FLW-023', `conninfo: sslmode ${sslmode} is too weak for sslrootcert=system`, {
      detail: 'anybody can have a certificate that the system trusts, only the host name tells them apart',
      fix: ['use sslmode=verify-full, or take sslmode out'],
    })
  if (sslmode.startsWith('verify-') && sslrootcert === undefined)
    throw conninfoError('FLW-024', `conninfo: sslmode=${sslmode} needs a root certificate`, {
      detail: `there is no sslrootcert, and ${path.join(directory, 'root.crt')} does not exist`,
      fix: ['add sslrootcert=<file>, or sslrootcert=system for the certificates that the system trusts'],
    })
  const sslcert = file('sslcert', 'postgresql.crt')
  const sslkey = sslcert === undefined ? undefined : file('sslkey', 'postgresql.key')
  return {
    sslmode: sslmode as SslMode,
    ...(sslrootcert === undefined ? {} : { sslrootcert }),
    ...(sslcert === undefined ? {} : { sslcert }),
    ...(sslkey === undefined ? {} : { sslkey }),
  }
}

import { readFile, stat } from 'node:fs/promises'

/** What a line of a passfile is compared with. */
export interface PassfileKey {
  /** Host name or socket directory, as the conninfo has it. */
  readonly host: string
  readonly port: number
  readonly database: string
  readonly user: string
}

export interface PassfileAnswer {
  readonly password?: string
  /** Why the file was not used. A file that is not there, or has no line for us, is no problem. */
  readonly problem?: string
}

/** Where PostgreSQL's own builds and Debian's put the socket: for them a passfile says `localhost`. */
const defaultSocketDirectories = ['/var/run/postgresql', '/run/postgresql', '/tmp']

/**
 * Looks up a password as libpq does: first line that fits, `*` for anything, backslash before `:` and `\`; a file
 * that others may read is ignored, unless it is in `credentials`, systemd's directory: there an access list lets nobody
 * else in, and its mask looks like rights of the group. Never throws. https://www.postgresql.org/docs/current/libpq-pgpass.html
 */
export async function readPassfile(
  path: string,
  key: PassfileKey,
  credentials?: string,
): Promise<PassfileAnswer> {
  let text: string
  try {
    const status = await stat(path)
    if (!status.isFile()) return { problem: `passfile ${path} is not a plain file` }
    const guarded = !!credentials && path.startsWith(`${credentials.replace(/\/+$/, '')}/`)
    if (!guarded && (status.mode & 0o077) !== 0)
      return {
        problem: `passfile ${path} is ignored: group or others have access to it (mode ${(status.mode & 0o777).toString(8)}); chmod 0600 ${path}`,
      }
    text = await readFile(path, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    return code === 'ENOENT' || code === 'ENOTDIR'
      ? {}
      : { problem: `passfile ${path} cannot be read: ${code}` }
  }
  return findPassword(text, key)
}

/** The password for `key` in a passfile's text. */
export function findPassword(text: string, key: PassfileKey): PassfileAnswer {
  const host = defaultSocketDirectories.includes(key.host) ? 'localhost' : key.host
  const wanted = [host, String(key.port), key.database, key.user]
  for (const line of text.split(/\r?\n/)) {
    if (line.startsWith('#')) continue
    const fields = splitLine(line)
    if (fields === undefined) continue
    if (
      wanted.every(
        (value, index) => fields.raw[index] === '*' || withoutBackslashes(fields.raw[index]) === value,
      )
    )
      return fields.password === '' ? {} : { password: fields.password }
  }
  return {}
}

/** Four fields, still escaped, and the password: everything after the fourth colon, colons included. */
function splitLine(line: string): { raw: string[]; password: string } | undefined {
  const match = /^((?:\\.|[^\\:])*):((?:\\.|[^\\:])*):((?:\\.|[^\\:])*):((?:\\.|[^\\:])*):(.*)$/.exec(line)
  return match ? { raw: match.slice(1, 5), password: withoutBackslashes(match[5]) } : undefined
}

function withoutBackslashes(text = ''): string {
  return text.replace(/\\(.)/g, '$1')
}

import { checkKeyword, conninfoError, keywords } from './conninfo-keywords.ts'

/** Keyword to value, as the text has them. An empty value counts as given: the environment is not asked then. */
export type Parameters = ReadonlyMap<string, string>

const scheme = /^postgres(?:ql)?:\/\//

/**
 * Reads libpq's two notations. Throws FollowerError exit 3; never repeats the text, which may hold a password.
 * https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING
 */
export function readParameters(text: string): Parameters {
  const match = scheme.exec(text)
  return match ? readUri(text.slice(match[0].length)) : readKeywordValue(text)
}

function syntaxError(what: string, fix?: string): Error {
  return conninfoError('FLW-020', `conninfo: ${what}`, {
    fix: fix === undefined ? ['see https://www.postgresql.org/docs/current/libpq-connect.html'] : [fix],
  })
}

/** `host=h dbname='a b' password = it\'s`: spaces around `=`, single quotes, backslash before any character. */
function readKeywordValue(text: string): Parameters {
  const result = new Map<string, string>()
  const word = /\s*(?:([^\s=]+)\s*(=)?\s*)?/y
  const bare = /(?:\\.|[^\s\\])*\\?/sy
  const quoted = /'((?:\\.|[^'\\])*)'/sy
  let at = 0
  let last: string | undefined
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at
    const match = pattern.exec(text)
    if (match) at = pattern.lastIndex
    return match
  }
  for (;;) {
    const [, keyword, equals] = take(word) ?? []
    if (keyword === undefined) {
      if (at === text.length) return result
      throw syntaxError('there is a "=" without a keyword before it')
    }
    // The word may be a piece of an unquoted password: it is named only where it looks like a name.
    if (equals === undefined)
      throw syntaxError(
        /^\w+$/.test(keyword) && result.size === 0
          ? `missing "=" after "${keyword}"`
          : 'missing "=" after a word',
        'write keyword=value, with values that hold spaces in single quotes, or a URI postgresql://…',
      )
    if (last === 'password' && !Object.hasOwn(keywords, keyword))
      throw syntaxError(
        'the password is followed by no keyword',
        'put a password with spaces into single quotes',
      )
    checkKeyword(keyword)
    last = keyword
    if (text[at] === "'") {
      const value = take(quoted)?.[1]
      if (value === undefined) throw syntaxError(`the quote of ${keyword} is not closed`)
      result.set(keyword, withoutBackslashes(value))
    } else result.set(keyword, withoutBackslashes(take(bare)?.[0] ?? ''))
  }
}

function withoutBackslashes(value: string): string {
  return value.replace(/\\(.?)/gs, '$1')
}

/** `user:password@host:port/dbname?keyword=value&…`; every part may be absent, an empty one counts as absent. */
function readUri(rest: string): Parameters {
  const result = new Map<string, string>()
  const set = (keyword: string, encoded: string | undefined): void => {
    if (encoded) result.set(keyword, decode(encoded, keyword))
  }
  const [, credentials, afterCredentials = rest] = /^([^@/]*)@(.*)$/s.exec(rest) ?? []
  const colon = credentials?.indexOf(':') ?? -1
  set('user', colon < 0 ? credentials : credentials?.slice(0, colon))
  set('password', colon < 0 ? undefined : credentials?.slice(colon + 1))

  const [authority = '', path, query] = splitUri(afterCredentials)
  // Never repeated: either may be the rest of a password with a bare @ or /.
  if (authority.includes('@'))
    throw syntaxError('the URI has a second "@"', 'write an @ in a password as %40')
  const places = authority.split(',').map(readPlace)
  set('host', places.map(({ host }) => host).join(','))
  set('port', places.map(({ port }) => port).join(','))
  set('dbname', path)
  if (query) readQuery(query, result)
  return result
}

/** `name`, `name:port`, `[IPv6 address]:port`; either part may be empty. */
function readPlace(text: string): { host: string; port: string } {
  const [, ipv6, name, port] = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::([^:]*))?$/.exec(text) ?? []
  if (ipv6 === '') throw syntaxError('the IPv6 address in the URI is empty')
  if (ipv6 === undefined && name === undefined)
    throw syntaxError('the host part of the URI is neither host:port nor [IPv6 address]:port')
  if (port && !/^\d+$/.test(port))
    throw syntaxError(
      'the port in the URI is not a number',
      'write a / in a password as %2F, a : in a user as %3A',
    )
  return { host: ipv6 ?? name ?? '', port: port ?? '' }
}

/** Authority, path without its slash, query without its question mark. */
function splitUri(text: string): (string | undefined)[] {
  return (/^([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/s.exec(text) ?? []).slice(1)
}

function readQuery(query: string, result: Map<string, string>): void {
  // A last `&` with nothing behind it is allowed, as libpq does.
  for (const part of query.replace(/&$/, '').split('&')) {
    const [keyword = '', value, extra] = part.split('=')
    if (value === undefined) throw syntaxError('a parameter of the URI has no "="')
    if (extra !== undefined) throw syntaxError('a parameter of the URI has a second "="; write it as %3D')
    let name = decode(keyword, 'a keyword')
    let text = decode(value, name)
    // As libpq: a URI made for JDBC.
    if (name === 'ssl' && text === 'true') [name, text] = ['sslmode', 'require']
    checkKeyword(name)
    result.set(name, text)
  }
}

/** Percent-decoding of bytes, which are UTF-8. */
function decode(text: string, what: string): string {
  const bad = /%(?![0-9A-Fa-f]{2})|%00/.test(text)
  if (bad) throw syntaxError(`${what} has a "%" that starts no %XX; write a percent sign as %25`)
  try {
    return decodeURIComponent(text)
  } catch {
    throw syntaxError(`${what} has %XX bytes that are not UTF-8`)
  }
}

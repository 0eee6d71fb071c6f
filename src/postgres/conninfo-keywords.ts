import { ExitCode, FollowerError } from '../errors.ts'
import { suggest } from '../model/suggest.ts'

/** What follower does with one keyword of libpq. */
interface Keyword {
  /** The environment variable that speaks where the text does not. */
  readonly env?: string
  /** The values that are accepted without effect; absent: the keyword is used, with any value. */
  readonly accepts?: RegExp
  /** Why every other value is refused, and what to write instead. */
  readonly why?: string
}

const used = (env?: string): Keyword => (env === undefined ? {} : { env })
/** Changes nothing that matters here. */
const ignored: Keyword = { accepts: /^/ }
const refused = (why: string, env?: string, accepts = /^$/): Keyword => ({ ...used(env), accepts, why })

const noGss = 'follower has no GSSAPI; use a password or a client certificate'
const noLimit = 'follower leaves it to Node’s TLS library; take it out'

/**
 * Every keyword of libpq 18, and its environment variable.
 * https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
 */
export const keywords: Readonly<Record<string, Keyword>> = {
  host: used('PGHOST'),
  hostaddr: used('PGHOSTADDR'),
  port: used('PGPORT'),
  dbname: used('PGDATABASE'),
  user: used('PGUSER'),
  password: used('PGPASSWORD'),
  passfile: used('PGPASSFILE'),
  sslmode: used('PGSSLMODE'),
  sslrootcert: used('PGSSLROOTCERT'),
  sslcert: used('PGSSLCERT'),
  sslkey: used('PGSSLKEY'),
  connect_timeout: used('PGCONNECT_TIMEOUT'),
  application_name: used('PGAPPNAME'),
  fallback_application_name: ignored,
  keepalives: ignored,
  keepalives_idle: ignored,
  keepalives_interval: ignored,
  keepalives_count: ignored,
  tcp_user_timeout: ignored,
  sslcompression: ignored,
  krbsrvname: ignored,
  gsslib: ignored,
  client_encoding: refused(
    'follower sets the encoding of its sessions itself',
    undefined,
    /^(|auto|utf-?8|unicode)$/i,
  ),
  service: refused('follower reads no service file; write its settings into the conninfo', 'PGSERVICE'),
  servicefile: refused('follower reads no service file; write its settings into the conninfo'),
  target_session_attrs: refused(
    'follower reads from a primary and writes to one: any, read-write or primary',
    'PGTARGETSESSIONATTRS',
    /^(|any|read-write|primary)$/,
  ),
  load_balance_hosts: refused(
    'follower tries the hosts in their order',
    'PGLOADBALANCEHOSTS',
    /^(|disable)$/,
  ),
  options: refused(
    'follower pins the settings of its sessions itself; for others use ALTER ROLE … SET',
    'PGOPTIONS',
    /^\s*$/,
  ),
  replication: refused('follower opens replication connections by itself where it needs them'),
  channel_binding: refused(
    'follower cannot insist on channel binding; sslmode=verify-full keeps a man in the middle out',
    'PGCHANNELBINDING',
    /^(|prefer|disable)$/,
  ),
  gssencmode: refused(noGss, 'PGGSSENCMODE', /^(|prefer|disable)$/),
  gssdelegation: refused(noGss, 'PGGSSDELEGATION', /^0?$/),
  require_auth: refused('follower cannot insist on a method; take it out', 'PGREQUIREAUTH'),
  requirepeer: refused('follower cannot ask who owns a socket; take it out', 'PGREQUIREPEER'),
  sslnegotiation: refused(
    'follower asks for TLS in the traditional way only',
    'PGSSLNEGOTIATION',
    /^(|postgres)$/,
  ),
  sslsni: refused('follower always sends the host name with TLS', 'PGSSLSNI', /^1?$/),
  sslcertmode: refused('follower sends a client certificate if it has one', 'PGSSLCERTMODE', /^(|allow)$/),
  sslpassword: refused('follower reads keys without a passphrase only; decrypt it with openssl pkey'),
  sslcrl: refused('follower reads no revocation lists', 'PGSSLCRL'),
  sslcrldir: refused('follower reads no revocation lists', 'PGSSLCRLDIR'),
  sslkeylogfile: refused('follower writes no TLS keys'),
  ssl_min_protocol_version: refused(noLimit, 'PGSSLMINPROTOCOLVERSION', /^(|TLSv1(\.[012])?)$/),
  ssl_max_protocol_version: refused(noLimit, 'PGSSLMAXPROTOCOLVERSION', /^(|TLSv1\.3)$/),
  min_protocol_version: refused('follower speaks version 3.0', 'PGMINPROTOCOLVERSION', /^(|3\.0)$/),
  max_protocol_version: refused('follower speaks version 3.0', 'PGMAXPROTOCOLVERSION', /^/),
  scram_client_key: refused('follower logs in with the password itself'),
  scram_server_key: refused('follower logs in with the password itself'),
  oauth_issuer: refused('follower has no OAuth; use a password or a client certificate'),
  oauth_client_id: refused('follower has no OAuth; use a password or a client certificate'),
  oauth_client_secret: refused('follower has no OAuth; use a password or a client certificate'),
  oauth_scope: refused('follower has no OAuth; use a password or a client certificate'),
}

/** A conninfo that follower cannot use: exit 3, before anything was tried. */
export function conninfoError(
  code: `FLW-${number}`,
  message: string,
  more: { detail?: string; fix?: readonly string[] } = {},
): FollowerError {
  return new FollowerError(message, { code, exit: ExitCode.config, effect: 'nothing was started', ...more })
}

/** Throws where follower does not know the keyword. */
export function checkKeyword(keyword: string): void {
  if (Object.hasOwn(keywords, keyword)) return
  const near = nearest(keyword)
  throw conninfoError('FLW-021', `conninfo: there is no keyword ${JSON.stringify(keyword)}`, {
    detail: `known keywords: ${Object.entries(keywords)
      .filter(([, { why }]) => why === undefined)
      .map(([name]) => name)
      .join(', ')}`,
    fix: [near === undefined ? `take ${JSON.stringify(keyword)} out` : `did you mean ${near}?`],
  })
}

/** Throws where follower cannot do what the value asks for. `source`: the keyword or environment variable. */
export function checkValue(keyword: string, value: string, source: string): void {
  const { accepts, why } = keywords[keyword] ?? {}
  if (!accepts || accepts.test(value)) return
  throw conninfoError('FLW-022', `conninfo: follower does not support ${source} with this value`, {
    ...(why === undefined ? {} : { detail: why }),
    fix: [keyword === source ? `take ${keyword} out of the conninfo` : `unset ${source}`],
  })
}

/** Names that other programs have for them. */
const synonyms: Readonly<Record<string, string>> = { database: 'dbname', username: 'user' }

/** The known keyword that was most probably meant; undefined where none is near. */
function nearest(text: string): string | undefined {
  const best = suggest(text, Object.keys({ ...keywords, ...synonyms }))
  return best === undefined ? undefined : (synonyms[best] ?? best)
}

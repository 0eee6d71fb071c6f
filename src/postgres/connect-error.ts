import { ExitCode, FollowerError } from '../errors.ts'
import type { ConnectOptions } from './end.ts'
import { quoteIdentifier } from './identifier.ts'
import { PoolerFound } from './pooler.ts'
import { isTransient, socketErrno, sqlstate } from './sqlstate.ts'
import { isTlsFailure, TlsFileError } from './tls.ts'

/** The server asks for a password and the conninfo leads to none. */
export class NoPassword extends Error {}

/** The attempt took longer than connect_timeout. */
export class ConnectTimeout extends Error {}

/** The server is not of the kind that target_session_attrs asks for. */
export class WrongServer extends Error {}

interface Explanation {
  /** Last two digits of the code: FLW-4nn upstream, FLW-5nn downstream. */
  readonly number: string
  readonly detail?: string | undefined
  readonly fix: readonly string[]
}

/**
 * True where the server lets us in or not by what somebody has to change: password, pg_hba.conf, certificate, rights. A
 * follow that runs waits for that, since they may be changed at one side before the other.
 */
export function isRefusedLogin(error: unknown): boolean {
  return error instanceof FollowerError && /^FLW-[45](04|05|06|09|13|14)$/.test(error.code)
}

/** Fields of a server's report that are the same in every language of its messages. */
interface ServerReport {
  readonly detail?: string
  readonly hint?: string
  readonly routine?: string
}

/** Turns the failure of a connection attempt into what its reader needs. */
export function connectError(error: unknown, options: ConnectOptions, encrypted: boolean): FollowerError {
  const { conninfo, end } = options
  const { number, detail, fix } = explain(error, options, encrypted)
  const report = error as ServerReport
  const details = [report.detail, report.hint, detail].filter((line) => line !== undefined && line !== '')
  const purpose = options.replication ? ' for replication' : ''
  return new FollowerError(`cannot connect to ${end} ${conninfo.display}${purpose}: ${messageOf(error)}`, {
    code: `FLW-${Number(`${end === 'upstream' ? 4 : 5}${number}`)}`,
    exit: end === 'upstream' ? ExitCode.upstream : ExitCode.downstream,
    effect: 'nothing was changed; what was applied before stays as it is',
    ...(details.length === 0 ? {} : { detail: details.join('\n') }),
    fix,
    sqlstate: sqlstate(error),
    context: {
      end,
      host: conninfo.host,
      port: conninfo.port,
      database: conninfo.database,
      user: conninfo.user,
    },
    transient: error instanceof ConnectTimeout || error instanceof WrongServer || isTransient(error),
    cause: error,
  })
}

/** Of several servers none will do. The last one's code and remedy: it was reached, or none was. */
export function noServer(
  failures: readonly FollowerError[],
  { conninfo, end }: ConnectOptions,
): FollowerError {
  const last = failures[failures.length - 1]!
  return new FollowerError(`cannot connect to ${end} ${conninfo.display}: ${failures.length} servers tried`, {
    code: last.code,
    exit: last.exit,
    detail: failures.map(({ message, detail }) => [message, detail].filter(Boolean).join('\n')).join('\n'),
    ...(last.effect === undefined ? {} : { effect: last.effect }),
    fix: last.fix,
    sqlstate: last.sqlstate,
    context: last.context,
    transient: last.transient,
    cause: last.cause,
  })
}

/** An AggregateError (one per address of a name) has no message of its own. */
function messageOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(messageOf).join('; ')
  return error instanceof Error ? error.message : String(error)
}

function explain(error: unknown, options: ConnectOptions, encrypted: boolean): Explanation {
  if (error instanceof PoolerFound) return explainPooler(options)
  if (error instanceof NoPassword) return explainNoPassword(options)
  if (error instanceof WrongServer)
    return {
      number: '15',
      detail: `target_session_attrs=${options.conninfo.targetSessionAttrs}`,
      fix: ['name the primary in the conninfo, too, or promote this server'],
    }
  if (error instanceof ConnectTimeout)
    return {
      number: '03',
      fix: ['check that no firewall drops the packets', 'or wait longer: connect_timeout=<seconds>'],
    }
  if (isTlsFailure(error)) return explainTls(error, options)
  const state = sqlstate(error)
  return state === undefined ? explainSocket(error, options) : explainReport(error, state, options, encrypted)
}

function explainReport(
  error: unknown,
  state: string,
  options: ConnectOptions,
  encrypted: boolean,
): Explanation {
  const { conninfo } = options
  const role = quoteIdentifier(conninfo.user)
  const database = quoteIdentifier(conninfo.database)
  const { routine } = error as ServerReport
  switch (state) {
    case '28000':
      if (routine === 'ClientAuthentication') return explainHba(error, options, encrypted)
      return { number: '04', fix: [`CREATE ROLE ${role} LOGIN;  -- or name the right user in the conninfo`] }
    case '28P01':
      return {
        number: '04',
        fix: [`correct the password of ${role} in the conninfo, PGPASSWORD or passfile`],
      }
    case '3D000':
      return { number: '06', fix: [`CREATE DATABASE ${database};  -- or name the right one: dbname=…`] }
    case '42501':
      if (routine === 'InitPostgres' && options.replication)
        return {
          number: '09',
          fix: [`ALTER ROLE ${role} REPLICATION;`, `on Amazon RDS: GRANT rds_replication TO ${role};`],
        }
      return { number: '06', fix: [`GRANT CONNECT ON DATABASE ${database} TO ${role};`] }
    case '57P03':
      return { number: '07', fix: ['wait until the server accepts connections; its log says what it does'] }
    case '53300':
      return {
        number: '08',
        fix: [
          options.replication
            ? 'raise max_wal_senders (needs a restart), or end what uses them: SELECT * FROM pg_stat_replication;'
            : 'raise max_connections (needs a restart), or end sessions: SELECT * FROM pg_stat_activity;',
        ],
      }
    case '08P01':
      // What PgBouncer says to `replication` before 1.23.
      if (messageOf(error).includes('unsupported startup parameter')) return explainPooler(options)
  }
  return { number: '00', fix: ['see the server’s log for what it says of this attempt'] }
}

function explainHba(error: unknown, options: ConnectOptions, encrypted: boolean): Explanation {
  const { conninfo } = options
  const quote = (name: string): string => `"${name.replaceAll('"', '""')}"`
  const address = /"([0-9a-f:.]*[:.][0-9a-f:.]*)(?:%[^"]*)?"/i.exec(messageOf(error))?.[1]
  const who = `${quote(conninfo.database)} ${quote(conninfo.user)}`
  const line = conninfo.host.startsWith('/')
    ? `local ${who} scram-sha-256`
    : `${encrypted ? 'hostssl' : 'host'} ${who} ${address ? `${address}/${address.includes(':') ? 128 : 32}` : '<our address>/32'} scram-sha-256`
  return {
    number: '05',
    fix: [
      `add to pg_hba.conf: ${line}`,
      'then: SELECT pg_reload_conf();  -- SHOW hba_file; tells where it is',
    ],
  }
}

function explainPooler(options: ConnectOptions): Explanation {
  const direct = `give --${options.end} the server’s own host and port (often 5432 where the pooler has 6432 or 6543)`
  return {
    number: '12',
    detail: 'a pooler stands in between; follower’s settings and locks need a backend of their own',
    // A pooler that knows no replication does not learn it by its mode.
    fix: options.replication
      ? [direct]
      : [direct, 'or let the pooler keep one backend per client: pool_mode = session'],
  }
}

function explainNoPassword(options: ConnectOptions): Explanation {
  const { host, port, database, user } = options.conninfo
  const line = [host, port, database, user].map((field) => String(field).replace(/[\\:]/g, '\\$&')).join(':')
  return {
    number: '13',
    fix: [`put it into ~/.pgpass (mode 0600): ${line}:<password>`, 'or set PGPASSWORD'],
  }
}

function explainTls(error: unknown, options: ConnectOptions): Explanation {
  const { sslmode, sslrootcert, host } = options.conninfo
  const number = '14'
  const message = messageOf(error)
  if (error instanceof TlsFileError)
    return { number, fix: ['give follower’s user, and nobody else, the right to read the file: chmod 0600'] }
  if (message.includes('does not support SSL'))
    return {
      number,
      detail: `sslmode=${sslmode} needs TLS`,
      fix: [
        'give the server a certificate and set ssl = on',
        'or, in a network that you trust: sslmode=prefer',
      ],
    }
  if (error instanceof Error && 'code' in error && error.code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return {
      number,
      fix: [
        `connect by a name that the certificate has (with hostaddr=… for the address), instead of ${host}`,
        'or check the issuer only: sslmode=verify-ca',
      ],
    }
  return {
    number,
    ...(sslrootcert === undefined ? {} : { detail: `sslmode=${sslmode}, sslrootcert=${sslrootcert}` }),
    fix: ['name the file that holds the certificate of the server’s issuer: sslrootcert=<file>'],
  }
}

function explainSocket(error: unknown, options: ConnectOptions): Explanation {
  const { host, hostaddr, port } = options.conninfo
  const errno = socketErrno(error)
  if (errno === 'ENOTFOUND' || errno === 'EAI_AGAIN')
    return { number: '02', fix: [`check the name: getent hosts ${host}`] }
  if (errno === undefined)
    return { number: '00', fix: ['see the server’s log for what it says of this attempt'] }
  const target = host.startsWith('/')
    ? `socket ${host}/.s.PGSQL.${port}`
    : `${hostaddr ?? host}, port ${port}`
  return {
    number: '01',
    fix: [
      `check that PostgreSQL runs and listens on ${target}: pg_isready -h ${hostaddr ?? host} -p ${port}`,
    ],
  }
}

/** libpq's modes, with libpq's meaning: https://www.postgresql.org/docs/current/libpq-ssl.html */
export type SslMode = 'disable' | 'allow' | 'prefer' | 'require' | 'verify-ca' | 'verify-full'

/**
 * Which server of several will do, with libpq's meaning: `any` that answers, one that accepts writes, or one that is no
 * standby.
 */
export type TargetSessionAttrs = 'any' | 'read-write' | 'primary'

/** One server, one database, as libpq would understand the user's text and environment. */
export interface Conninfo {
  /** Host name, address, or the directory of a Unix socket (starts with `/`). */
  readonly host: string
  /** Address to connect to instead of looking `host` up; certificates are still checked against `host`. */
  readonly hostaddr?: string
  readonly port: number
  readonly user: string
  readonly database: string
  readonly sslmode: SslMode
  readonly sslrootcert?: string
  readonly sslcert?: string
  readonly sslkey?: string
  readonly targetSessionAttrs: TargetSessionAttrs
  /** Where the text names several servers: each of them, in order, the first one included. */
  readonly servers?: readonly Conninfo[]
  /** Seconds for each server; 0 waits for ever. */
  readonly connectTimeout: number
  /** `application_name` of the conninfo, if given. */
  readonly applicationName?: string
  /** A function, so that no log of the object shows it. Read again at every connection (passwords rotate). */
  readonly password: () => Promise<string | undefined>
  /** Why the passfile was not used (others may read it, …); undefined where there is nothing to warn of. */
  readonly passfileProblem?: () => Promise<string | undefined>
  /** `host:port/database as user`, with all hosts that are named; never a secret. */
  readonly display: string
}

import pg from 'pg'
import { ExitCode, FollowerError } from '../errors.ts'
import { failpoint } from '../failpoints.ts'
import type { Conninfo } from '../model/conninfo.ts'
import { pins } from './pins.ts'
import { isTransient, sqlstate } from './sqlstate.ts'

export type End = 'upstream' | 'downstream'

export interface ConnectOptions {
  readonly end: End
  readonly conninfo: Conninfo
  readonly applicationName: string
  /** A walsender of that database: https://www.postgresql.org/docs/current/protocol-replication.html */
  readonly replication?: boolean
  /** Gives up the attempt; a connection that is made already is not touched. */
  readonly signal?: AbortSignal
}

/**
 * Connects and pins the session's settings (pins.ts). Every value of a result is a string as PostgreSQL wrote
 * it, or null. Throws a FollowerError, exit 4 (upstream) or 5 (downstream), `transient` where a later attempt may
 * succeed; or the signal's reason. A lost connection shows as the failure of its next query, never as a crash.
 */
export async function connect(options: ConnectOptions): Promise<pg.Client> {
  const { conninfo, end } = options
  const client = new pg.Client({
    host: conninfo.host,
    port: conninfo.port,
    user: conninfo.user,
    database: conninfo.database,
    password: (async () => (await conninfo.password()) ?? '') as () => Promise<string>,
    ssl: false,
    application_name: options.applicationName,
    keepAlive: true,
    keepAliveInitialDelayMillis: 30_000,
    types: { getTypeParser: () => (value: string) => value },
    ...(options.replication ? { replication: 'database' } : {}),
  } as pg.ClientConfig)
  client.on('error', () => {})
  try {
    await client.connect()
    await failpoint(`connect.${end}`)
    await client.query(pins(end))
    return client
  } catch (error) {
    client.connection.end()
    throw new FollowerError(`cannot connect to ${end} ${conninfo.display}: ${(error as Error).message}`, {
      code: end === 'upstream' ? 'FLW-400' : 'FLW-500',
      exit: end === 'upstream' ? ExitCode.upstream : ExitCode.downstream,
      effect: 'nothing was changed',
      sqlstate: sqlstate(error),
      transient: isTransient(error),
      cause: error,
    })
  }
}

import type { Conninfo } from '../model/conninfo.ts'

export type End = 'upstream' | 'downstream'

export interface ConnectOptions {
  readonly end: End
  readonly conninfo: Conninfo
  readonly applicationName: string
  /** A walsender of that database: https://www.postgresql.org/docs/current/protocol-replication.html */
  readonly replication?: boolean
  /** Much will come in, and whoever takes its socket is done with the bytes when its call ends: not for a COPY that is handed on. */
  readonly bulk?: boolean
  /** Gives up the attempt; a connection that is made already is not touched. */
  readonly signal?: AbortSignal
}

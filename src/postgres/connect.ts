import type { EventEmitter } from 'node:events'
import pg from 'pg'
import { FollowerError } from '../errors.ts'
import type { Conninfo } from '../model/conninfo.ts'
import { ConnectTimeout, connectError, NoPassword, noServer, WrongServer } from './connect-error.ts'
import type { ConnectOptions } from './end.ts'
import { failpointOn } from './failpoint.ts'
import { pins } from './pins.ts'
import { refusePooler } from './pooler.ts'
import { bulkSocket, destroyClient } from './socket.ts'
import { socketErrno, sqlstate } from './sqlstate.ts'
import { isTlsFailure, type Transport, transports } from './tls.ts'

/** Idle time after which the kernel asks whether the other side still lives. */
const keepAliveMillis = 30_000

/**
 * Connects and pins the session's settings (pins.ts). Every value of a result is a string as PostgreSQL wrote
 * it, or null. Of several servers it takes the first that will do, in their order; as with libpq, one that answers and
 * refuses the login ends the search. Throws a FollowerError, exit 4 (upstream) or 5 (downstream), `transient` where a later
 * attempt may succeed; or the signal's reason. A lost connection shows as the failure of its next query, never as a crash.
 */
export async function connect(options: ConnectOptions): Promise<pg.Client> {
  const failures: FollowerError[] = []
  for (const conninfo of options.conninfo.servers ?? [options.conninfo])
    try {
      return await connectToServer({ ...options, conninfo })
    } catch (error) {
      if (!(error instanceof FollowerError)) throw error
      failures.push(error)
      if (!anotherServerMayDo(error)) break
    }
  throw failures.length === 1 ? failures[0] : noServer(failures, options)
}

/** Nobody answers there, the server is not ready, or it is not of the kind that is asked for. */
function anotherServerMayDo({ cause, sqlstate }: FollowerError): boolean {
  return (
    sqlstate === '57P03' ||
    cause instanceof WrongServer ||
    cause instanceof ConnectTimeout ||
    (socketErrno(cause) !== undefined && !isTlsFailure(cause))
  )
}

async function connectToServer(options: ConnectOptions): Promise<pg.Client> {
  let failure: { error: unknown; encrypted: boolean } | undefined
  for (const transport of await transportsOf(options)) {
    try {
      return await openSession(options, transport)
    } catch (error) {
      options.signal?.throwIfAborted()
      // What the server said of the first attempt says more than what it says of the fallback.
      if (failure === undefined || sqlstate(failure.error) === undefined)
        failure = { error, encrypted: transport !== false }
      if (!otherTransportMayHelp(error)) break
    }
  }
  throw connectError(failure?.error, options, failure?.encrypted ?? false)
}

async function transportsOf(options: ConnectOptions): Promise<readonly Transport[]> {
  try {
    return await transports(options.conninfo)
  } catch (error) {
    throw connectError(error, options, true)
  }
}

/** TLS is not offered or fails, or the server's rules want it otherwise (28000: no pg_hba.conf entry). */
function otherTransportMayHelp(error: unknown): boolean {
  return isTlsFailure(error) || sqlstate(error) === '28000'
}

async function openSession(options: ConnectOptions, transport: Transport): Promise<pg.Client> {
  const opened: pg.Client[] = []
  const open = async (): Promise<pg.Client> => {
    const client = createClient(options, transport)
    opened.push(client)
    const told = listenToStatus(client)
    await client.connect()
    checkTarget(options.conninfo, told)
    return client
  }
  const cut = (reason: Error): void => {
    for (const client of opened) destroyClient(client, reason)
  }
  const release = limit(options, cut)
  try {
    const client = await open()
    await failpointOn(`connect.${options.end}`, client)
    await client.query(pins(options.end))
    // A walsender is never lent: poolers either pass it through or refuse it.
    if (!options.replication) await refusePooler(client, open)
    return client
  } catch (error) {
    for (const client of opened) destroyClient(client)
    throw error
  } finally {
    release()
  }
}

/** What the server tells of itself at the beginning of a session (since PostgreSQL 14). */
function listenToStatus(client: pg.Client): ReadonlyMap<string, string> {
  const told = new Map<string, string>()
  const { connection } = client as unknown as { connection: EventEmitter }
  connection.on('parameterStatus', (status: { parameterName: string; parameterValue: string }) =>
    told.set(status.parameterName, status.parameterValue),
  )
  return told
}

/** https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-TARGET-SESSION-ATTRS */
function checkTarget({ targetSessionAttrs }: Conninfo, told: ReadonlyMap<string, string>): void {
  if (targetSessionAttrs === 'any') return
  if (told.get('in_hot_standby') === 'on') throw new WrongServer('the server is in hot standby mode')
  if (targetSessionAttrs === 'read-write' && told.get('default_transaction_read_only') === 'on')
    throw new WrongServer('the session is read-only')
}

/** Calls `cut` at the end of connect_timeout or by the signal, until released. Throws where it is too late already. */
function limit(options: ConnectOptions, cut: (reason: Error) => void): () => void {
  const { signal, conninfo } = options
  signal?.throwIfAborted()
  const abort = (): void => cut(new Error('given up'))
  signal?.addEventListener('abort', abort, { once: true })
  const seconds = conninfo.connectTimeout
  const timer =
    seconds === 0
      ? undefined
      : setTimeout(() => cut(new ConnectTimeout(`no session within ${seconds} s`)), seconds * 1000)
  return () => {
    clearTimeout(timer)
    signal?.removeEventListener('abort', abort)
  }
}

function createClient(options: ConnectOptions, transport: Transport): pg.Client {
  const { conninfo } = options
  const config: pg.ClientConfig & { readonly replication?: 'database' } = {
    host: conninfo.hostaddr ?? conninfo.host,
    port: conninfo.port,
    user: conninfo.user,
    database: conninfo.database,
    password: async () => (await conninfo.password()) ?? (await missingPassword(conninfo)),
    // Never left to pg, which reads the environment then and gives sslmode a meaning of its own.
    ssl: transport,
    sslnegotiation: 'postgres',
    application_name: options.applicationName,
    keepAlive: true,
    keepAliveInitialDelayMillis: keepAliveMillis,
    ...(options.bulk && transport === false && { stream: bulkSocket }),
    types: { getTypeParser: () => (value: string) => value },
    ...(options.replication ? { replication: 'database' } : {}),
  }
  const client = new pg.Client(config)
  // Without a listener the loss of an idle connection would end the process.
  client.on('error', () => {})
  return client
}

async function missingPassword(conninfo: Conninfo): Promise<never> {
  const problem = await conninfo.passfileProblem?.()
  throw new NoPassword(
    `the server asks for a password, and none was given${problem === undefined ? '' : ` (${problem})`}`,
  )
}

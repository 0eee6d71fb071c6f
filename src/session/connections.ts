import type pg from 'pg'
import { ExitCode, FollowerError } from '../errors.ts'
import type { FollowSettings } from '../model/follow.ts'
import { connect } from '../postgres/connect.ts'
import type { End } from '../postgres/end.ts'
import { destroyClient } from '../postgres/socket.ts'
import { lockHolder, lockKey } from '../provision/lock.ts'
import { askOne } from '../provision/query.ts'
import { requireSameServer } from '../provision/same-server.ts'
import type { Logger } from '../telemetry/log.ts'

/** The ordinary connections of one session. When any of them is lost, the session is over. */
export interface EndConnections {
  /** Downstream: holds the advisory lock and answers small questions; replays nothing. */
  readonly lock: pg.Client
  /** Downstream: applies. */
  readonly apply: pg.Client
  /** Upstream: an ordinary session. */
  readonly upstream: pg.Client
  /** Opens one more ordinary session upstream, until `leave`. */
  another(): Promise<pg.Client>
  /** Ends a connection: it is not lost. */
  leave(client: pg.Client): Promise<void>
  /** Opens the walsender, too: after the preflight, which says more than the server does of why there can be none. */
  withStream(): Promise<Connections>
  /** Closes what applies and what streams; the others stay. */
  release(): Promise<void>
  close(): Promise<void>
}

export interface Connections extends EndConnections {
  /** Upstream: the walsender. */
  readonly stream: pg.Client
}

const lockPollMs = 500

/**
 * Server processes that this program has had, by sessionKey. After a cut connection a server may keep its side of it for
 * minutes, with our lock and our slot: no other follower, and waited for even with --no-wait.
 */
export type PastSessions = Set<string>

export function sessionKey(end: End, pid: string | undefined): string {
  return `${end} ${pid}`
}

/** Opens the ordinary connections, downstream first; `lost` is called once when one of them goes away. `past` grows. */
export async function openConnections(
  settings: FollowSettings,
  log: Logger,
  signal: AbortSignal,
  past: PastSessions,
  lost: (end: End, error: Error) => void,
): Promise<EndConnections> {
  const open: pg.Client[] = []
  let closed = false
  const close = async (): Promise<void> => {
    closed = true
    for (const client of open) client.removeAllListeners('end')
    await Promise.all(open.map(endClient))
  }
  const add = async (
    end: End,
    how: { readonly replication?: boolean; readonly bulk?: boolean } = {},
  ): Promise<pg.Client> => {
    const conninfo = settings[end]
    const suffix = end === 'downstream' ? ':downstream' : ''
    const applicationName = settings.applicationName.slice(0, 63 - suffix.length) + suffix
    const client = await connect({ end, conninfo, applicationName, signal, ...how })
    if (closed) {
      await endClient(client)
      throw connectionLost(end, conninfo.display)
    }
    open.push(client)
    past.add(sessionKey(end, String((client as { processID?: number }).processID)))
    client.once('end', () => lost(end, connectionLost(end, conninfo.display)))
    return client
  }
  try {
    const lock = await add('downstream')
    await takeLock(lock, settings, log, signal, past)
    const apply = await add('downstream')
    await requireSameServer('downstream', lock, apply)
    const upstream = await add('upstream')
    const streams: pg.Client[] = []
    const release = async (): Promise<void> => {
      const clients = [apply, ...streams]
      for (const client of clients) client.removeAllListeners('end')
      await Promise.all(clients.map(endClient))
      for (const client of clients) open.splice(open.indexOf(client), 1)
    }
    const another = async (): Promise<pg.Client> => {
      const client = await add('upstream', { bulk: true })
      await requireSameServer('upstream', upstream, client)
      return client
    }
    const leave = async (client: pg.Client): Promise<void> => {
      client.removeAllListeners('end')
      if (open.includes(client)) open.splice(open.indexOf(client), 1)
      await endClient(client)
    }
    const ends = { lock, apply, upstream, another, leave, release, close }
    const withStream = async (): Promise<Connections> => {
      const stream = await add('upstream', { replication: true, bulk: true })
      streams.push(stream)
      await requireSameServer('upstream', upstream, stream)
      return { ...ends, withStream, stream }
    }
    return { ...ends, withStream }
  } catch (error) {
    await close()
    throw error
  }
}

/** Lets one daemon of a name work and the others wait. It does not fence: the epoch does (P8). */
async function takeLock(
  client: pg.Client,
  settings: FollowSettings,
  log: Logger,
  signal: AbortSignal,
  past: PastSessions,
): Promise<void> {
  const key = lockKey(settings.name)
  for (let told = false; ; told = true) {
    const row = await askOne(client, 'downstream', 'SELECT pg_try_advisory_lock($1) AS taken', [key])
    if (row?.taken === 't') return
    const holder = await lockHolder(client, 'downstream', key)
    const who = holder ? `pid ${holder.pid} (${holder.applicationName})` : 'another session'
    if (!settings.wait && !past.has(sessionKey('downstream', holder?.pid)))
      throw heldError(settings.name, `${who} holds its lock downstream`)
    if (!told)
      log.warn({ holder }, `another follower of "${settings.name}" is running: ${who}; waiting for its end`)
    await pause(lockPollMs, signal)
  }
}

export function heldError(name: string, detail: string): FollowerError {
  return new FollowerError(`another follower holds the follow "${name}"`, {
    code: 'FLW-231',
    exit: ExitCode.held,
    detail,
    effect: 'nothing was changed',
    fix: ['stop the other one, or give this one another --name; without --no-wait it waits'],
  })
}

function connectionLost(end: End, display: string): FollowerError {
  return new FollowerError(`the connection to ${end} ${display} was lost`, {
    code: end === 'upstream' ? 'FLW-410' : 'FLW-511',
    exit: end === 'upstream' ? ExitCode.upstream : ExitCode.downstream,
    effect: 'what was not committed is rolled back and applied again after reconnecting',
    transient: true,
  })
}

/** Waits, or rejects with the signal's reason as soon as it is aborted. */
export function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason)
    const stop = (): void => {
      clearTimeout(timer)
      reject(signal.reason)
    }
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', stop)
      resolve()
    }, milliseconds)
    signal.addEventListener('abort', stop, { once: true })
  })
}

/** Says farewell, but not for long: a server that does not answer keeps nothing of ours. */
async function endClient(client: pg.Client): Promise<void> {
  const timer = setTimeout(() => destroyClient(client), 1000)
  try {
    await client.end()
  } catch {
    // It was gone already.
  } finally {
    clearTimeout(timer)
  }
}

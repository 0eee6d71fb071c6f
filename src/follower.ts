import { ExitCode, FollowerError } from './errors.ts'
import type { FollowSettings } from './model/follow.ts'
import type { Lsn } from './model/lsn.ts'
import { isRefusedLogin } from './postgres/connect-error.ts'
import { isTransient, sqlstate } from './postgres/sqlstate.ts'
import type { Prepared } from './provision/prepare.ts'
import { openConnections, type PastSessions, pause } from './session/connections.ts'
import { type PrepareContext, prepareEnds, resolveUntil } from './session/context.ts'
import { runSession } from './session/session.ts'
import type { ToldTables } from './session/unpublished.ts'
import type { Health } from './telemetry/health.ts'
import type { Logger } from './telemetry/log.ts'
import { failureReason, type Metrics } from './telemetry/metrics.ts'

export interface FollowDependencies {
  readonly log: Logger
  readonly metrics: Metrics
  readonly health: Health
  /** Aborted: finish the batch in hand, acknowledge, end. */
  readonly stop: AbortSignal
}

const firstDelayMs = 200
const longestDelayMs = 30_000

/** Full jitter above half of the doubled delay: many daemons must not come back at once. */
export function backoff(attempt: number, random: number): number {
  const full = Math.min(longestDelayMs, firstDelayMs * 2 ** Math.min(attempt - 1, 20))
  return full / 2 + (full / 2) * random
}

/**
 * Follows until told to stop or until `--until` is reached (resolves), or until something needs a person
 * (rejects with a FollowerError). Whatever passes by itself is waited for: a session that ends so is begun
 * again from the progress row, for ever; sooner where the last one moved the position or lasted, since what fails
 * at once would fail at once again. Only before the first session an unreachable end is an error at
 * once, since it is most likely a typing error.
 */
export async function runFollow(settings: FollowSettings, deps: FollowDependencies): Promise<void> {
  const { log, metrics, health, stop } = deps
  const memory: Memory = {
    prepared: undefined,
    until: undefined,
    followed: false,
    past: new Set(),
    told: new Set(),
  }
  for (let attempt = 1; !stop.aborted; attempt++) {
    let since = Number.POSITIVE_INFINITY
    try {
      await oneSession(settings, deps, memory, {
        started: () => {
          since = performance.now()
          memory.followed = true
          metrics.retryAttempt.set({ side: 'upstream' }, 0)
          metrics.retryAttempt.set({ side: 'downstream' }, 0)
        },
        progressed: () => {
          attempt = 0
        },
      })
      return
    } catch (error) {
      if (stop.aborted) return
      if (performance.now() - since > longestDelayMs) attempt = 0
      if (!mayRetry(error, memory.followed)) {
        health.set('halted', (error as Error).message)
        countError(metrics, settings.name, error, 'halt')
        throw error
      }
      const side =
        error instanceof FollowerError && error.exit === ExitCode.downstream ? 'downstream' : 'upstream'
      health.waiting = undefined
      const delay = backoff(Math.max(1, attempt), Math.random())
      health.set('retrying', (error as Error).message)
      health.beat()
      if (side === 'downstream') countError(metrics, settings.name, error, 'retry')
      metrics.reconnects.inc({ side, reason: failureReason(error) })
      metrics.retryAttempt.set({ side }, Math.max(1, attempt))
      // An error that repeats is said once, then at every power of two.
      const loud = attempt < 2 || (attempt & (attempt - 1)) === 0
      log[loud ? 'warn' : 'debug'](
        { err: error, attempt: Math.max(1, attempt), next_attempt_in_seconds: delay / 1000 },
        (error as Error).message,
      )
      try {
        await pause(delay, stop)
      } catch {
        return
      }
    }
  }
}

function countError(metrics: Metrics, downstream: string, error: unknown, action: 'retry' | 'halt'): void {
  metrics.applyErrors.inc({ downstream, class: sqlstate(error)?.slice(0, 2) ?? 'none', action })
}

/** What is kept between the sessions of one process. */
interface Memory {
  prepared: Prepared | undefined
  until: Lsn | undefined
  followed: boolean
  readonly past: PastSessions
  readonly told: ToldTables
}

async function oneSession(
  settings: FollowSettings,
  deps: FollowDependencies,
  memory: Memory,
  told: { started(): void; progressed(): void },
): Promise<void> {
  const { log, metrics, health, stop } = deps
  const { past, told: toldTables } = memory
  const lost = new AbortController()
  // It may wait for another follower's end, or for a slot that old transactions keep from being made.
  health.waiting = 'the other follower, or an open transaction upstream'
  const connections = await openConnections(settings, log, stop, past, (end, error) => {
    // The session goes on until the batch in hand is done, which may wait for a lock for hours: not ready meanwhile.
    if (end === 'upstream') health.upstreamConnected = false
    else health.downstreamConnected = false
    lost.abort(error)
  })
  health.upstreamConnected = true
  health.downstreamConnected = true
  metrics.upstreamUp.set(1)
  metrics.downstreamUp.set({ downstream: settings.name }, 1)
  // Creating a slot may wait for hours; the wish to stop does not. Once the stream runs, the session knows better.
  const giveUp = (): void => void connections.close()
  stop.addEventListener('abort', giveUp, { once: true })
  try {
    const context: PrepareContext = {
      settings,
      connections,
      past,
      toldTables,
      log,
      metrics,
      health,
      stop,
      lost: lost.signal,
    }
    memory.prepared ??= await prepareEnds(context)
    memory.until ??= await resolveUntil(context)
    const session = {
      ...context,
      connections: await connections.withStream(),
      progressed: told.progressed,
    }
    await runSession(session, memory.prepared, memory.until, () => {
      stop.removeEventListener('abort', giveUp)
      health.waiting = undefined
      told.started()
    })
  } finally {
    stop.removeEventListener('abort', giveUp)
    health.waiting = undefined
    health.upstreamConnected = false
    health.downstreamConnected = false
    metrics.upstreamUp.set(0)
    metrics.downstreamUp.set({ downstream: settings.name }, 0)
    await connections.close()
  }
}

/** Before the first session only a server that is just starting, or a slot that is just being freed, is waited for. */
function mayRetry(error: unknown, followed: boolean): boolean {
  if (followed && isRefusedLogin(error)) return true
  if (!isTransient(error)) return false
  if (followed) return true
  const state = sqlstate(error)
  return state === '57P03' || state === '55006' || state === '55P03'
}

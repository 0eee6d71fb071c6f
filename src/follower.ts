import { TextWanted } from './apply/text-wanted.ts'
import { ExitCode, FollowerError } from './errors.ts'
import type { FollowSettings } from './model/follow.ts'
import type { Lsn } from './model/lsn.ts'
import { isRefusedLogin } from './postgres/connect-error.ts'
import { isShutdown, isTransient, sqlstate } from './postgres/sqlstate.ts'
import { knownTables } from './provision/late.ts'
import type { Position } from './provision/position.ts'
import type { Prepared } from './provision/prepare.ts'
import { waitingTables } from './provision/progress.ts'
import type { Snapshot } from './provision/snapshot.ts'
import { openConnections, type PastSessions, pause } from './session/connections.ts'
import { type PrepareContext, prepareEnds, resolveUntil } from './session/context.ts'
import { copyWaiting } from './session/copy.ts'
import { catchUp } from './session/copy-online.ts'
import { leftWaves } from './session/copy-steps.ts'
import { type Halts, halt, halts, record, requireOwn, withWaysOn } from './session/halt.ts'
import { PullMemory } from './session/pull-memory.ts'
import { runSession } from './session/session.ts'
import { dueStatistics, gatherStatistics } from './session/statistics.ts'
import { StreamMemory } from './session/stream-memory.ts'
import type { ToldTables } from './session/unpublished.ts'
import { Values } from './session/values.ts'
import type { Health } from './telemetry/health.ts'
import type { Logger } from './telemetry/log.ts'
import { failureReason, type Metrics } from './telemetry/metrics.ts'
import { Repeats } from './telemetry/repeats.ts'
import type { Screen } from './telemetry/screen.ts'

export interface FollowDependencies {
  readonly log: Logger
  readonly metrics: Metrics
  readonly health: Health
  /** Aborted: finish the batch in hand, acknowledge, end. */
  readonly stop: AbortSignal
  /** Where somebody looks: shows how far a copy is. */
  readonly screen?: Screen | undefined
}

const firstDelayMs = 200
const longestDelayMs = 30_000

/** Full jitter above half of the doubled delay: many daemons must not come back at once. */
export function backoff(attempt: number, random: number): number {
  const full = Math.min(longestDelayMs, firstDelayMs * 2 ** Math.min(attempt - 1, 20))
  return full / 2 + (full / 2) * random
}

/** Attempts without progress after which transactions are tried one by one: all before the one at fault get through. */
const oneByOneAfter = 2

/** The follow was halted, and it is time to try again. */
class Halted extends Error {}

/**
 * Follows until told to stop or until `--until` is reached (resolves), or until something needs a person
 * (rejects with a FollowerError). What can't be applied needs one, too, but the follow only halts: it tries again seldom,
 * and at once when told to, unless `--on-error exit`. Whatever passes by itself is waited for: a session that ends so is begun
 * again from the progress row, for ever; sooner where the last one moved the position or lasted, since what fails
 * at once would fail at once again. Only before the first session an end that was never reached is an error at
 * once, since it is most likely a typing error.
 */
export async function runFollow(settings: FollowSettings, deps: FollowDependencies): Promise<void> {
  const { log, metrics, health, stop } = deps
  const memory: Memory = {
    prepared: undefined,
    until: undefined,
    ...{ reached: false, followed: false },
    past: new Set(),
    told: new Set(),
    streams: new StreamMemory(),
    halts: { at: '', attempt: 0 },
    pulling: new PullMemory(),
    quiet: false,
    values: new Values(settings),
  }
  const repeats = new Repeats()
  for (let attempt = 1; !stop.aborted; attempt++) {
    let since = Number.POSITIVE_INFINITY
    try {
      const over = await oneSession(settings, deps, memory, {
        oneByOne: attempt > oneByOneAfter,
        started: () => {
          since = performance.now()
          memory.followed = true
          metrics.retryAttempt.set({ side: 'upstream' }, 0)
          metrics.retryAttempt.set({ side: 'downstream' }, 0)
        },
        progressed: () => {
          attempt = 0
          health.resume()
        },
      })
      if (over) return
      attempt = 0
    } catch (error) {
      if (stop.aborted) return
      if (error instanceof Halted) {
        attempt = 0
        memory.quiet = true
        continue
      }
      if (error instanceof TextWanted) {
        const now = performance.now()
        if (now - since > longestDelayMs) attempt = 0
        memory.values.want(error, now)
        memory.quiet = true
        log.info({ reason: error.message }, 'values are asked for as text, in place of binary')
        continue
      }
      if (performance.now() - since > longestDelayMs) attempt = 0
      if (!mayRetry(error, memory)) {
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
      const { count, loud } = repeats.count(`${side} ${failureReason(error)}`, performance.now())
      memory.quiet = !loud
      log[loud ? 'warn' : 'debug'](
        {
          ...{ err: error, attempt: Math.max(1, attempt), next_attempt_in_seconds: delay / 1000 },
          ...(count > 1 && { times: count }),
        },
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
  /** Both ends have let us in. */
  reached: boolean
  followed: boolean
  readonly past: PastSessions
  readonly told: ToldTables
  readonly streams: StreamMemory
  readonly halts: Halts
  readonly pulling: PullMemory
  /** The last session ended in a way that was said often enough: so is that another one begins. */
  quiet: boolean
  readonly values: Values
}

/** Resolves with false where tables are to be copied, and after that: what follows from there is another session. */
async function oneSession(
  settings: FollowSettings,
  deps: FollowDependencies,
  memory: Memory,
  told: { started(): void; progressed(): void; readonly oneByOne: boolean },
): Promise<boolean> {
  const { log, metrics, health, stop } = deps
  const { past, told: toldTables, streams } = memory
  let lost = new AbortController()
  // It may wait for another follower's end, or for a slot that old transactions keep from being made.
  health.waiting = 'the other follower, or an open transaction upstream'
  const connections = await openConnections(settings, log, stop, past, (end, error) => {
    // The session goes on until the batch in hand is done, which may wait for a lock for hours: not ready meanwhile.
    if (end === 'upstream') health.upstreamConnected = false
    else health.downstreamConnected = false
    lost.abort(error)
  })
  memory.reached = true
  health.upstreamConnected = true
  health.downstreamConnected = true
  metrics.upstreamUp.set(1)
  metrics.downstreamUp.set({ downstream: settings.name }, 1)
  // Creating a slot may wait for hours; the wish to stop does not. Once the stream runs, the session knows better.
  const giveUp = (): void => void connections.close()
  stop.addEventListener('abort', giveUp, { once: true })
  const context: PrepareContext = {
    ...{ settings, connections, past, toldTables, streams },
    ...{ log, metrics, health, stop, lost: lost.signal, screen: deps.screen },
  }
  let position: Position | undefined
  let snapshot: Snapshot | undefined
  const over = new AbortController()
  try {
    const started = (): void => {
      stop.removeEventListener('abort', giveUp)
      health.waiting = undefined
      told.started()
    }
    const start = memory.prepared ? undefined : await prepareEnds(context)
    snapshot = start?.snapshot
    memory.prepared ??= start?.prepared
    const { prepared } = memory
    if (!prepared) throw new Error('nothing is prepared')
    const waiting = await waitingTables(connections.lock, settings.name)
    const known = await knownTables(connections.lock, settings.name)
    const follow = {
      ...context,
      ...{ waiting, known },
      positioned: (taken: Position) => {
        position = taken
      },
      progressed: told.progressed,
      oneByOne: told.oneByOne,
      loud: !memory.quiet,
      values: memory.values,
    }
    if (await catchUp(follow, prepared, started)) return stop.aborted
    const steps = await leftWaves(connections.lock, settings.name)
    if (snapshot || waiting.size > 0 || steps.size > 0) {
      await copyWaiting(follow, prepared, snapshot, started)
      return stop.aborted
    }
    memory.until ??= await resolveUntil(context)
    const session = { ...follow, pulling: memory.pulling, connections: await connections.withStream() }
    const due = await dueStatistics(follow)
    const statistics = gatherStatistics(follow, due, AbortSignal.any([over.signal, stop]))
    const end = await runSession(session, prepared, memory.until, started)
    if (end === 'reached') await statistics
    return end !== 'copy' && end !== 'again'
  } catch (error) {
    const asText = error instanceof TextWanted
    if (stop.aborted || !(halts(error) || asText) || !position) throw error
    // What another follower has applied already fails here, too, and is its own then.
    await requireOwn(connections.lock, settings.name, position.epoch, lost.signal)
    if (asText) throw error
    const complete = withWaysOn(error, settings)
    await connections.release()
    if (settings.onError === 'exit') {
      await record(context, position.epoch, complete)
      throw complete
    }
    countError(metrics, settings.name, error, 'halt')
    health.waiting = undefined
    // What was lost so far was what streams; from here on it is one of the two that stay.
    lost = new AbortController()
    // To try one transaction needs no window of a hundred thousand.
    memory.pulling.rest()
    await halt({ ...context, lost: lost.signal }, position, complete, memory.halts)
    throw new Halted()
  } finally {
    over.abort()
    stop.removeEventListener('abort', giveUp)
    health.waiting = undefined
    health.upstreamConnected = false
    health.downstreamConnected = false
    metrics.upstreamUp.set(0)
    metrics.downstreamUp.set({ downstream: settings.name }, 0)
    await snapshot?.close()
    await connections.close()
  }
}

/** Before the first session only a server that is just starting, a slot that is just being freed, or an end that was there and went away is waited for. */
function mayRetry(error: unknown, { reached, followed }: Memory): boolean {
  if (followed && isRefusedLogin(error)) return true
  if (!isTransient(error)) return false
  const state = sqlstate(error)
  if (followed || state === '57P03' || state === '55006' || state === '55P03') return true
  return reached && (state === undefined || isShutdown(state) || state.startsWith('08'))
}

import type pg from 'pg'
import { downstreamLost, fencedError } from '../apply/errors.ts'
import { ExitCode, FollowerError } from '../errors.ts'
import type { FollowSettings } from '../model/follow.ts'
import { isTransient, sqlstate } from '../postgres/sqlstate.ts'
import { Tracker } from '../progress/tracker.ts'
import { recordIncident, wasAsked } from '../provision/incidents.ts'
import type { Position } from '../provision/position.ts'
import { Health } from '../telemetry/health.ts'
import { pause } from './connections.ts'
import type { PrepareContext } from './context.ts'
import { Observer } from './observe.ts'

const firstDelayMs = 5_000
const longestDelayMs = 300_000
/** How often the downstream is asked whether a person has said something. */
const pollMs = 500

/** A server that leaves a small question without an answer for so long is gone. */
const silentMs = 30_000

async function answered<T>(question: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const silence = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('the downstream does not answer')), silentMs)
  })
  try {
    return await Promise.race([question, silence])
  } finally {
    clearTimeout(timer)
  }
}

/** Milliseconds until a follow that needs a person tries again by itself: somebody may have removed the cause. */
export function haltDelay(attempt: number): number {
  return Math.min(longestDelayMs, firstDelayMs * 2 ** Math.min(attempt - 1, 20))
}

/** Whether an error is one that a person has to remedy while the follow waits. */
export function halts(error: unknown): error is FollowerError {
  return error instanceof FollowerError && error.exit === ExitCode.apply && !error.transient
}

/** The error, with the ways on from it. */
export function withWaysOn(error: FollowerError, { name, onError }: FollowSettings): FollowerError {
  const { lsn, xid } = error.context
  const again = onError === 'halt' ? `follower retry --name ${name} …` : `follower start --name ${name} …`
  const when = onError === 'halt' ? 'at once; without it, within five minutes' : 'goes on from here'
  return new FollowerError(error.message, {
    ...error,
    fix: [
      ...error.fix,
      `then  ${again}   # ${when}`,
      ...(lsn === undefined || xid === undefined
        ? []
        : [
            `or leave this transaction out, for good:  follower skip --name ${name} --lsn ${lsn} --reason "…"`,
          ]),
    ],
    cause: error.cause,
  })
}

/**
 * Only who still has the follow may say that something can't be applied: where another follower has applied it already, the same
 * statements fail, too. Throws what is true instead: that the follow was taken, or (`lost`) that nobody can tell.
 */
export async function requireOwn(
  lock: pg.Client,
  name: string,
  epoch: bigint,
  lost: AbortSignal,
): Promise<void> {
  try {
    const { rows } = await answered(
      lock.query<{ epoch: string }>('SELECT epoch FROM follower.progress WHERE name = $1', [name]),
    )
    if (rows[0]?.epoch === String(epoch)) return
  } catch (problem) {
    // A server's refusal does not mean that it is gone: what failed is told as it is.
    if (sqlstate(problem) !== undefined && !isTransient(problem)) return
    throw lost.aborted ? lost.reason : downstreamLost(problem)
  }
  throw fencedError()
}

/** How often in a row the follow has stopped at one place. */
export interface Halts {
  at: string
  attempt: number
}

async function upstreamEnd(upstream: pg.Client): Promise<string | undefined> {
  const { rows } = await upstream.query<{ lsn: string }>('SELECT pg_current_wal_flush_lsn() AS lsn')
  return rows[0]?.lsn
}

/**
 * Records the incident downstream. A downstream that can't take that does not hide what happened: it is a warning, and the
 * next attempt records it.
 */
export async function record(
  { connections, settings, log }: PrepareContext,
  epoch: bigint,
  error: FollowerError,
): Promise<{ readonly id: string; readonly retriesAsked: string } | undefined> {
  try {
    const end = await answered(upstreamEnd(connections.upstream)).catch(() => undefined)
    return await answered(recordIncident(connections.lock, settings.name, epoch, error, end))
  } catch (problem) {
    log.warn({ err: problem }, 'the incident could not be recorded downstream')
    return undefined
  }
}

/**
 * Waits for the remedy of an error that needs a person: until `follower retry` or `follower skip` is said, or a while is
 * over. The lock and the look at the slot go on meanwhile, over connections without their streams. Resolves early where the
 * process is to stop or a connection is lost. Throws what ends the follow meanwhile: a slot that is lost.
 */
export async function halt(
  context: PrepareContext,
  position: Position,
  error: FollowerError,
  halts: Halts,
): Promise<void> {
  const { connections, settings, metrics, health, log, stop, lost } = context
  const at = `${error.context.lsn ?? ''} ${error.code}`
  halts.attempt = halts.at === at ? halts.attempt + 1 : 1
  halts.at = at
  const incident = await record(context, position.epoch, error)
  const delay = haltDelay(halts.attempt)
  const loud = (halts.attempt & (halts.attempt - 1)) === 0
  log[loud ? 'error' : 'debug'](
    {
      ...{ err: error, code: error.code, incident: incident && Number(incident.id) },
      ...{ attempt: halts.attempt, next_attempt_in_seconds: delay / 1000 },
    },
    `halted: ${error.message}`,
  )
  health.halt(error.message)
  const ended = new AbortController()
  const observer = new Observer({
    ...{ upstream: connections.upstream, settings, metrics, log },
    tracker: new Tracker(position.lsn),
    health: new Health(),
    waiting: () => {},
    failed: (reason) => ended.abort(reason),
  })
  const end = AbortSignal.any([stop, lost, ended.signal])
  try {
    const over = performance.now() + delay
    while (performance.now() < over) {
      health.beat()
      await pause(pollMs, end)
      if (incident && (await answered(wasAsked(connections.lock, incident)))) return
    }
  } catch (reason) {
    if (ended.signal.aborted && reason instanceof FollowerError && !reason.transient) throw reason
    // A connection that is lost, or a wish to stop: whoever called knows what comes next.
  } finally {
    observer.close()
  }
}

export type FollowState = 'starting' | 'catchup' | 'streaming' | 'halted' | 'retrying' | 'stopping'

/** One line of /livez or /readyz. */
export interface Check {
  readonly name: string
  readonly ok: boolean
  readonly detail: string
}

/** Milliseconds without a beat after which a pipeline that should move counts as wedged. */
const beatLimit = 60_000

/**
 * What the pipeline says of itself, and what the probes make of it. Plain fields, written by the pipeline.
 *
 * Liveness asks "would a restart help": it never looks at a database. Readiness asks "is it following".
 * A blocked event loop can't answer a probe at all, which fails it too.
 */
export class Health {
  state: FollowState = 'starting'
  upstreamConnected = false
  downstreamConnected = false
  /** Of the slot's wal_status and invalidation; undefined before the first look. */
  slotHealthy: boolean | undefined
  /** Age in seconds of the oldest commit received and not applied. */
  lagSeconds: number | undefined
  /**
   * What the pipeline rightly waits for without a beat of its own, such as `a statement of the downstream`
   * (a replayed CREATE INDEX may take hours). While set, no beat is expected.
   */
  waiting: string | undefined
  /** Why the state is halted or retrying: the error's code and first line. */
  problem: string | undefined
  /** Called at every change of state. */
  onState: ((state: FollowState) => void) | undefined
  private beatAt = performance.now()
  /** What stopped the follow; set until the position moves again, also while it is tried. */
  private stopped: string | undefined

  /** Enters a state; `problem` says why where the state is halted or retrying. To be in it still is no beat. */
  set(wanted: FollowState, reason?: string): void {
    const halted = this.stopped !== undefined && (wanted === 'streaming' || wanted === 'catchup')
    const state = halted ? 'halted' : wanted
    const problem = halted ? this.stopped : reason
    const changed = state !== this.state
    this.state = state
    this.problem = problem
    if (!changed) return
    this.beat()
    this.onState?.(state)
  }

  /** A transaction can't be applied. An attempt to is not yet following: `resume` says when it is. */
  halt(problem: string): void {
    this.stopped = problem
    this.set('halted', problem)
  }

  /** The position has moved. */
  resume(): void {
    if (this.stopped === undefined) return
    this.stopped = undefined
    this.set('streaming')
  }

  /** The pipeline moved, or looked and rightly had nothing to do. At least every 10 s. */
  beat(): void {
    this.beatAt = performance.now()
  }

  /** False where the pipeline is wedged. `now` is monotonic, in milliseconds (performance.now()). */
  live(now: number = performance.now()): boolean {
    return this.liveChecks(now).every((check) => check.ok)
  }

  liveChecks(now: number = performance.now()): readonly Check[] {
    const silent = now - this.beatAt
    const expected = this.waiting === undefined
    const seconds = `${Math.round(silent / 1000)} s since the last beat`
    return [
      {
        name: 'pipeline',
        ok: !expected || silent <= beatLimit,
        detail: this.waiting === undefined ? `${this.state}, ${seconds}` : `waits for ${this.waiting}`,
      },
    ]
  }

  get following(): boolean {
    return this.state === 'streaming' || this.state === 'catchup'
  }

  /** State, lag and problem, in one line. */
  get summary(): string {
    const lag = this.lagSeconds === undefined ? '' : `, lag ${this.lagSeconds.toFixed(1)} s`
    return `${this.state}${lag}${this.problem === undefined ? '' : `: ${this.problem}`}`
  }

  /** Named checks; ready where all are ok. */
  ready(): readonly Check[] {
    return [
      { name: 'state', ok: this.following, detail: this.summary },
      connection('upstream', this.upstreamConnected),
      connection('downstream', this.downstreamConnected),
      {
        name: 'slot',
        ok: this.slotHealthy === true,
        detail:
          this.slotHealthy === undefined
            ? 'not seen yet'
            : this.slotHealthy
              ? 'healthy'
              : 'in danger or lost',
      },
    ]
  }
}

function connection(name: string, connected: boolean): Check {
  return { name, ok: connected, detail: connected ? 'connected' : 'not connected' }
}

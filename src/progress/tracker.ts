import type { Lsn } from '../model/lsn.ts'

/** Shortest time between two moves of the row while somebody waits: at most about 10 a second. */
const promptMs = 100
/** While nobody waits, an idle upstream's position is written this seldom. */
const seldomMs = 10_000

/**
 * The positions of one session, and what may be done with them. Pure: no clock, no socket.
 *
 * P2: `durable` is all that may be acknowledged. P6: a position that was seen in a keepalive, or at the end
 * of a commit that changed nothing followed, counts only when no received commit is unapplied.
 */
export class Tracker {
  /** What the progress row holds, committed. */
  applied: Lsn
  /** What the downstream can no longer lose. */
  durable: Lsn
  /** Everything up to here has been received. */
  seen: Lsn
  /** Something is applied whose commit has not arrived. */
  atWork = false
  private pending = 0
  private lastMove = Number.NEGATIVE_INFINITY
  private asked = false

  constructor(position: Lsn) {
    this.applied = position
    this.durable = position
    this.seen = position
  }

  get unapplied(): number {
    return this.pending
  }

  /** Whether there is something to do for the downstream. */
  get busy(): boolean {
    return this.pending > 0 || this.atWork
  }

  /** A commit was received that has to be applied. */
  received(): void {
    this.pending++
  }

  /** Everything before `lsn` has been received, and what had to be applied is counted as `received`. */
  passed(lsn: Lsn, replyRequested: boolean): void {
    if (lsn > this.seen) this.seen = lsn
    if (replyRequested) this.asked = true
  }

  /** `count` received commits are committed downstream, the last of them ending at `lsn`. */
  committed(count: number, lsn: Lsn): void {
    this.pending -= count
    if (lsn > this.applied) this.applied = lsn
    if (lsn > this.seen) this.seen = lsn
  }

  /** The row has been moved to an idle position at `now` (ms). */
  moved(lsn: Lsn, now: number): void {
    if (lsn > this.applied) this.applied = lsn
    this.lastMove = now
    this.asked = false
  }

  /**
   * The position that the row should take now, where nothing is unapplied; or how many ms to wait until then;
   * or undefined where there is nothing to move. `waiting`: somebody upstream may wait for it.
   */
  move(now: number, waiting: boolean): { readonly lsn: Lsn } | { readonly inMs: number } | undefined {
    if (this.pending > 0 || this.seen <= this.applied) return undefined
    const due = this.lastMove + (waiting || this.asked ? promptMs : seldomMs)
    return now >= due ? { lsn: this.seen } : { inMs: due - now }
  }
}

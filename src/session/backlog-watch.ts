import type { Lsn } from '../model/lsn.ts'
import type { Flow } from '../stream/flow.ts'
import type { Receiver } from '../stream/receiver.ts'
import type { Assembler } from '../transaction/assembler.ts'
import { nearBytes, pullFrom } from './pull-size.ts'
import type { Pump } from './pump.ts'

/** Much more than what makes a session begin by pulling: going back and forth costs both ends. */
const factor = 4n
/** For so long it has to be so, at every look. */
const patienceMs = 10_000
/** A stream is given so long to catch up by itself. */
const leastStreamMs = 30_000

/**
 * Sees a stream fall far behind though nothing here holds it back: then it is the walsender that is slow, and a session that pulls comes nearer.
 * Calls `stop` once.
 */
export class BacklogWatch {
  /** It is so: the session ends for that. */
  found = false
  private since: number | undefined
  private streamingSince: number | undefined
  private heldMs = 0
  private received: Lsn | undefined
  private readonly options: {
    readonly flow: Flow
    readonly receiver: Receiver
    readonly assembler: Assembler
    readonly pump: Pump
    readonly mayPull: () => boolean
    readonly stop: () => void
  }

  constructor(options: BacklogWatch['options']) {
    this.options = options
  }

  /** `seen`: the upstream has said that everything before it was sent. */
  look(walEnd: Lsn, seen: Lsn, now: number = performance.now()): void {
    const { receiver, stop, mayPull } = this.options
    if (!receiver.isStreaming || this.found) return
    this.streamingSince ??= now
    if (!this.isBehind(walEnd, seen)) this.since = undefined
    else this.since ??= now
    if (this.since === undefined || now - this.since < patienceMs) return
    if (now - this.streamingSince < leastStreamMs || !mayPull()) return
    this.found = true
    stop()
  }

  private isBehind(walEnd: Lsn, seen: Lsn): boolean {
    const { flow, assembler, pump } = this.options
    const held = flow.heldMs
    const wasHeld = flow.isHeld || held > this.heldMs
    this.heldMs = held
    const received = assembler.received > seen ? assembler.received : seen
    // One transaction arrives since the last look: it has no position yet.
    const isLarge = assembler.inTransaction && received === this.received
    this.received = received
    // Where commits wait for us, their stream is not cut.
    if (wasHeld || isLarge || pump.waiting) return false
    return walEnd - received > factor * (pullFrom > nearBytes ? pullFrom : nearBytes)
  }
}

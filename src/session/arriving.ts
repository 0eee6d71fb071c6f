import type { ArrivingTransaction } from '../apply/arriving.ts'
import type { Transaction } from '../model/changes.ts'
import type { Tracker } from '../progress/tracker.ts'
import type { OpenTransaction } from '../transaction/open.ts'
import { Parts } from '../transaction/parts.ts'

/** Fewer bytes are not sent downstream as long as more arrives. */
const minBytes = Math.min(Number(process.env.FOLLOWER_ARRIVING_FROM ?? Number.POSITIVE_INFINITY), 1024 * 1024)

/** So long an upstream transaction that is not committed may do nothing until its locks downstream are given back. */
const patienceMs = 5000

/** What the pump knows besides. */
export interface ArrivingPort {
  readonly tracker: Tracker
  /** Bytes that may wait to be handed out. */
  readonly most: number
  /** Why it is not to be applied any further before its turn; undefined where it is. Throws what ends the session. */
  over(transaction: OpenTransaction): string | undefined
  /** Until something has changed, or so long. */
  sleep(milliseconds: number | undefined): Promise<void>
  /** Takes it out of the queue, whose first one it is. */
  take(): void
  /** The upstream is held back, since what has arrived is not handed out as quickly; or no longer. */
  hold(held: boolean): void
  /** Nothing goes on from it in this session: it is given up, and not all of it is kept. */
  askAgain(transaction: OpenTransaction, reason: string): void
  /** Nothing of it is at work any more. */
  left(): void
}

/** Hands out a transaction part by part while it arrives. */
export class Arriving implements ArrivingTransaction {
  readonly transaction: OpenTransaction
  private readonly port: ArrivingPort
  private readonly parts: Parts
  private impatient = false
  /** How much had come when it was waited for last, and since when it is no more. */
  private bytes = 0
  private quietSince = 0

  constructor(transaction: OpenTransaction, port: ArrivingPort) {
    this.transaction = transaction
    this.port = port
    this.parts = new Parts(transaction)
  }

  async more(pending: () => Promise<void> | undefined): Promise<Transaction | undefined> {
    const { transaction, port } = this
    for (;;) {
      if (this.over !== undefined) return undefined
      const part = this.parts.next(transaction.committed ? 0 : minBytes)
      // What waits for more holds nothing back.
      if (part) this.grows()
      else port.hold(false)
      const first = part ? undefined : pending()
      if (first !== undefined) {
        // Meanwhile more may have come. Without it nothing comes between this look and the sleep, which would miss it.
        await first
        continue
      }
      port.tracker.atWork = part !== undefined
      if (part || transaction.committed) return part
      await this.wait()
    }
  }

  /** For the rest of what is committed as long as it takes. */
  private async wait(): Promise<void> {
    const { transaction, port } = this
    if (transaction.commitLsn !== 0n) return port.sleep(undefined)
    const { bytes } = transaction
    if (bytes !== this.bytes) this.quietSince = performance.now()
    this.bytes = bytes
    const until = this.quietSince + patienceMs
    await port.sleep(Math.max(1, until - performance.now()))
    this.impatient = transaction.bytes === bytes && performance.now() >= until
  }

  get over(): string | undefined {
    const over = this.port.over(this.transaction)
    return over === undefined && this.impatient && !this.transaction.committed
      ? 'the upstream does something else'
      : over
  }

  /** More has come, or was handed out: what waits for that stays below what goes to disk, where nothing else arrives. */
  grows(): void {
    const { transaction, port } = this
    const { inHand, forgets, committed, ahead } = transaction
    port.hold(inHand && forgets && !committed && ahead > port.most)
  }

  get incomplete(): boolean {
    return this.transaction.incomplete && !this.transaction.dropped
  }

  take(): void {
    this.port.take()
  }

  askAgain(reason: string): void {
    this.port.askAgain(this.transaction, reason)
  }

  leave(): void {
    const { transaction, port } = this
    transaction.inHand = false
    port.hold(false)
    port.left()
    port.tracker.atWork = false
    if (transaction.dropped) transaction.release()
  }
}

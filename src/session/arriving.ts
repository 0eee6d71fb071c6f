import type { ArrivingTransaction } from '../apply/arriving.ts'
import type { Transaction } from '../model/changes.ts'
import type { Tracker } from '../progress/tracker.ts'
import type { OpenTransaction } from '../transaction/open.ts'
import { Parts } from '../transaction/parts.ts'

/** Fewer bytes are not sent downstream as long as more arrives. */
const minBytes = Math.min(Number(process.env.FOLLOWER_ARRIVING_FROM ?? Number.POSITIVE_INFINITY), 1024 * 1024)

/** What the pump knows besides. */
export interface ArrivingPort {
  readonly tracker: Tracker
  /** Why it is not to be applied any further before its turn; undefined where it is. Throws what ends the session. */
  over(transaction: OpenTransaction): string | undefined
  /** Until something has changed. */
  sleep(): Promise<void>
  /** Takes it out of the queue, whose first one it is. */
  take(): void
}

/** Hands out a transaction part by part while it arrives. */
export class Arriving implements ArrivingTransaction {
  readonly transaction: OpenTransaction
  private readonly port: ArrivingPort
  private readonly parts: Parts

  constructor(transaction: OpenTransaction, port: ArrivingPort) {
    this.transaction = transaction
    this.port = port
    this.parts = new Parts(transaction)
  }

  async more(): Promise<Transaction | undefined> {
    const { transaction, port } = this
    for (;;) {
      port.tracker.atWork = false
      if (port.over(transaction) !== undefined) return undefined
      const part = this.parts.next(transaction.committed ? 0 : minBytes)
      port.tracker.atWork = part !== undefined
      if (part || transaction.committed) return part
      await port.sleep()
    }
  }

  get over(): string | undefined {
    return this.port.over(this.transaction)
  }

  take(): void {
    this.port.take()
  }

  leave(): void {
    this.port.tracker.atWork = false
  }
}

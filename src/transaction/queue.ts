import type { Transaction } from '../model/changes.ts'

/** Complete transactions that wait to be applied, in commit order; it remembers the batch in hand. */
export class TransactionQueue {
  /** Bytes of the messages held. */
  bytes = 0
  private items: Transaction[] = []
  private head = 0
  private inHand: Transaction | undefined

  get length(): number {
    return this.items.length - this.head
  }

  /** The oldest that is not applied, which is the one that lag is measured by. */
  get oldest(): Transaction | undefined {
    return this.inHand ?? this.items[this.head]
  }

  push(transaction: Transaction): void {
    this.items.push(transaction)
    this.bytes += transaction.bytes
  }

  /**
   * Takes the next batch: whole transactions up to `maxBytes` and `maxChanges` together, at least one. A
   * transaction with DDL is always a batch of its own. Empty where nothing waits.
   */
  take(maxBytes: number, maxChanges: number): readonly Transaction[] {
    const from = this.head
    let bytes = 0
    let changes = 0
    while (this.head < this.items.length) {
      const next = this.items[this.head]!
      const full = bytes + next.bytes > maxBytes || changes + next.changes > maxChanges
      if (this.head > from && (next.ddl || full)) break
      this.head++
      bytes += next.bytes
      changes += next.changes
      if (next.ddl) break
    }
    const batch = this.items.slice(from, this.head)
    this.bytes -= bytes
    this.inHand = batch[0]
    if (this.head > 1024 || this.head === this.items.length) {
      this.items = this.items.slice(this.head)
      this.head = 0
    }
    return batch
  }

  /** The batch in hand is applied. */
  applied(): void {
    this.inHand = undefined
  }
}

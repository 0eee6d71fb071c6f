import { type Transaction, transactionsIn } from '../model/changes.ts'
import type { Lsn } from '../model/lsn.ts'
import { Bundle } from './bundle.ts'

/** What an object takes beside its messages. */
const overhead = 512

function besideOf({ beside }: Transaction): number {
  return overhead + (beside ?? 0)
}

/** Complete transactions that wait to be applied, in commit order. */
export class TransactionQueue {
  /** Bytes of what waits, wherever they are. */
  bytes = 0
  /** Bytes of it in memory. */
  memory = 0
  /** Transactions of the upstream that wait. */
  transactions = 0
  private items: Transaction[] = []
  private head = 0
  private inHand: readonly Transaction[] = []
  private readonly bundles: boolean

  /** `bundles`: small ones are held together, and handed out so. */
  constructor(bundles = true) {
    this.bundles = bundles
  }

  /** What `take` can hand out. */
  get length(): number {
    return this.items.length - this.head
  }

  /** The oldest that is not applied, which is the one that lag is measured by. */
  get oldest(): Transaction | undefined {
    return this.inHand[0] ?? this.items[this.head]
  }

  /** What `take` begins with. */
  get first(): Transaction | undefined {
    return this.items[this.head]
  }

  push(transaction: Transaction): void {
    const { items } = this
    this.transactions++
    const last = this.bundles && items.length > this.head ? items[items.length - 1] : undefined
    if (last && Bundle.fits(last, transaction)) {
      let bundle = last
      if (!(bundle instanceof Bundle)) {
        bundle = new Bundle(last)
        items[items.length - 1] = bundle
      }
      const before = besideOf(last)
      ;(bundle as Bundle).add(transaction)
      const more = besideOf(bundle) - before
      this.bytes += transaction.bytes + more
      this.memory += transaction.memory + more
      return
    }
    items.push(transaction)
    this.bytes += transaction.bytes + overhead
    this.memory += transaction.memory + overhead
  }

  /**
   * Takes the next batch: whole transactions up to `maxBytes` and `maxChanges` together, at least one. A
   * transaction with DDL is always a batch of its own, as is one that `alone` says so of. Empty where nothing waits.
   */
  take(
    maxBytes: number,
    maxChanges: number,
    alone: (transaction: Transaction) => boolean = () => false,
  ): readonly Transaction[] {
    const from = this.head
    let bytes = 0
    let memory = 0
    let beside = 0
    let changes = 0
    while (this.head < this.items.length) {
      const next = this.items[this.head]!
      const full = bytes + next.bytes > maxBytes || changes + next.changes > maxChanges
      const single = next.ddl || alone(next)
      if (this.head > from && (single || full)) break
      this.head++
      bytes += next.bytes
      memory += next.memory
      beside += besideOf(next)
      changes += next.changes
      if (single) break
    }
    const batch = this.items.slice(from, this.head)
    if (batch.length > 0) this.inHand = batch
    this.transactions -= transactionsIn(batch)
    this.bytes -= bytes + beside
    this.memory -= memory + beside
    if (this.head > 1024 || this.head === this.items.length) {
      this.items = this.items.slice(this.head)
      this.head = 0
    }
    return batch
  }

  /** Of the batch taken last, what ends up to there is applied. */
  done(upTo: Lsn): void {
    const left = this.inHand.findIndex(({ endLsn }) => endLsn > upTo)
    const done = left < 0 ? this.inHand : this.inHand.slice(0, left)
    for (const transaction of done) transaction.release?.()
    this.inHand = left < 0 ? [] : this.inHand.slice(left)
  }

  /** Nothing will be applied any more. */
  close(): void {
    for (const transaction of this.inHand) transaction.release?.()
    this.inHand = []
    for (const transaction of this.items.slice(this.head)) transaction.release?.()
    this.items = []
    this.head = 0
  }
}

import type { Inbox, Work } from '../apply/applier.ts'
import type { Transaction } from '../model/changes.ts'
import type { Lsn } from '../model/lsn.ts'
import type { Tracker } from '../progress/tracker.ts'
import type { OpenTransaction } from '../transaction/open.ts'
import type { TransactionQueue } from '../transaction/queue.ts'
import { Arriving } from './arriving.ts'

/** Changes of one batch: a follower that dies often must get one done in between. The applier takes fewer where they go one by one. */
const maxBatchChanges = 200_000

/**
 * Stands between what arrives and what is applied: hands out batches, and moves of the row while idle, in
 * the only order that is right. The applier asks; nothing is pushed at it.
 */
export class Pump implements Inbox {
  /** Somebody upstream may wait for our position (a synchronous commit). */
  waiting = false
  /** Everything up to `until` is durable downstream. */
  reached = false
  private readonly tracker: Tracker
  private readonly queue: TransactionQueue
  private readonly batchBytes: number
  private until: Lsn | undefined
  private readonly isHeld: (transaction: Transaction) => boolean
  private readonly isSkipped: (transaction: Transaction) => boolean
  /** So many transactions go one by one before batches are large again: a batch that failed has no more. */
  private single: number
  private readonly mayArrive: (transaction: OpenTransaction) => boolean
  /** What is applied while it arrives. */
  private arriving: Arriving | undefined
  private readonly arrivingBytes: number
  private readonly mayForget: () => boolean
  private readonly hold: (held: boolean) => void
  private readonly askAgain: (transaction: OpenTransaction, reason: string) => void
  /** Large, and arriving: it may be applied as soon as all before it is. */
  private growing: OpenTransaction | undefined
  private beyond = false
  private stopped = false
  private failure: Error | undefined
  /** Nothing comes after what has arrived. */
  private end: Error | undefined
  private wake: (() => void) | undefined

  constructor(options: {
    tracker: Tracker
    queue: TransactionQueue
    /** Bytes of one batch. */
    batchBytes: number
    until: Lsn | undefined
    /** Transactions that a person said to leave out: xid by the end of the commit. */
    skips: ReadonlyMap<Lsn, number>
    /** Batches have failed again and again: one transaction at a time, so that all before the one at fault get through. */
    oneByOne: boolean
    /** Large transactions are applied while they arrive, but for this one (by xid), which was given up before. */
    arrives: { readonly except: number | undefined; readonly mayForget: boolean } | undefined
    /** Bytes of such a transaction that may wait, where what is applied of it need not be kept. */
    arrivingBytes: number
    /** Holds the upstream back, or no longer. */
    hold: (held: boolean) => void
    /** Such a transaction is given up, and not all of it is kept: the session ends. */
    askAgain: (transaction: OpenTransaction, reason: string) => void
    /** Nothing goes on from such a transaction. */
    held?: (transaction: Transaction) => boolean
  }) {
    this.tracker = options.tracker
    this.queue = options.queue
    this.batchBytes = options.batchBytes
    this.until = options.until
    this.isHeld = options.held ?? (() => false)
    const { skips, arrives } = options
    this.arrivingBytes = options.arrivingBytes
    this.mayForget = () => arrives?.mayForget === true
    this.hold = options.hold
    this.askAgain = options.askAgain
    this.isSkipped = ({ endLsn, xid }) => skips.size > 0 && skips.get(endLsn) === xid
    this.single = options.oneByOne ? maxBatchChanges : 0
    // Of its end only its commit's beginning is known, and a skip is told by the end.
    this.mayArrive = ({ commitLsn, tried, xid }) =>
      arrives !== undefined &&
      arrives.except !== xid &&
      !tried &&
      skips.size === 0 &&
      (this.until === undefined || (commitLsn !== 0n && commitLsn < this.until))
  }

  /** More has come of a large transaction without DDL. */
  grows(transaction: OpenTransaction): void {
    if (this.mayArrive(transaction)) this.growing = transaction
    if (this.arriving?.transaction === transaction) this.arriving.grows()
    this.notify()
  }

  /** A committed transaction has arrived. One that ends beyond `until` is left for the next start. */
  transaction(transaction: Transaction): void {
    if (this.growing === transaction) this.growing = undefined
    if (this.until !== undefined && transaction.endLsn > this.until) {
      this.beyond = true
      // A position within its commit would have the upstream leave it out.
      if (transaction.commitLsn < this.until) this.until = transaction.commitLsn
      this.tracker.passed(this.until, false)
    }
    if (!this.beyond) {
      this.tracker.received()
      this.queue.push(transaction)
    }
    this.notify()
  }

  /** Everything before `lsn` has arrived. */
  passed(lsn: Lsn, replyRequested: boolean): void {
    if (this.beyond) return
    const { until } = this
    // The position is never beyond it: what is copied there stands for just that place.
    this.tracker.passed(until !== undefined && lsn > until ? until : lsn, replyRequested)
    this.notify()
  }

  /** No more work after the batch in hand. */
  stop(): void {
    this.stopped = true
    this.notify()
  }

  fail(error: Error): void {
    // Where the stream has stopped, its connection is lost, too: that says less.
    if (!this.end) this.failure ??= error
    this.notify()
  }

  /** The stream stops, as it would again at the same place: what has arrived before is applied first. */
  failAfter(error: Error): void {
    this.end ??= error
    this.notify()
  }

  /** Something changed that `next` may be waiting for. */
  notify(): void {
    const wake = this.wake
    this.wake = undefined
    wake?.()
  }

  async next(): Promise<Work | undefined> {
    for (;;) {
      if (this.failure) throw this.failure
      if (this.stopped || this.isReached()) return undefined
      if (this.queue.first && this.isHeld(this.queue.first)) {
        if (this.end) throw this.end
        await this.sleep(undefined)
        continue
      }
      const batch = this.queue.take(
        this.batchBytes,
        this.single > 0 ? 1 : maxBatchChanges,
        (transaction) => this.isSkipped(transaction) || this.isHeld(transaction),
      )
      if (batch.length > 0 && this.single > 0) this.single--
      if (batch.length === 1 && this.isSkipped(batch[0]!)) return { skip: batch[0]! }
      if (batch.length > 0) return { batch }
      if (this.end) throw this.end
      const arriving = this.arrive()
      if (arriving) return arriving
      const move = this.tracker.move(performance.now(), this.waiting || this.until !== undefined)
      if (move && 'lsn' in move) return { move: move.lsn }
      await this.sleep(move?.inMs)
    }
  }

  /** All before it is applied; so is the position, which goes no further until its end (P6). */
  private arrive(): Work | undefined {
    const { growing, tracker, queue } = this
    if (!growing || growing.ddl || growing.dropped || growing.shortened || this.single > 0) return undefined
    if (tracker.seen > tracker.applied) return { move: tracker.seen }
    this.growing = undefined
    growing.tried = true
    growing.inHand = true
    growing.forgets = this.mayForget()
    this.arriving = new Arriving(growing, {
      ...{ tracker, most: this.arrivingBytes, hold: this.hold },
      over: (transaction) => this.isOver(transaction),
      sleep: (milliseconds) => this.sleep(milliseconds),
      take: () => void queue.take(0, 0),
      askAgain: (transaction, reason) => {
        // What ends the session has all of it sent again; but for one that failed by itself the next session has to know.
        if (!transaction.committed && (this.stopped || this.failure || this.end)) return
        this.stop()
        this.askAgain(transaction, reason)
      },
      left: () => {
        this.arriving = undefined
      },
    })
    return { arriving: this.arriving }
  }

  /** Once its commit is here it goes on like a batch in hand, whatever has happened. */
  private isOver(transaction: OpenTransaction): string | undefined {
    if (transaction.ddl) return 'DDL in it'
    if (transaction.dropped || transaction.shortened) return 'it was aborted, or a subtransaction of it'
    if (transaction.committed)
      return this.queue.first === transaction ? undefined : 'another one comes before it, or --until'
    if (this.failure) throw this.failure
    if (this.stopped || this.end) return 'nothing more of it will come'
    if (this.queue.length > 0) return 'another one comes before it'
    const { waiting, tracker } = this
    return waiting && tracker.seen > tracker.applied ? 'somebody waits for the position' : undefined
  }

  private isReached(): boolean {
    const { tracker } = this
    if (this.until === undefined || tracker.unapplied > 0 || tracker.durable < tracker.applied) return false
    this.reached = tracker.applied >= this.until
    return this.reached
  }

  private sleep(milliseconds: number | undefined): Promise<void> {
    return new Promise((resolve) => {
      const timer = milliseconds === undefined ? undefined : setTimeout(() => this.notify(), milliseconds)
      this.wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}

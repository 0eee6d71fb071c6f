import { FollowerError } from '../errors.ts'
import { changesIn, messageLogical, relationsIn, separate, type Transaction } from '../model/changes.ts'
import type { Lsn } from '../model/lsn.ts'
import type { Relation } from '../model/relation.ts'
import { failpointOn } from '../postgres/failpoint.ts'
import { ServerError } from '../postgres/response.ts'
import { ArrivingAttempt, type ArrivingTransaction } from './arriving.ts'
import {
  BatchFailed,
  exchangeLimit,
  expectOneRowEach,
  isIgnored,
  sendBatch,
  sendChange,
  sendQuick,
} from './batch.ts'
import { applyError, fenced, mayPass } from './errors.ts'
import type { ApplyEvents } from './events.ts'
import type { Place } from './place.ts'
import type { ApplySession } from './session.ts'
import { applyStep, type OnConflict } from './stepwise.ts'
import { TextWanted } from './text-wanted.ts'
import { addWays, noWays } from './ways.ts'

/** Replays the DDL messages of one transaction on the apply connection, inside its open transaction. */
export interface DdlSteps {
  /** The message at this place among the transaction's side messages. */
  run(index: number): Promise<void>
  /** Whether the transaction makes a materialized view of this name: PostgreSQL before 17 sends its rows before it is made. */
  makesView(relation: Relation): boolean
}

export interface DdlPort {
  open(transaction: Transaction): Promise<DdlSteps>
}

/** Work in the order in which it may be done. */
export type Work =
  | { readonly batch: readonly Transaction[] }
  /** Its commit has not arrived; all before it is applied. */
  | { readonly arriving: ArrivingTransaction }
  | { readonly move: Lsn }
  /** A person said to leave it out. */
  | { readonly skip: Transaction }

export interface Inbox {
  /** Waits for work; undefined: there will be none. */
  next(): Promise<Work | undefined>
}

/** So many are applied one by one where one of them fails. */
const fewTransactions = 16

/**
 * Changes of one batch in order. A row that many of them update gets a version from each, which nobody can prune before the
 * commit and each of the next has to pass.
 */
const maxOrderedChanges = 1000

/** Parts of at most `maxOrderedChanges`, or one transaction. */
function split(batch: readonly Transaction[]): Transaction[][] {
  const parts: Transaction[][] = []
  let changes = Number.POSITIVE_INFINITY
  for (const transaction of batch) {
    changes += transaction.changes
    if (changes > maxOrderedChanges) {
      parts.push([])
      changes = transaction.changes
    }
    parts.at(-1)!.push(transaction)
  }
  return parts
}

export class Applier {
  /** Of the batch in hand. */
  private ways = noWays()
  private readonly session: ApplySession
  private readonly onConflict: OnConflict
  private readonly ddl: DdlPort
  private readonly events: ApplyEvents

  constructor(session: ApplySession, onConflict: OnConflict, ddl: DdlPort, events: ApplyEvents) {
    this.session = session
    this.onConflict = onConflict
    this.ddl = ddl
    this.events = events
  }

  /** Applies until the inbox ends. Throws what stops the follow; everything committed before it stays. */
  async run(inbox: Inbox): Promise<void> {
    for (;;) {
      const work = await inbox.next()
      if (!work) return
      if ('move' in work) {
        await this.session.move(work.move)
        this.events.moved(work.move)
        continue
      }
      if ('skip' in work) {
        await this.session.skip(work.skip)
        this.events.skipped(work.skip)
        continue
      }
      if ('arriving' in work) await this.arriving(work.arriving)
      else for (const part of await this.parts(work.batch)) await this.part(part, true)
      if (this.session.statements.tooMany) await this.session.statements.reset()
    }
  }

  /** What is given up comes again as a batch, or from the upstream; what was taken from what waits is a batch now. */
  private async arriving(arriving: ArrivingTransaction): Promise<void> {
    const { session } = this
    const { transaction } = arriving
    const { unchanged } = session
    const attempt = new ArrivingAttempt(session, arriving)
    let reason: string | undefined
    try {
      reason = await attempt.run()
    } catch (error) {
      reason = this.reasonOf(error, transaction)
    } finally {
      arriving.leave()
    }
    if (reason === undefined) {
      await session.settle()
      const { milliseconds, ways } = attempt
      this.events.applied([transaction], milliseconds, session.unchanged - unchanged, ways, true)
      return
    }
    if (attempt.begun) {
      await session.rollback()
      this.events.redone([transaction], reason)
    }
    if (arriving.incomplete) arriving.askAgain(reason)
    else if (attempt.taken) await this.part([transaction], false)
  }

  private async part(batch: readonly Transaction[], together: boolean): Promise<void> {
    const began = performance.now()
    const unchanged = this.session.unchanged
    this.ways = noWays()
    await this.apply(batch, together)
    await this.session.settle()
    const milliseconds = performance.now() - began
    this.events.applied(batch, milliseconds, this.session.unchanged - unchanged, this.ways)
  }

  /** Large batches are for changes that are put together. */
  private async parts(batch: readonly Transaction[]): Promise<(readonly Transaction[])[]> {
    const { gatherer, statements } = this.session
    if (batch.length === 1 || changesIn(batch) <= maxOrderedChanges) return [batch]
    try {
      await statements.load(relationsIn(batch))
    } catch {
      // A table is missing downstream: the parts before it can be applied.
      return split(batch)
    }
    return gatherer?.mayBeLarge(batch) ? [batch] : split(batch)
  }

  /** `together`: many changes by one statement, where that may be. */
  private async apply(batch: readonly Transaction[], together: boolean): Promise<void> {
    const last = batch[batch.length - 1]!
    this.session.together = false
    try {
      if (last.ddl) await this.one(last, false)
      else if (await sendQuick(this.session, batch)) this.ways.ordered += changesIn(batch)
      else {
        const ways = await sendBatch(this.session, batch, together)
        await this.session.commit(last)
        addWays(this.ways, ways)
      }
    } catch (error) {
      const reason = this.reasonOf(error, last)
      await this.session.rollback()
      this.events.redone(batch, reason)
      if (this.session.isBinary) throw new TextWanted(reason, last.endLsn)
      await this.again(batch, this.session.together)
    }
  }

  /** What failed is done again: a large batch by halves, until the transaction is found that can't be applied; a small one in order. */
  private async again(held: readonly Transaction[], wasTogether: boolean): Promise<void> {
    const batch = separate(held)
    if (batch.length > fewTransactions) {
      const half = batch.length >> 1
      for (const part of [batch.slice(0, half), batch.slice(half)]) {
        await this.apply(part, true)
        await this.session.settle()
      }
      return
    }
    if (wasTogether) return this.apply(batch, false)
    for (const transaction of batch) {
      await this.stepwise(transaction)
      await this.session.settle()
    }
    // Functions of owners that say which value was refused read each value twice.
    if (this.session.statements.wall.ran) await this.session.statements.reset()
  }

  /** Why to do it again. Throws what ends the session. */
  private reasonOf(error: unknown, last: Transaction): string {
    if (error instanceof TextWanted) throw error
    // What the server said counts: it may be a reason that passes.
    const cause = error instanceof BatchFailed ? (error.error ?? error) : error
    const reason = this.reasonToRedo(cause)
    if (reason === undefined) throw applyError(cause, this.placeOf(last))
    return reason
  }

  /** Only what a step by step run may do better, or name better, is done again. */
  private reasonToRedo(cause: unknown): string | undefined {
    if (cause instanceof BatchFailed) return cause.message
    // Its message may tell a value of some row.
    if (cause instanceof ServerError)
      return mayPass(cause) || cause.code === fenced ? undefined : `SQLSTATE ${cause.code}`
    // A table or column that is missing downstream: the transactions before it can be applied.
    return cause instanceof FollowerError && cause.context.lsn === undefined ? cause.message : undefined
  }

  private async stepwise(transaction: Transaction): Promise<void> {
    this.session.statements.stepwise = true
    try {
      await this.one(transaction, true)
    } catch (error) {
      throw applyError(error instanceof BatchFailed ? error.error : error, this.placeOf(transaction))
    } finally {
      this.session.statements.stepwise = false
    }
  }

  /** One upstream transaction as one downstream transaction, DDL in its place among the rows. */
  private async one(transaction: Transaction, stepwise: boolean): Promise<void> {
    const { session } = this
    await failpointOn('apply.begin', session.client)
    await session.client.query(session.begin.join('; '))
    session.cascades?.forget()
    const ddl = transaction.ddl ? await this.ddl.open(transaction) : undefined
    session.statements.makesView = ddl?.makesView
    const cursor = session.cursor
    let sent = 0
    const flush = async (): Promise<void> => {
      if (sent > 0) await expectOneRowEach(session)
      sent = 0
    }
    cursor.seek(transaction)
    while (cursor.advance()) {
      if (cursor.type === messageLogical) {
        await flush()
        // What the DDL changes of tables and types is read again afterwards.
        await session.statements.reset()
        await ddl?.run(cursor.index)
        await session.deferAgain()
      } else if (stepwise) await applyStep(session, transaction, this.onConflict, this.events)
      else {
        if (!this.isLoaded(transaction)) {
          await flush()
          await this.load(transaction)
        }
        if (isIgnored(session)) continue
        if (sent === 0) session.pipeline.open()
        sendChange(session, transaction)
        if (++sent === exchangeLimit) await flush()
        if (session.pipeline.writer.congested) await session.pipeline.drained()
      }
    }
    await flush()
    await failpointOn('apply.mid-batch', session.client)
    await session.commit(transaction)
    this.ways.ordered += transaction.changes
  }

  private placeOf(transaction: Transaction): Place {
    return { transaction, role: this.session.client.user ?? '' }
  }

  private relationsAtCursor(transaction: Transaction) {
    const { cursor } = this.session
    const side = transaction.sides[cursor.index]
    if (cursor.type === 0x54 && side?.kind === 'truncate') return side.relations
    return [this.session.relations[cursor.index]!]
  }

  private isLoaded(transaction: Transaction): boolean {
    return this.relationsAtCursor(transaction).every((relation) => this.session.statements.has(relation))
  }

  private load(transaction: Transaction): Promise<void> {
    return this.session.statements.load(this.relationsAtCursor(transaction))
  }
}

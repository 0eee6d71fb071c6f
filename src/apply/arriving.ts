import type { Transaction } from '../model/changes.ts'
import { failpointOn } from '../postgres/failpoint.ts'
import { BatchFailed, expectOneRowEach, planForSets, sendChanges } from './batch.ts'
import type { ApplySession } from './session.ts'
import { addWays, noWays, type Ways } from './ways.ts'

/** An upstream transaction that is handed out part by part while it arrives. */
export interface ArrivingTransaction {
  /** What is known of it so far; its end only once it is taken. */
  readonly transaction: Transaction
  /**
   * Waits for the next part. undefined: all of it was handed out and its commit has arrived, or it is `over`. `pending` is called before it
   * waits: what is to be waited for first, if anything.
   */
  more(pending: () => Promise<void> | undefined): Promise<Transaction | undefined>
  /** Why it is not to be applied any further before its turn; then it comes as any other one. */
  readonly over: string | undefined
  /** What was handed out is not kept: given up, it has to be asked for again. */
  readonly incomplete: boolean
  /** Its commit has arrived: takes it from what waits. */
  take(): void
  /** It is given up, and the inbox ends: all of it is asked for again. */
  askAgain(reason: string): void
  /** Nothing of it is at work any more. */
  leave(): void
}

/** One attempt to apply a transaction while it arrives, in one downstream transaction. */
export class ArrivingAttempt {
  readonly ways: Ways = noWays()
  /** Of work: what was waited for is the upstream's time. */
  milliseconds = 0
  /** Something of it was sent downstream, in a transaction that is open. */
  begun = false
  /** It was taken from what waits: nobody else will apply it. */
  taken = false
  private readonly session: ApplySession
  private readonly arriving: ArrivingTransaction

  constructor(session: ApplySession, arriving: ArrivingTransaction) {
    this.session = session
    this.arriving = arriving
  }

  /** Returns why it was given up; undefined once it is committed. Throws what failed. Whoever calls rolls back. */
  async run(): Promise<string | undefined> {
    const { session, arriving } = this
    const pending = (): Promise<void> | undefined => this.pending()
    for (let part = await arriving.more(pending); part; part = await arriving.more(pending)) {
      const next = part
      addWays(this.ways, await this.timed(() => this.send(next)))
      await failpointOn('arriving.part', session.client)
    }
    await this.pending()
    const { over } = arriving
    if (over !== undefined) return over
    arriving.take()
    this.taken = true
    await this.timed(async () => {
      await failpointOn('arriving.before-commit', session.client)
      await session.commit(arriving.transaction)
    })
    return undefined
  }

  private async timed<T>(work: () => Promise<T>): Promise<T> {
    const began = performance.now()
    const result = await work()
    this.milliseconds += performance.now() - began
    return result
  }

  /** The answers to what was sent; undefined: there is none to wait for. */
  private pending(): Promise<void> | undefined {
    return this.session.pipeline.isOpen ? this.timed(() => expectOneRowEach(this.session)) : undefined
  }

  /** The server is at work on it, while the next part is put together. */
  private async send(part: Transaction): Promise<Ways> {
    const { session } = this
    const { gatherer, pipeline, statements, waiting } = session
    const relations = [...part.relations.keys()]
    // To ask about another table needs the connection.
    if (!relations.every((relation) => statements.has(relation)) && pipeline.isOpen)
      await expectOneRowEach(session)
    // What is noted of a late table would be in an open transaction for long, and others wait for it.
    if (relations.some((relation) => waiting.isLate(relation))) throw new Unfit()
    statements.makesView = undefined
    await statements.load(relations)
    if (relations.some((relation) => waiting.has(relation)) || !gatherer?.begin([part])) throw new Unfit()
    if (!this.begun) await failpointOn('apply.begin', session.client)
    if (!pipeline.isOpen) pipeline.open()
    if (!this.begun) for (const statement of [...session.begin, planForSets]) pipeline.statement(statement)
    this.begun = true
    await sendChanges(session, [part], gatherer)
    gatherer.flush()
    // Nothing follows that would send what is held: the next part may be long in coming.
    pipeline.writer.flush()
    if (pipeline.refused) await expectOneRowEach(session)
    else if (pipeline.writer.congested) await pipeline.drained()
    return gatherer.ways
  }
}

/** It can't be put together by table, or its place counts. */
class Unfit extends BatchFailed {
  constructor() {
    super(undefined)
    this.message = 'not to be put together'
  }
}

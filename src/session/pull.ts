import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { FollowerError } from '../errors.ts'
import { formatLsn, type Lsn } from '../model/lsn.ts'
import { failpointOn } from '../postgres/failpoint.ts'
import { ServerError } from '../postgres/response.ts'
import type { Tracker } from '../progress/tracker.ts'
import { cursorPosition, isAtWork, readBacklog, readCursor, setLifelines } from '../provision/cursor.ts'
import type { Window, WindowHandlers } from '../stream/windows.ts'
import type { SessionContext } from './context.ts'
import { OwnSlot, requireOwn } from './own-slot.ts'
import type { PullReader } from './pull-reader.ts'
import { firstSize, isNear, nearBytes, nextSize, pullFrom } from './pull-size.ts'
import { GivenUp, requireNext, Turns } from './pull-turns.ts'
import type { Source } from './source.ts'
import { streamError } from './stream-error.ts'

const lookMs = 5000
const drainPollMs = 10
/** What was pulled is mostly applied by then. */
const longestDrainMs = 10_000
/**
 * A window keeps a snapshot upstream, which keeps dead rows: a downstream that takes nothing for so long is streamed to, and a window that has
 * waited for its turn for so long is given up. Shorter than the server's patience with what it can't send (tcp_user_timeout).
 */
const longestHoldMs = 30_000

export interface PullOptions {
  readonly context: SessionContext
  readonly source: Source
  readonly tracker: Tracker
  /** Reads the windows; owns the cursor. */
  readonly reader: pg.Client
  readonly cursor: string
  readonly plugin: Readonly<Record<string, string>>
  readonly position: Lsn
  readonly confirmed: Lsn
  readonly until: Lsn | undefined
  /** What ended the way in. */
  readonly ended: (error: Error, again: boolean) => void
}

/**
 * Pulls a backlog in windows. Two sessions take turns: as soon as one's window is decoded, and while it arrives and is applied, the other decodes what
 * comes behind it. What comes goes the way of the stream: into the same decoder, in the same order.
 */
export class Pull {
  private readonly options: PullOptions
  private readonly own: OwnSlot
  private readonly timer: NodeJS.Timeout
  private readonly turns: Turns
  /** Who was asked for the window behind the one that arrives. */
  private ahead: Promise<PullReader | undefined> | undefined
  private size = firstSize
  private place: { confirmed: Lsn; restart: Lsn }
  private count = 0
  private messages = 0
  private starved = true
  /** Why the last window was not brought. */
  private refused: Error | undefined
  private closed = false

  constructor(options: PullOptions) {
    this.options = options
    const { source, reader, cursor, context, tracker, ended, confirmed } = options
    const { log, settings, connections } = context
    this.place = { confirmed, restart: confirmed }
    this.turns = new Turns(
      {
        ...{ connections, flow: source.flow, slot: settings.slot, plugin: options.plugin },
        handlers: (of) => this.handlers(of),
      },
      reader,
      cursor,
    )
    this.own = new OwnSlot({
      open: async () => {
        const client = await connections.another()
        await setLifelines(client)
        return client
      },
      leave: (client) => connections.leave(client),
      ...{ slot: settings.slot, confirmed, tracker, log },
      failed: (error) => ended(error, false),
    })
    this.timer = setInterval(() => this.look(), lookMs)
    source.flow.alive()
  }

  private handlers(reader: () => PullReader): WindowHandlers {
    const { source, tracker } = this.options
    return {
      first: () => {
        this.starved = tracker.unapplied === 0
        this.ahead = this.askAhead(reader())
      },
      wal: (buffer, offset, length) => {
        if (failpointOn('pull.window', reader().client) !== undefined) source.flow.hold('stop', true)
        source.wal(buffer, offset, length)
      },
      notice: (notice) => {
        const missing = source.notice(notice)
        // Said before the first row: nothing of this window is taken.
        if (missing) void this.turns.giveUp(missing)
      },
    }
  }

  /**
   * Resolves with the position from which the stream is to go on; undefined: nothing more is wanted. Rejects with what ends the session.
   */
  async run(): Promise<Lsn | undefined> {
    const { context, source, until } = this.options
    const began = performance.now()
    context.metrics.receivingWay.set({ way: 'pull' }, 1)
    const { turns } = this
    turns.current.ask(this.size)
    for (let next: PullReader | undefined = turns.current; next; next = await this.next(next))
      turns.current = next
    if (this.closed) return undefined
    void turns.giveUp(new GivenUp('no more windows are wanted'))
    const received = this.received
    context.log.info(
      { windows: this.count, messages: this.messages, lsn: formatLsn(received) },
      `pulled ${this.messages} messages in ${((performance.now() - began) / 1000).toFixed(1)} s`,
    )
    // What ends here needs no stream.
    if (until !== undefined && received >= until) return undefined
    source.assembler.dropOpen()
    await this.own.finish()
    await requireOwn(context.connections.upstream, context.settings.slot, received)
    await failpointOn('pull.switch', this.options.reader)
    await this.close()
    return this.isOver() ? undefined : received
  }

  /** Where nothing streams in the end: tells the upstream what is durable. */
  async finish(): Promise<void> {
    if (!this.closed) await this.own.finish()
  }

  /** Ends at once. Safe to call again. */
  async close(): Promise<void> {
    if (this.closed) return
    this.closed = true
    clearInterval(this.timer)
    this.options.context.metrics.receivingWay.set({ way: 'pull' }, 0)
    const closed = this.turns.close(new GivenUp('the session ends'))
    await Promise.race([Promise.all([closed, this.own.close()]), sleep(1000)])
  }

  private isOver(): boolean {
    return this.options.context.stop.aborted || this.options.context.lost.aborted
  }

  /** Everything up to here has arrived. */
  private get received(): Lsn {
    const { assembler } = this.options.source
    return assembler.received > this.place.confirmed ? assembler.received : this.place.confirmed
  }

  /** Takes the window that a reader was asked for; resolves with who to go on with; undefined: the stream is to, or nothing more is wanted. */
  private async next(reader: PullReader): Promise<PullReader | undefined> {
    const { context, source, until } = this.options
    const { log, metrics } = context
    const before = this.place.confirmed
    const { size } = reader
    this.ahead = undefined
    const window = await this.read(reader)
    if (!window) return this.insteadOf(reader)
    const { confirmed, restart, walEnd, waitsForStandbys } = cursorPosition(window.row)
    if (source.assembler.inTransaction) throw new RangeError('a window ends within a transaction')
    this.place = { confirmed, restart }
    this.count++
    this.messages += window.messages
    context.pulling?.succeeded()
    metrics.pullWindows.inc()
    metrics.pullMessages.inc(window.messages)
    log.debug(
      {
        ...{ messages: window.messages, first_ms: Math.round(window.firstMs), starved: this.starved },
        ...{ again: String(before - restart), fresh: String(confirmed - before) },
      },
      'window',
    )
    source.passed(confirmed)
    if (until !== undefined && this.received >= until) return undefined
    this.size = nextSize(size, before, this.place)
    const ahead = await this.ahead
    if (ahead) return requireNext(ahead, confirmed)
    if (waitsForStandbys) {
      log.info('the backlog is streamed from here: the slot waits for synchronized_standby_slots')
      return undefined
    }
    if (isNear(walEnd - confirmed, window.messages < size) && !(await this.isFarAgain())) return undefined
    if (this.closed) return undefined
    reader.ask(this.size)
    return reader
  }

  /**
   * The first row of a window has come, so its end is known: asks another session for what comes behind. undefined: there is not much, or it can't be.
   */
  private async askAhead(reader: PullReader): Promise<PullReader | undefined> {
    const { context, until } = this.options
    const { connections, settings } = context
    const before = this.place.confirmed
    const { turns } = this
    try {
      const { slot } = settings
      const place = turns.alone ? undefined : await readCursor(connections.upstream, slot, reader.place)
      if (!place || place.waitsForStandbys || isNear(place.walEnd - place.confirmed, false)) return undefined
      if (until !== undefined && place.confirmed >= until) return undefined
      const other = await turns.other(reader)
      if (this.closed || this.isOver()) return undefined
      other.ask(nextSize(reader.size, before, place), reader, place.confirmed)
      return other
    } catch (error) {
      turns.alone = true
      this.toldAlone(error as Error)
      return undefined
    }
  }

  private toldAlone(reason: Error | undefined): void {
    this.options.context.log.debug({ reason: reason?.message }, 'the backlog is pulled by one session')
  }

  /** What has been pulled is applied before the stream begins: so its slot is where it begins, or near it. Whether much has come meanwhile. */
  private async isFarAgain(): Promise<boolean> {
    const { context, tracker } = this.options
    const end = performance.now() + longestDrainMs
    while (tracker.unapplied > 0 && performance.now() < end && !this.closed && !this.isOver())
      await sleep(drainPollMs)
    if (this.closed || this.isOver()) return false
    const now = await readBacklog(context.connections.upstream, context.settings.slot)
    const most = pullFrom > nearBytes ? pullFrom : nearBytes
    return now !== undefined && now.walEnd - this.place.confirmed >= most
  }

  /** undefined: the server refuses it, or it was given up. What has arrived of it are whole transactions, and one that is dropped. */
  private async read(reader: PullReader): Promise<Window | undefined> {
    const { settings } = this.options.context
    this.refused = undefined
    try {
      return await reader.take()
    } catch (error) {
      const refused = error instanceof ServerError && error.severity === 'ERROR'
      if (!this.closed && !refused && !(error instanceof GivenUp) && !(error instanceof FollowerError))
        throw streamError(error as Error, settings.upstream)
      this.refused = error as Error
      return undefined
    }
  }

  /** Who goes on where a reader did not bring its window. */
  private insteadOf(reader: PullReader): PullReader | undefined {
    const { context } = this.options
    const { refused } = this
    if (this.closed) return undefined
    const instead = this.turns.instead(reader, refused, this.place.confirmed)
    if (instead === reader.behind && instead) this.toldAlone(refused)
    if (instead) return instead
    // The stream says in its place what is wrong there, and has room for what is too large.
    context.pulling?.rest()
    const lsn = formatLsn(this.received)
    context.log.info({ lsn, reason: refused?.message }, 'the backlog is streamed from here')
    return undefined
  }

  private look(): void {
    const { source, context } = this.options
    const { flow } = source
    const { windows, pid } = this.turns.current
    if (windows.isReading && flow.heldSinceMs > longestHoldMs)
      return void this.turns.giveUp(new GivenUp('the downstream is slow'))
    const waiting = this.turns.waiting(longestHoldMs)
    if (waiting)
      isAtWork(context.connections.upstream, waiting.pid).then(
        (atWork) => (atWork ? undefined : this.turns.drop(waiting)),
        () => {},
      )
    // Until the first row comes, only the server knows whether it works at it; between two windows its answer is enough.
    isAtWork(context.connections.upstream, pid).then(
      (atWork) => (atWork || !windows.isReading) && flow.alive(),
      () => {},
    )
  }
}

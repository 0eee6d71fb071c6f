import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { ExitCode, FollowerError } from '../errors.ts'
import { formatLsn, type Lsn, lsnFromServer } from '../model/lsn.ts'
import { failpointOn } from '../postgres/failpoint.ts'
import { ServerError } from '../postgres/response.ts'
import type { Tracker } from '../progress/tracker.ts'
import { isAtWork, readBacklog, setLifelines, windowStatement } from '../provision/cursor.ts'
import { type Window, Windows } from '../stream/windows.ts'
import type { SessionContext } from './context.ts'
import { OwnSlot } from './own-slot.ts'
import { firstSize, isNear, nearBytes, nextSize, pullFrom, smallerSize } from './pull-size.ts'
import type { Source } from './source.ts'
import { streamError } from './stream-error.ts'

const lookMs = 5000
const drainPollMs = 10
/** What was pulled is mostly applied by then. */
const longestDrainMs = 10_000
/** A window keeps a snapshot upstream, which keeps dead rows: a downstream that is slower than this is streamed to. */
const longestHoldMs = 30_000

/** The window was given up; the connection with it. */
class GivenUp extends Error {}

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
 * Pulls a backlog in windows, each asked for as soon as the one before has arrived, while that is applied. What comes goes the way of the stream:
 * into the same decoder, in the same order.
 */
export class Pull {
  private readonly options: PullOptions
  private readonly windows: Windows
  private readonly own: OwnSlot
  private readonly timer: NodeJS.Timeout
  private readonly pid: string
  private size = firstSize
  private place: { confirmed: Lsn; restart: Lsn }
  private count = 0
  private messages = 0
  private starved = true
  private closed = false

  constructor(options: PullOptions) {
    this.options = options
    const { source, reader, context, tracker, ended, confirmed } = options
    const { log, settings, connections } = context
    this.place = { confirmed, restart: confirmed }
    this.pid = String((reader as { processID?: number }).processID)
    this.windows = new Windows(reader, source.flow, {
      first: () => {
        this.starved = tracker.unapplied === 0
      },
      wal: (buffer, offset, length) => {
        if (failpointOn('pull.window', reader) !== undefined) source.flow.hold('stop', true)
        source.wal(buffer, offset, length)
      },
      notice: (notice) => {
        const missing = source.notice(notice)
        // Said before the first row: nothing of this window is taken.
        if (missing) void this.giveUp(missing)
      },
    })
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
  }

  /**
   * Resolves with the position from which the stream is to go on; undefined: nothing more is wanted. Rejects with what ends the session.
   */
  async run(): Promise<Lsn | undefined> {
    const { context, source, until } = this.options
    const began = performance.now()
    context.metrics.receivingWay.set({ way: 'pull' }, 1)
    while (await this.next()) {
      // Windows are read until there is a reason to stop.
    }
    if (this.closed) return undefined
    const received = this.received
    context.log.info(
      { windows: this.count, messages: this.messages, lsn: formatLsn(received) },
      `pulled ${this.messages} messages in ${((performance.now() - began) / 1000).toFixed(1)} s`,
    )
    // What ends here needs no stream.
    if (until !== undefined && received >= until) return undefined
    source.assembler.dropOpen()
    await this.own.finish()
    await this.requireOwn(received)
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
    const { context, reader } = this.options
    const { metrics, connections } = context
    metrics.receivingWay.set({ way: 'pull' }, 0)
    const terminated = this.giveUp(new GivenUp('the session ends'))
    await Promise.race([Promise.all([terminated, connections.leave(reader), this.own.close()]), sleep(1000)])
  }

  private isOver(): boolean {
    return this.options.context.stop.aborted || this.options.context.lost.aborted
  }

  /** Everything up to here has arrived. */
  private get received(): Lsn {
    const { assembler } = this.options.source
    return assembler.received > this.place.confirmed ? assembler.received : this.place.confirmed
  }

  /** Reads one window; false: the stream is to go on, or nothing more is wanted. */
  private async next(): Promise<boolean> {
    const { context, source, until } = this.options
    const { log, metrics } = context
    const before = this.place.confirmed
    const size = this.size
    const window = await this.read(size)
    if (window === undefined) return !this.closed && this.size !== size
    const [confirmed, restart, walEnd] = window.row.slice(0, 3).map(lsnFromServer) as [Lsn, Lsn, Lsn]
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
    if (until !== undefined && this.received >= until) return false
    this.size = nextSize(size, before, this.place)
    if (window.row[3] === 't') {
      log.info('the backlog is streamed from here: the slot waits for synchronized_standby_slots')
      return false
    }
    if (!isNear(walEnd - confirmed, window.messages < size)) return true
    return this.isFarAgain()
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
  private async read(size: number): Promise<Window | undefined> {
    const { context, cursor, plugin } = this.options
    const { log, settings, pulling } = context
    try {
      return await this.windows.read(windowStatement(settings.slot, cursor, size, plugin))
    } catch (error) {
      if (this.closed) return undefined
      const refused = error instanceof ServerError && error.severity === 'ERROR'
      const smaller =
        refused && error.code === '53400' && this.windows.messages === 0 ? smallerSize(size) : undefined
      if (smaller !== undefined) {
        this.size = smaller
        return undefined
      }
      if (!refused && !(error instanceof GivenUp) && !(error instanceof FollowerError))
        throw streamError(error as Error, settings.upstream)
      // The stream says in its place what is wrong there, and has room for what is too large.
      pulling?.rest()
      log.info(
        { lsn: formatLsn(this.received), reason: (error as Error).message },
        'the backlog is streamed from here',
      )
      return undefined
    }
  }

  private look(): void {
    const { source, context } = this.options
    const { flow } = source
    if (!this.windows.isReading) flow.alive()
    else if (flow.heldSinceMs > longestHoldMs) void this.giveUp(new GivenUp('the downstream is slow'))
    // Until the first row comes, only the server knows whether it works at it.
    else
      void isAtWork(context.connections.upstream, this.pid).then(
        (atWork) => atWork && flow.alive(),
        () => {},
      )
  }

  /** Nothing more is read; it is no lost connection. The server would notice by itself within a second, where it can. */
  private giveUp(reason: Error): Promise<unknown> {
    const { context, reader } = this.options
    const reading = this.windows.isReading
    reader.removeAllListeners('end')
    this.windows.cut(reason)
    if (!reading) return Promise.resolve()
    return context.connections.upstream
      .query('SELECT pg_catalog.pg_terminate_backend($1)', [this.pid])
      .catch(() => {})
  }

  /** P3 once more: nobody had the slot meanwhile, and whoever moved it beyond what has arrived made a gap. */
  private async requireOwn(received: Lsn): Promise<void> {
    const { connections, settings } = this.options.context
    const now = await readBacklog(connections.upstream, settings.slot)
    if (!now || now.confirmedFlushLsn <= received) return
    throw new FollowerError(`somebody has moved the slot "${settings.slot}" beyond our position`, {
      code: 'FLW-204',
      exit: ExitCode.slot,
      effect: 'the position is looked at again',
      transient: true,
    })
  }
}

import type pg from 'pg'
import { ExitCode, FollowerError } from '../errors.ts'
import type { Lsn } from '../model/lsn.ts'
import { failpointOn } from '../postgres/failpoint.ts'
import type { Tracker } from '../progress/tracker.ts'
import type { Flow } from '../stream/flow.ts'
import type { Receiver } from '../stream/receiver.ts'

/** Without a wal_sender_timeout upstream, this is how long a silent stream is believed. */
const defaultTimeoutMs = 60_000

/** Each message wakes up a process upstream: under a steady load that costs both ends as much as a small transaction. */
const togetherMs = 20

/**
 * Tells the upstream our position, on time whatever the applier does (P7), and notices a stream that has gone
 * silent. Written, flushed and applied are all what the downstream has: `flushed` only what is durable (P2).
 */
export class Acknowledger {
  private readonly receiver: Receiver
  private readonly flow: Flow
  private readonly tracker: Tracker
  private readonly client: pg.Client
  private readonly timeoutMs: number
  private readonly most: Lsn | undefined
  private readonly timer: NodeJS.Timeout
  private readonly failed: (error: Error) => void
  private readonly sent: (replyRequested: boolean, told: boolean) => void
  private pinged = false
  private soon: NodeJS.Immediate | undefined
  private later: NodeJS.Timeout | undefined
  private readonly awaited: () => boolean

  constructor(options: {
    receiver: Receiver
    flow: Flow
    client: pg.Client
    tracker: Tracker
    walSenderTimeoutMs: number
    /** The upstream is told no position beyond it. */
    most: Lsn | undefined
    /** Commits upstream may wait for what is acknowledged. */
    awaited: () => boolean
    failed: (error: Error) => void
    /** `told`: a stream was there to say it by. */
    sent: (replyRequested: boolean, told: boolean) => void
  }) {
    this.receiver = options.receiver
    this.flow = options.flow
    this.client = options.client
    this.tracker = options.tracker
    this.most = options.most
    this.awaited = options.awaited
    this.timeoutMs = options.walSenderTimeoutMs || defaultTimeoutMs
    this.failed = options.failed
    this.sent = options.sent
    const every = Math.max(100, Math.min(10_000, this.timeoutMs / 4))
    this.timer = setInterval(() => this.tick(), every)
  }

  /** Acknowledges when the next batch, if it waits, has been sent: the downstream works meanwhile. Where no commit waits for it, with those of the next few milliseconds. */
  acknowledgeSoon(): void {
    if (this.awaited()) this.soon ??= setImmediate(() => this.acknowledgeNow())
    else this.later ??= setTimeout(() => this.acknowledgeNow(), togetherMs)
  }

  private acknowledgeNow(): void {
    this.forget()
    this.acknowledge().catch(this.failed)
  }

  private forget(): void {
    clearImmediate(this.soon)
    clearTimeout(this.later)
    this.soon = undefined
    this.later = undefined
  }

  /** Sends what may be acknowledged now. */
  async acknowledge(): Promise<void> {
    await failpointOn('progress.acknowledge', this.client)
    this.send(false)
    await failpointOn('progress.acknowledged', this.client)
  }

  send(replyRequested: boolean): void {
    const [applied, durable] = [this.tracker.applied, this.tracker.durable].map((lsn) =>
      this.most !== undefined && lsn > this.most ? this.most : lsn,
    ) as [Lsn, Lsn]
    this.receiver.sendStatus({ written: applied, flushed: durable, applied, replyRequested })
    this.sent(replyRequested, this.receiver.isStreaming)
  }

  close(): void {
    clearInterval(this.timer)
    this.forget()
  }

  private tick(): void {
    // While we hold the upstream back, its silence is ours.
    const silent = this.flow.isHeld ? 0 : performance.now() - this.flow.lastMessageAt
    if (silent < this.timeoutMs / 2) this.pinged = false
    if (silent > this.timeoutMs && this.pinged) {
      this.failed(silence(silent))
      return
    }
    const ping = silent >= this.timeoutMs / 2
    this.pinged ||= ping
    this.send(ping)
  }
}

function silence(milliseconds: number): FollowerError {
  return new FollowerError(
    `the upstream has sent nothing for ${Math.round(milliseconds / 1000)} s, not even an answer`,
    {
      code: 'FLW-411',
      exit: ExitCode.upstream,
      effect: 'the connection is given up and made again; nothing is lost',
      fix: ['see whether the server runs and packets pass between; then start again where it has ended'],
      transient: true,
    },
  )
}

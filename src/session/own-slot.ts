import type pg from 'pg'
import { ExitCode, FollowerError } from '../errors.ts'
import type { Lsn } from '../model/lsn.ts'
import { failpointOn } from '../postgres/failpoint.ts'
import type { Tracker } from '../progress/tracker.ts'
import { advanceSlot, readBacklog } from '../provision/cursor.ts'
import type { Logger } from '../telemetry/log.ts'

const everyMs = 5000
/** A slot that stays where it is, is used now and then all the same: since 18 the server may give up idle ones. */
const longestIdleMs = 20_000
/** The server decodes what lies between: so many times as long as that took, nothing is asked of it. */
const restFactor = 10

/**
 * Moves the follow's own slot behind what is durable downstream (P2) while nothing streams from it: WAL is recycled upstream, and
 * idle_replication_slot_timeout does not come to it.
 */
export class OwnSlot {
  private readonly timer: NodeJS.Timeout
  private client: pg.Client | undefined
  private advanced: Lsn
  private usedAt = performance.now()
  private restUntil = 0
  private busy: Promise<void> | undefined
  private readonly options: {
    /** Only a long catch-up needs a connection for it. */
    readonly open: () => Promise<pg.Client>
    readonly leave: (client: pg.Client) => Promise<void>
    readonly slot: string
    readonly confirmed: Lsn
    readonly tracker: Tracker
    readonly log: Logger
    readonly failed: (error: Error) => void
  }

  constructor(options: OwnSlot['options']) {
    this.options = options
    this.advanced = options.confirmed
    this.timer = setInterval(() => this.tick(), everyMs)
  }

  /** Moves it for the last time: nobody is about to use it when this resolves. */
  async finish(): Promise<void> {
    this.stop()
    await this.busy
    await this.advance()
  }

  private stop(): void {
    clearInterval(this.timer)
  }

  async close(): Promise<void> {
    this.stop()
    const { client } = this
    this.client = undefined
    if (client) await this.options.leave(client)
  }

  private tick(): void {
    if (this.busy || performance.now() < this.restUntil) return
    const began = performance.now()
    this.busy = this.advance()
      .catch((error: Error) => this.options.failed(error))
      .finally(() => {
        this.busy = undefined
        this.restUntil = performance.now() + restFactor * (performance.now() - began)
      })
  }

  private async advance(): Promise<void> {
    const { open, slot, tracker, log } = this.options
    const lsn = tracker.durable > this.advanced ? tracker.durable : this.advanced
    if (lsn === this.advanced && performance.now() - this.usedAt < longestIdleMs) return
    this.usedAt = performance.now()
    try {
      this.client ??= await open()
      const { client } = this
      await failpointOn('pull.advance', client)
      await advanceSlot(client, slot, lsn)
      this.advanced = lsn
    } catch (error) {
      // Such as 55006: somebody looks at it. What is really wrong with the slot is seen by the observer, and by the stream.
      if (!(error instanceof FollowerError) || error.sqlstate === undefined) throw error
      log.debug({ err: error }, `the slot "${slot}" was not moved`)
    }
  }
}

/** P3 once more: nobody had the slot meanwhile, and whoever moved it beyond what has arrived made a gap. */
export async function requireOwn(upstream: pg.Client, slot: string, received: Lsn): Promise<void> {
  const now = await readBacklog(upstream, slot)
  if (!now || now.confirmedFlushLsn <= received) return
  throw new FollowerError(`somebody has moved the slot "${slot}" beyond our position`, {
    code: 'FLW-204',
    exit: ExitCode.slot,
    effect: 'the position is looked at again',
    transient: true,
  })
}

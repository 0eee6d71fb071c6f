import type pg from 'pg'
import type { Lsn } from '../model/lsn.ts'
import { type CursorCopy, cursorName, windowStatement } from '../provision/cursor.ts'
import type { Flow } from '../stream/flow.ts'
import { type Window, type WindowHandlers, Windows } from '../stream/windows.ts'

export interface PullReaderOptions {
  readonly client: pg.Client
  readonly flow: Flow
  /** The follow's own slot, which the cursors are copies of. */
  readonly slot: string
  readonly plugin: Readonly<Record<string, string>>
  /** A copy of the slot that the client's session has. */
  readonly cursor: string | undefined
}

/** One of the sessions that bring windows by turns: while the rows of one's window arrive, the other decodes what comes behind it. */
export class PullReader {
  readonly client: pg.Client
  readonly windows: Windows
  readonly pid: string
  /** Messages that were asked for. */
  size = 0
  /** Who had the window before the one that was asked for: it stands where that begins. */
  behind: PullReader | undefined
  /** Where that was asked to begin. */
  begins: Lsn | undefined
  /** When it was asked, on the monotonic clock. */
  askedAt = 0
  /** The temporary copy of the slot that windows are decoded from; it goes with the session. */
  private cursor: string | undefined
  private readonly options: PullReaderOptions
  private window: Promise<Window> | undefined

  constructor(options: PullReaderOptions, handlers: WindowHandlers) {
    this.options = options
    this.client = options.client
    this.cursor = options.cursor
    this.pid = String((options.client as { processID?: number }).processID)
    this.windows = new Windows(options.client, options.flow, handlers)
  }

  /** Where the window that was asked for is decoded from, and so, once its first row is there, where it ends. */
  get place(): string {
    return this.cursor ?? ''
  }

  /** Asks for a window: behind its own last one, or behind that of another reader, whose first row has come, and which ends at `begins`. */
  ask(size: number, behind?: PullReader, begins?: Lsn): void {
    const copy = behind && { from: behind.place, old: this.cursor }
    this.request(size, copy, behind, begins)
  }

  /** Asks for a window from `begins` on, after the server has refused one: the temporary slots of the session are gone then. */
  askAgain(size: number, begins: Lsn): void {
    this.request(size, { from: this.options.slot, old: undefined, to: begins }, undefined, begins)
  }

  private request(
    size: number,
    copy: CursorCopy | undefined,
    behind: PullReader | undefined,
    begins: Lsn | undefined,
  ): void {
    const { slot, plugin } = this.options
    if (copy) this.cursor = cursorName(slot)
    this.size = size
    this.behind = behind
    this.begins = begins
    this.askedAt = performance.now()
    this.window = this.windows.read(windowStatement(slot, this.place, size, plugin, copy))
    // Whose turn it is hears of it.
    this.window.catch(() => {})
  }

  /** Takes what was asked for, from its first byte on. */
  take(): Promise<Window> {
    this.windows.resume()
    return this.window ?? Promise.reject(new RangeError('no window was asked for'))
  }

  /** Ends at once; what is being read rejects with `reason`. */
  cut(reason: Error): void {
    this.client.removeAllListeners('end')
    this.windows.cut(reason)
  }
}

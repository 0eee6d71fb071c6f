import type pg from 'pg'
import { giveBlock } from './blocks.ts'
import { FrameReader } from './frames.ts'
import { commandCount, readServerError, type ServerError } from './response.ts'
import { destroyClient, socketOf, takeSocket } from './socket.ts'
import { MessageWriter } from './writer.ts'

/** What came back up to a Sync. */
export interface PipelineResult {
  /** CommandCompletes before the error, or all of them. */
  readonly completed: number
  readonly error: ServerError | undefined
  /** Transaction status of ReadyForQuery: `I` idle, `T` in a transaction, `E` in a failed one. */
  readonly status: string
  /** First character of the last command's tag: tells COMMIT from the ROLLBACK that a failed transaction answers. */
  readonly lastTag: string
}

/**
 * A pipeline of extended-query messages on an idle client's socket: many statements, one Sync.
 * Results are counts in a typed array; there is no promise, event or object per statement.
 * https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-PIPELINING
 */
export class Pipeline {
  readonly writer: MessageWriter
  /** Affected rows of each completed statement of this exchange, in order; -1 without a count. */
  counts = new Int32Array(1024)
  /** Of statements that are to meet another number of rows than one: which. */
  readonly expected = new Map<number, number>()
  private completed = 0
  private error: ServerError | undefined
  private lastTag = 0
  private status = 'I'
  private ready: (() => void) | undefined
  private failed: ((error: Error) => void) | undefined
  private readonly reader = new FrameReader((type, buffer, offset, length) =>
    this.onMessage(type, buffer, offset, length),
  )
  private readonly client: pg.Client
  private giveBack: (() => void) | undefined

  constructor(client: pg.Client) {
    this.client = client
    this.writer = new MessageWriter(socketOf(client))
  }

  /** Begins an exchange: from here to `sync` the client takes no other query. */
  open(): void {
    this.completed = 0
    this.error = undefined
    this.lastTag = 0
    this.expected.clear()
    this.writer.executes = 0
    this.giveBack = takeSocket(this.client, (chunk) => {
      try {
        this.reader.push(chunk)
      } catch (error) {
        destroyClient(this.client, error as Error)
      }
    })
  }

  /** True once the server has refused a statement of this exchange: more of them would be in vain. */
  get refused(): boolean {
    return this.error !== undefined
  }

  /** True between `open` and the end of `sync`. */
  get isOpen(): boolean {
    return this.giveBack !== undefined
  }

  /** Statements written in this exchange. */
  get sent(): number {
    return this.writer.executes
  }

  /** The count of the last statement that completed; 0 without one. */
  get lastCount(): number {
    return this.completed === 0 ? 0 : this.counts[this.completed - 1]!
  }

  /** A statement without parameters, parsed each time. */
  statement(sql: string): void {
    this.writer.parse('', sql, [])
    this.writer.bind('', 0, 0)
    this.writer.endBindAndExecute()
  }

  /**
   * COPY … FROM STDIN and its data, in messages, whose blocks are given back. The server reads them from the pipeline like any other ones, and passes
   * over them where it refuses the statement.
   * https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-COPY
   */
  copy(sql: string, data: readonly Buffer[], rows: number): void {
    this.expected.set(this.sent, rows)
    this.statement(sql)
    for (const message of data) this.writer.raw(message, () => giveBlock(message))
    this.writer.message('c')
  }

  /** Runs a statement that the server knows, and that is to meet so many rows. The values' blocks are given back. */
  bindValues(name: string, values: readonly Buffer[], rows: number, binary: boolean): void {
    this.expected.set(this.sent, rows)
    this.writer.bind(
      name,
      values.length,
      values.reduce((sum, value) => sum + value.length, 0),
      binary,
    )
    for (const value of values) this.writer.value(value, 0, value.length, () => giveBlock(value))
    this.writer.endBindAndExecute()
  }

  /** Waits until the socket takes more. Rejects where the connection is gone. */
  drained(): Promise<void> {
    const socket = socketOf(this.client)
    return new Promise((resolve, reject) => {
      const end = (): void => {
        socket.removeListener('drain', end)
        socket.removeListener('close', end)
        if (socket.destroyed) reject(this.error ?? connectionGone())
        else resolve()
      }
      if (socket.destroyed || !socket.writableNeedDrain) {
        end()
        return
      }
      socket.on('drain', end)
      socket.on('close', end)
    })
  }

  /**
   * Ends the exchange: sends Sync, waits for ReadyForQuery. Rejects where the connection goes away first.
   * `afterSending` runs between the two.
   */
  async sync(afterSending?: () => Promise<void> | undefined): Promise<PipelineResult> {
    const socket = socketOf(this.client)
    const gone = (): void => this.failed?.(this.error ?? connectionGone())
    try {
      await new Promise<void>((resolve, reject) => {
        this.ready = resolve
        this.failed = reject
        if (socket.destroyed) return reject(connectionGone())
        socket.once('close', gone)
        this.writer.message('S')
        this.writer.flush()
        afterSending?.()?.catch(reject)
      })
    } finally {
      socket.removeListener('close', gone)
      this.ready = undefined
      this.failed = undefined
      this.giveBack?.()
      this.giveBack = undefined
    }
    return {
      completed: this.completed,
      error: this.error,
      status: this.status,
      lastTag: String.fromCharCode(this.lastTag),
    }
  }

  private onMessage(type: number, buffer: Buffer, offset: number, length: number): void {
    switch (type) {
      case 0x43: // CommandComplete
        if (this.completed === this.counts.length) this.grow()
        this.counts[this.completed++] = commandCount(buffer, offset, length)
        this.lastTag = buffer[offset]!
        break
      case 0x45: // ErrorResponse
        this.error ??= readServerError(buffer, offset, length)
        break
      case 0x5a: // ReadyForQuery
        this.status = String.fromCharCode(buffer[offset]!)
        this.ready?.()
        break
      default: // ParseComplete, BindComplete, DataRow, notices, parameter status: nothing to do
        break
    }
  }

  private grow(): void {
    const counts = new Int32Array(this.counts.length * 2)
    counts.set(this.counts)
    this.counts = counts
  }
}

function connectionGone(): Error {
  return Object.assign(new Error('connection terminated'), { code: '08006', severity: 'FATAL' })
}

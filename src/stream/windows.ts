import type { Socket } from 'node:net'
import type pg from 'pg'
import { serialize } from 'pg-protocol'
import { FrameReader } from '../postgres/frames.ts'
import { readServerError, type ServerError } from '../postgres/response.ts'
import { destroyClient, socketOf, takeSocket } from '../postgres/socket.ts'
import type { Flow } from './flow.ts'
import { StreamClosed } from './receiver.ts'

export interface WindowHandlers {
  /** The first row of a window is there. */
  first(): void
  /** A message of the output plugin; the bytes are valid only during the call. */
  wal(buffer: Buffer, offset: number, length: number): void
  /** What the server says beside the rows. */
  notice(notice: ServerError): void
}

/** What one window brought. */
export interface Window {
  readonly messages: number
  /** Milliseconds from the request to the first row: what the upstream took to decode it, and the wait for its turn. */
  readonly firstMs: number
  /** The only row of the statement behind the COPY. */
  readonly row: readonly string[]
}

const copyOutResponse = 0x48 // H
const copyData = 0x64 // d
const dataRow = 0x44 // D
const errorResponse = 0x45 // E
const noticeResponse = 0x4e // N
const readyForQuery = 0x5a // Z

/** PGCOPY\n\377\r\n\0, flags, length of the extension: https://www.postgresql.org/docs/current/sql-copy.html */
const headerBytes = 19
/** One field, and its length. */
const rowHead = 6

/**
 * Reads windows over an ordinary connection: each a COPY of one bytea column in binary format and a small query behind it. The server sends
 * each row as one CopyData message, so that no row needs an object here.
 */
export class Windows {
  /** Messages of the window that is being read. */
  messages = 0
  private readonly client: pg.Client
  private readonly flow: Flow
  private readonly socket: Socket
  private readonly handlers: WindowHandlers
  private readonly reader = new FrameReader((type, buffer, offset, length) =>
    this.onFrame(type, buffer, offset, length),
  )
  private begun = false
  /** Its rows are wanted now. */
  private resumed = false
  private askedAt = 0
  private firstMs = 0
  private row: string[] = []
  private error: ServerError | undefined
  private onReady: ((window: Window) => void) | undefined
  private onFailure: ((error: Error) => void) | undefined
  private over = false

  /** Takes the client for itself: from here on it only reads windows. */
  constructor(client: pg.Client, flow: Flow, handlers: WindowHandlers) {
    this.client = client
    this.flow = flow
    this.handlers = handlers
    this.socket = socketOf(client)
    takeSocket(client, (chunk) => this.onChunk(chunk))
    this.socket.on('error', (error) => this.end(error))
    this.socket.on('close', () => this.end(new StreamClosed('the server closed the connection')))
    this.socket.pause()
  }

  /** What was asked for may arrive. */
  resume(): void {
    this.resumed = true
    this.flow.attach(this.socket)
  }

  /** True between the request for a window and its end. */
  get isReading(): boolean {
    return this.onReady !== undefined
  }

  /**
   * Rejects with a ServerError where the server refuses the window; the connection serves then, without the temporary slots of its session.
   * With anything else it is gone.
   */
  read(statement: string): Promise<Window> {
    return new Promise((resolve, reject) => {
      this.onReady = resolve
      this.onFailure = reject
      this.messages = 0
      this.begun = false
      this.row = []
      this.error = undefined
      this.askedAt = performance.now()
      this.firstMs = 0
      if (this.socket.destroyed) return this.end(new StreamClosed('the connection is closed'))
      this.socket.write(serialize.query(statement))
    })
  }

  /** Cuts the connection; a window that is being read rejects with `reason`. */
  cut(reason: Error): void {
    this.end(reason)
  }

  private onChunk(chunk: Buffer): void {
    if (this.over) return
    this.flow.received(chunk.length)
    try {
      this.reader.push(chunk)
    } catch (error) {
      this.end(error as Error)
    }
  }

  private onFrame(type: number, buffer: Buffer, offset: number, length: number): void {
    if (this.over) return
    if (type === copyData) this.onCopyData(buffer, offset, length)
    else if (type === copyOutResponse) this.begun = false
    else if (type === dataRow) this.row = readRow(buffer, offset)
    else if (type === errorResponse) this.error ??= readServerError(buffer, offset, length)
    else if (type === noticeResponse) this.handlers.notice(readServerError(buffer, offset, length))
    else if (type === readyForQuery) this.ready()
  }

  private onCopyData(buffer: Buffer, offset: number, length: number): void {
    if (!this.resumed) throw new RangeError('rows of a window before its turn')
    const end = offset + length
    let at = offset
    if (!this.begun) {
      this.begun = true
      this.firstMs = performance.now() - this.askedAt
      this.handlers.first()
      at += headerBytes
    }
    if (at + 2 > end) throw new RangeError(`COPY data of ${length} bytes`)
    // The trailer: -1 fields.
    if (buffer.readInt16BE(at) === -1) return
    if (buffer.readInt16BE(at) !== 1 || at + rowHead + buffer.readInt32BE(at + 2) !== end)
      throw new RangeError(`COPY data of ${length} bytes is no row of one column`)
    this.messages++
    this.handlers.wal(buffer, at + rowHead, end - at - rowHead)
  }

  private ready(): void {
    const { onReady, onFailure, error, messages, firstMs, row } = this
    this.onReady = undefined
    this.onFailure = undefined
    this.resumed = false
    this.socket.pause()
    if (error) onFailure?.(error)
    else onReady?.({ messages, firstMs, row })
  }

  private end(error: Error): void {
    if (this.over) return
    this.over = true
    const failure = this.onFailure
    this.onReady = undefined
    this.onFailure = undefined
    destroyClient(this.client)
    // A server that goes away says why first.
    failure?.(this.error ?? error)
  }
}

/** The values of a DataRow as text; null as an empty one. */
function readRow(buffer: Buffer, offset: number): string[] {
  const values: string[] = []
  let at = offset + 2
  for (let left = buffer.readInt16BE(offset); left > 0; left--) {
    const length = buffer.readInt32BE(at)
    values.push(buffer.toString('utf8', at + 4, at + 4 + Math.max(0, length)))
    at += 4 + Math.max(0, length)
  }
  return values
}

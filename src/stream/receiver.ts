import type { Socket } from 'node:net'
import type pg from 'pg'
import { serialize } from 'pg-protocol'
import { formatLsn, type Lsn } from '../model/lsn.ts'
import { FrameReader } from '../postgres/frames.ts'
import { quoteIdentifier, quoteLiteral } from '../postgres/identifier.ts'
import { readServerError, type ServerError } from '../postgres/response.ts'
import { destroyClient, socketOf, takeSocket } from '../postgres/socket.ts'
import type { Flow } from './flow.ts'
import { encodeStatus, type StandbyStatus } from './status.ts'

export interface StreamHandlers {
  /** A message of the output plugin; the bytes are valid only during the call. */
  wal(buffer: Buffer, offset: number, length: number): void
  keepalive(walEnd: Lsn, replyRequested: boolean): void
  /** What the server says beside the stream, in its place; to throw ends the stream. */
  notice(notice: ServerError): void
  /** The stream is over: by an error of the server, a lost connection, or a fault in `wal`, `keepalive` or `notice`. */
  ended(error: Error): void
}

export interface StreamOptions {
  readonly slot: string
  readonly start: Lsn
  /** Options of the output plugin. */
  readonly plugin: Readonly<Record<string, string>>
}

/** The connection ended, or the server ended the stream, without saying why. */
export class StreamClosed extends Error {}

const copyData = 0x64 // d
const copyDone = 0x63 // c
const copyBothResponse = 0x57 // W
const errorResponse = 0x45 // E
const noticeResponse = 0x4e // N
const xlogData = 0x77 // w
const primaryKeepalive = 0x6b // k
/** XLogData: type byte, WAL start, WAL end, send time. */
const xlogDataHeader = 25

/**
 * The upstream's stream: START_REPLICATION on a walsender connection, its bytes read by an own frame
 * reader straight from the socket. Pausing holds back the server by TCP; status updates go out all the same.
 * https://www.postgresql.org/docs/current/protocol-replication.html
 */
export class Receiver {
  private readonly socket: Socket
  private readonly client: pg.Client
  private readonly flow: Flow
  private readonly handlers: StreamHandlers
  private readonly reader: FrameReader
  private onStart: () => void = () => {}
  private onEnd: (error: Error) => void = () => {}
  private over = false
  private streaming = false

  constructor(client: pg.Client, flow: Flow, handlers: StreamHandlers) {
    this.client = client
    this.flow = flow
    this.handlers = handlers
    this.socket = socketOf(client)
    this.reader = new FrameReader((type, buffer, offset, length) =>
      this.onFrame(type, buffer, offset, length),
    )
  }

  /** Resolves at CopyBothResponse; rejects with the server's error (55006 where the slot is in use). */
  start(options: StreamOptions): Promise<void> {
    return new Promise((resolve, reject) => {
      this.onEnd = reject
      this.onStart = () => {
        this.streaming = true
        this.flow.attach(this.socket)
        this.onEnd = (error) => this.handlers.ended(error)
        resolve()
      }
      takeSocket(this.client, (chunk) => this.onChunk(chunk))
      this.socket.on('error', (error) => this.end(error))
      this.socket.on('close', () => this.end(new StreamClosed('the server closed the connection')))
      if (this.socket.destroyed) return this.end(new StreamClosed('the connection is closed'))
      this.socket.write(serialize.query(startCommand(options)))
    })
  }

  /** Between the server's word that it streams and the end. */
  get isStreaming(): boolean {
    return this.streaming && !this.over
  }

  sendStatus(status: StandbyStatus): void {
    if (this.isStreaming && !this.socket.destroyed) this.socket.write(encodeStatus(status))
  }

  /** Says CopyDone, so that the walsender ends and frees the slot; what it still sends is thrown away. */
  async finish(): Promise<void> {
    this.over = true
    if (this.socket.destroyed) return
    this.socket.write(Buffer.from([copyDone, 0, 0, 0, 4]))
    this.socket.end(Buffer.from([0x58, 0, 0, 0, 4])) // Terminate
    this.socket.resume()
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => {
        this.socket.destroy()
        resolve()
      }, 2000)
      this.socket.once('close', () => {
        clearTimeout(timer)
        resolve()
      })
    })
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
    else if (type === copyBothResponse) this.onStart()
    else if (type === errorResponse) this.end(readServerError(buffer, offset, length))
    else if (type === noticeResponse) this.handlers.notice(readServerError(buffer, offset, length))
    else if (type === copyDone) this.end(new StreamClosed('the server ended the stream'))
  }

  private onCopyData(buffer: Buffer, offset: number, length: number): void {
    const type = buffer[offset]
    if (type === xlogData && length >= xlogDataHeader)
      this.handlers.wal(buffer, offset + xlogDataHeader, length - xlogDataHeader)
    else if (type === primaryKeepalive && length >= 18)
      this.handlers.keepalive(buffer.readBigUInt64BE(offset + 1), buffer[offset + 17] === 1)
    else throw new RangeError(`replication message of type ${type} and ${length} bytes`)
  }

  private end(error: Error): void {
    if (this.over) return
    this.over = true
    destroyClient(this.client)
    this.onEnd(error)
  }
}

function startCommand(options: StreamOptions): string {
  const plugin = Object.entries(options.plugin).map(
    ([name, value]) => `${quoteIdentifier(name)} ${quoteLiteral(value)}`,
  )
  return `START_REPLICATION SLOT ${quoteIdentifier(options.slot)} LOGICAL ${formatLsn(options.start)} (${plugin.join(', ')})`
}

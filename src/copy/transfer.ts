import type pg from 'pg'
import type { End } from '../postgres/end.ts'
import { commandCount, readServerError } from '../postgres/response.ts'
import { destroyClient, socketOf, takeSocket } from '../postgres/socket.ts'
import { CopyScanner } from './scanner.ts'

/** What stopped a copy, and at which end. */
export class CopyFailed extends Error {
  readonly end: End
  override readonly cause: Error
  /** `schema.table`, once it is known. */
  table: string | undefined

  constructor(end: End, cause: Error) {
    super(cause.message)
    this.end = end
    this.cause = cause
  }
}

export interface Transferred {
  readonly rows: number
  /** Of CopyData messages. */
  readonly bytes: number
}

/**
 * Runs COPY … TO STDOUT upstream and COPY … FROM STDIN downstream, and lets the one's bytes flow into the other: chunks of
 * the socket, never rows. The slower end holds back the other one. Both clients are idle, or in a transaction; after an error (CopyFailed)
 * both connections are cut. `moved` hears of bytes.
 * https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-COPY
 */
export function transfer(
  ends: { readonly upstream: pg.Client; readonly downstream: pg.Client },
  statements: { readonly out: string; readonly into: string },
  moved: (bytes: number) => void,
): Promise<Transferred> {
  const from = socketOf(ends.upstream)
  const to = socketOf(ends.downstream)
  return new Promise((resolve, reject) => {
    let bytes = 0
    let rows = 0
    let waiting = 2
    let over = false
    const giveBack: (() => void)[] = []
    const end = (error?: CopyFailed): void => {
      if (over) return
      over = true
      from.removeListener('close', upstreamGone)
      to.removeListener('close', downstreamGone)
      to.removeListener('drain', resume)
      for (const give of giveBack) give()
      if (!error) {
        resolve({ rows, bytes })
        return
      }
      for (const client of [ends.upstream, ends.downstream]) destroyClient(client)
      reject(error)
    }
    const gone = (which: End) => () => end(new CopyFailed(which, connectionGone()))
    const upstreamGone = gone('upstream')
    const downstreamGone = gone('downstream')
    const resume = (): void => void from.resume()
    const ready = (): void => {
      if (--waiting === 0) end()
    }
    const refused = (which: End, buffer: Buffer, offset: number, length: number): void =>
      end(new CopyFailed(which, readServerError(buffer, offset, length)))

    const above = new CopyScanner({
      data: (chunk) => {
        bytes += chunk.length
        moved(chunk.length)
        if (!to.write(chunk)) from.pause()
      },
      message: (type, buffer, offset, length) => {
        if (type === 0x45) refused('upstream', buffer, offset, length)
        else if (type === 0x63) to.write(message('c'))
        else if (type === 0x5a) ready()
      },
    })
    const below = new CopyScanner({
      data: () => {},
      message: (type, buffer, offset, length) => {
        if (type === 0x45) refused('downstream', buffer, offset, length)
        else if (type === 0x47) from.write(message('Q', statements.out))
        else if (type === 0x43) rows = Math.max(0, commandCount(buffer, offset, length))
        else if (type === 0x5a) ready()
      },
    })
    const take = (which: End, scanner: CopyScanner): void => {
      giveBack.push(
        takeSocket(ends[which], (chunk) => {
          if (over) return
          try {
            scanner.push(chunk)
          } catch (error) {
            end(new CopyFailed(which, error as Error))
          }
        }),
      )
    }
    if (from.destroyed) upstreamGone()
    if (to.destroyed) downstreamGone()
    if (over) return
    take('upstream', above)
    take('downstream', below)
    from.once('close', upstreamGone)
    to.once('close', downstreamGone)
    to.on('drain', resume)
    to.write(message('Q', statements.into))
  })
}

function message(type: string, text?: string): Buffer {
  const body = text === undefined ? Buffer.alloc(0) : Buffer.from(`${text}\0`)
  const head = Buffer.alloc(5)
  head.write(type, 'latin1')
  head.writeUInt32BE(4 + body.length, 1)
  return Buffer.concat([head, body])
}

function connectionGone(): Error {
  return Object.assign(new Error('connection terminated'), { code: '08006', severity: 'FATAL' })
}

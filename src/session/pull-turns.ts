import type pg from 'pg'
import type { Lsn } from '../model/lsn.ts'
import { ServerError } from '../postgres/response.ts'
import { setLifelines, setWindowMemory } from '../provision/cursor.ts'
import type { Flow } from '../stream/flow.ts'
import type { WindowHandlers } from '../stream/windows.ts'
import type { EndConnections } from './connections.ts'
import { PullReader } from './pull-reader.ts'
import { smallerSize } from './pull-size.ts'

/** What was asked for was given up; the connection with it. */
export class GivenUp extends Error {}

/** It was decoded, and waited for its turn for too long. */
class Waited extends GivenUp {}

/** configuration_limit_exceeded: no free slot, or temp_file_limit. https://www.postgresql.org/docs/current/errcodes-appendix.html */
const limitExceeded = '53400'

export interface TurnsOptions {
  readonly connections: EndConnections
  readonly flow: Flow
  readonly slot: string
  readonly plugin: Readonly<Record<string, string>>
  readonly handlers: (reader: () => PullReader) => WindowHandlers
}

/** The sessions that bring windows by turns: two, or one where the upstream has no room for another. */
export class Turns {
  /** Whose window is awaited, or arrives. */
  current: PullReader
  /** No other session is to be asked. */
  alone = false
  private closed = false
  private readonly readers: PullReader[] = []
  private readonly options: TurnsOptions

  /** `client`: of the first one, which has the cursor. */
  constructor(options: TurnsOptions, client: pg.Client, cursor: string) {
    this.options = options
    this.current = this.take(client, cursor)
  }

  private take(client: pg.Client, cursor?: string): PullReader {
    const { flow, slot, plugin, handlers } = this.options
    const reader: PullReader = new PullReader(
      { client, flow, slot, plugin, cursor },
      handlers(() => reader),
    )
    this.readers.push(reader)
    return reader
  }

  /** The other session; it is made where there is none yet. Rejects where the upstream does not let us. */
  async other(reader: PullReader): Promise<PullReader> {
    const found = this.readers.find((each) => each !== reader)
    if (found) return found
    const { connections } = this.options
    const client = await connections.another()
    await setLifelines(client)
    await setWindowMemory(client)
    if (!this.closed) return this.take(client)
    await connections.leave(client)
    throw new Error('the pull is over')
  }

  /**
   * Who goes on at `place` where a reader did not bring its window, of which nothing has come; undefined: nobody. What is left of the window before
   * is applied by then.
   */
  instead(reader: PullReader, reason: Error | undefined, place: Lsn): PullReader | undefined {
    const refused = reason instanceof ServerError
    if (reader.windows.messages > 0 || !(refused || reason instanceof Waited)) return undefined
    // There may be room for one of them.
    if (reader.behind) {
      this.alone = true
      reader.behind.ask(reader.size)
      return reader.behind
    }
    const smaller = refused && reason.code === limitExceeded ? smallerSize(reader.size) : undefined
    if (smaller === undefined) return undefined
    reader.askAgain(smaller, place)
    return reader
  }

  /** Who was asked for more than `milliseconds` ago, and whose turn has not come. */
  waiting(milliseconds: number): PullReader | undefined {
    const before = performance.now() - milliseconds
    return this.readers.find(
      (each) => each !== this.current && each.windows.isReading && each.askedAt < before,
    )
  }

  /** Gives up a window that waits: it keeps a snapshot upstream, and the server would end the connection. One session is enough then. */
  async drop(reader: PullReader): Promise<void> {
    this.alone = true
    await this.end([reader], new Waited('it waits for too long'))
  }

  /** Ends what is being read; it is no lost connection. The server would notice by itself within a second, where it can. */
  async giveUp(reason: Error): Promise<void> {
    await this.end(this.readers, reason)
  }

  private async end(readers: readonly PullReader[], reason: Error): Promise<void> {
    const reading = readers.filter(({ windows }) => windows.isReading)
    for (const reader of reading) reader.cut(reason)
    if (reading.length === 0) return
    const text = 'SELECT pg_catalog.pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid'
    await this.options.connections.upstream.query(text, [reading.map(({ pid }) => pid)]).catch(() => {})
  }

  /** Ends all. */
  async close(reason: Error): Promise<void> {
    this.closed = true
    const given = this.giveUp(reason)
    for (const reader of this.readers) reader.cut(reason)
    await Promise.all([given, ...this.readers.map(({ client }) => this.options.connections.leave(client))])
  }
}

/** Where a window that was asked for ahead begins has to be where the one before it ends. */
export function requireNext(reader: PullReader, end: Lsn): PullReader {
  if (reader.begins !== end) throw new RangeError('a window begins where none has ended')
  return reader
}

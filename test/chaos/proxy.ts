import { createServer, connect as dial, type Server, type Socket } from 'node:net'

/** Towards the server, towards the client, or both. */
export type Direction = 'up' | 'down' | 'both'

interface Pair {
  readonly client: Socket
  readonly server: Socket
  /** Directions whose last chunk is still on its way, in pieces: the next one has to wait for it. */
  readonly inPieces: Set<'up' | 'down'>
}

/** How the bytes of one direction go on: whole chunks, some bytes at a time, or so many bytes a second. */
type Manner =
  | { readonly kind: 'plain' }
  | { readonly kind: 'dribble' }
  | { readonly kind: 'slow'; readonly rate: number }

/** A TCP proxy before one server, which can do to its connections what networks do. */
export class TcpProxy {
  readonly host = '127.0.0.1'
  /** Connections made so far. */
  connections = 0
  private readonly server: Server
  private readonly target: () => number
  private readonly pairs = new Set<Pair>()
  private manner: Manner = { kind: 'plain' }
  private readonly stalled = { up: false, down: false }
  private refusing = false
  private last: string | undefined

  private constructor(server: Server, target: () => number) {
    this.server = server
    this.target = target
  }

  /** Listens on a free port of 127.0.0.1; `target` gives the port of the server there. */
  static async listen(target: () => number): Promise<TcpProxy> {
    const server = createServer({ pauseOnConnect: true })
    const proxy = new TcpProxy(server, target)
    server.on('connection', (client) => proxy.accept(client))
    await new Promise<void>((resolve) => server.listen(0, proxy.host, resolve))
    return proxy
  }

  get port(): number {
    const address = this.server.address()
    return typeof address === 'object' && address ? address.port : 0
  }

  /** Ends every connection in order (FIN), whatever is in flight. */
  cut(): void {
    for (const { client, server } of this.pairs) {
      client.destroy()
      server.destroy()
    }
  }

  /** Ends every connection by RST. */
  reset(): void {
    for (const { client, server } of this.pairs) {
      client.resetAndDestroy()
      server.resetAndDestroy()
    }
  }

  /** Takes no bytes of that direction, of present and new connections, until `pass`. */
  stall(direction: Direction): void {
    if (direction !== 'down') this.stalled.up = true
    if (direction !== 'up') this.stalled.down = true
    for (const { client, server } of this.pairs) {
      if (this.stalled.up) client.pause()
      if (this.stalled.down) server.pause()
    }
  }

  /** As `stall` both directions, as soon as a client sends something with these words: the server never gets them. */
  stallAt(words: string): void {
    this.last = words
  }

  /** Both directions at so many bytes a second for each connection, until `pass`. */
  slow(rate: number): void {
    this.manner = { kind: 'slow', rate }
  }

  /** A few bytes at a time, each in a packet of its own, until `pass`. */
  dribble(): void {
    this.manner = { kind: 'dribble' }
  }

  /** New connections are closed at once, until `pass`. */
  refuse(): void {
    this.refusing = true
  }

  /** Everything as it should be again. */
  pass(): void {
    this.manner = { kind: 'plain' }
    this.refusing = false
    this.stalled.up = false
    this.stalled.down = false
    for (const pair of this.pairs) {
      this.resume(pair, 'up')
      this.resume(pair, 'down')
    }
  }

  async close(): Promise<void> {
    this.cut()
    await new Promise<void>((resolve) => this.server.close(() => resolve()))
  }

  private accept(client: Socket): void {
    this.connections++
    if (this.refusing) {
      client.resetAndDestroy()
      return
    }
    const server = dial(this.target(), this.host)
    const pair: Pair = { client, server, inPieces: new Set() }
    this.pairs.add(pair)
    for (const socket of [client, server]) {
      socket.setNoDelay(true)
      socket.on('error', () => {})
    }
    const gone = (other: Socket) => () => {
      this.pairs.delete(pair)
      other.destroySoon()
    }
    client.on('close', gone(server))
    server.on('close', gone(client))
    this.forward(pair, 'up')
    this.forward(pair, 'down')
    server.on('connect', () => {
      if (!this.stalled.up) client.resume()
      if (this.stalled.down) server.pause()
    })
  }

  private forward(pair: Pair, direction: 'up' | 'down'): void {
    const [from, to] = direction === 'up' ? [pair.client, pair.server] : [pair.server, pair.client]
    from.on('data', (chunk: Buffer) => {
      if (direction === 'up' && this.last !== undefined && chunk.includes(this.last)) {
        this.last = undefined
        this.stall('both')
        return
      }
      if (this.manner.kind === 'plain') {
        if (to.write(chunk)) return
        from.pause()
        to.once('drain', () => this.resume(pair, direction))
        return
      }
      from.pause()
      pair.inPieces.add(direction)
      void this.piecewise(chunk, to).then(() => {
        pair.inPieces.delete(direction)
        this.resume(pair, direction)
      })
    })
    from.on('end', () => to.end())
  }

  private resume(pair: Pair, direction: 'up' | 'down'): void {
    if (this.stalled[direction] || pair.inPieces.has(direction)) return
    const from = direction === 'up' ? pair.client : pair.server
    from.resume()
  }

  private async piecewise(chunk: Buffer, to: Socket): Promise<void> {
    for (let at = 0; at < chunk.length && !to.destroyed; ) {
      const { manner } = this
      const size =
        manner.kind === 'plain'
          ? chunk.length
          : manner.kind === 'slow'
            ? Math.ceil(manner.rate / 20)
            : 1 + (at % 3)
      to.write(chunk.subarray(at, at + size))
      at += size
      if (manner.kind === 'slow') await new Promise((resolve) => setTimeout(resolve, 50))
      else if (manner.kind === 'dribble') await new Promise((resolve) => setImmediate(resolve))
    }
  }
}

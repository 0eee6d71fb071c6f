import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/**
 * A pooler as small as it can be: its clients share one connection to a real server, each for one transaction
 * (`transaction`), or have one each and are only told a wrong process id (`session`). Trust authentication only.
 */
export async function startPooler(
  serverPort: number,
  mode: 'transaction' | 'session',
): Promise<{ port: number; close: () => void }> {
  const sockets = new Set<Socket>()
  let shared: Promise<Backend> | undefined
  const listener = createServer((client) => {
    sockets.add(client)
    client.on('error', () => {})
    client.once('data', async (startup: Buffer) => {
      const opening = (mode === 'transaction' && shared) || Backend.open(serverPort, startup)
      if (mode === 'transaction') shared = opening
      const backend = await opening
      backend.socket.once('close', () => {
        if (shared === opening) shared = undefined
      })
      sockets.add(backend.socket)
      client.once('close', () => (mode === 'session' ? backend.socket.destroy() : backend.release(client)))
      client.write(backend.greeting)
      client.on('data', (chunk: Buffer) => backend.send(client, chunk))
    })
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  return {
    port: (listener.address() as AddressInfo).port,
    close: () => {
      for (const socket of sockets) socket.destroy()
      listener.close()
    },
  }
}

/** One connection to the server; lent to a client until the server says that it is outside of transactions. */
class Backend {
  readonly socket: Socket
  /** What the server said up to its first ReadyForQuery, with another process id. */
  greeting = Buffer.alloc(0)
  #borrower: Socket | undefined
  #waiting: { client: Socket; chunk: Buffer }[] = []
  #rest = Buffer.alloc(0)

  static async open(port: number, startup: Buffer): Promise<Backend> {
    const backend = new Backend(connect(port, '127.0.0.1'))
    backend.socket.write(startup)
    await new Promise<void>((resolve) => backend.#receive(resolve))
    return backend
  }

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('error', () => {})
  }

  send(client: Socket, chunk: Buffer): void {
    // Terminate ends the client, not the shared backend.
    if (chunk[0] === 0x58) {
      client.end()
      return
    }
    if (this.#borrower && this.#borrower !== client) {
      this.#waiting.push({ client, chunk })
      return
    }
    this.#borrower = client
    this.socket.write(chunk)
  }

  release(client: Socket): void {
    this.#waiting = this.#waiting.filter((each) => each.client !== client)
    if (this.#borrower === client) this.socket.destroy()
  }

  #receive(ready: () => void): void {
    this.socket.on('data', (chunk: Buffer) => {
      this.#rest = Buffer.concat([this.#rest, chunk])
      while (this.#rest.length >= 5 && this.#rest.length > this.#rest.readUInt32BE(1)) {
        const length = 1 + this.#rest.readUInt32BE(1)
        this.#message(Buffer.from(this.#rest.subarray(0, length)), ready)
        this.#rest = this.#rest.subarray(length)
      }
    })
  }

  #message(message: Buffer, ready: () => void): void {
    const type = String.fromCharCode(message[0]!)
    if (type === 'K') message.writeUInt32BE(message.readUInt32BE(5) ^ 0x0f0f, 5)
    if (this.#borrower) this.#borrower.write(message)
    else this.greeting = Buffer.concat([this.greeting, message])
    if (type !== 'Z') return
    if (!this.#borrower) ready()
    if (message[5] !== 0x49) return
    this.#borrower = undefined
    const next = this.#waiting.shift()
    if (next) this.send(next.client, next.chunk)
  }
}

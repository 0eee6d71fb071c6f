import { type OnReadOpts, Socket, type SocketConstructorOpts } from 'node:net'
import type pg from 'pg'

/** What `pg` keeps inside, as far as it is needed here (pg 8: lib/client.js, lib/connection.js). */
interface ClientInside {
  readonly connection: { readonly stream: Socket }
}

/** The socket (plain or TLS) under a connected client. */
export function socketOf(client: pg.Client): Socket {
  return (client as unknown as ClientInside).connection.stream
}

const readSize = 256 * 1024

/** Sockets whose bytes go to one that is done with them when its call ends. */
const taken = new WeakSet<Socket>()

/**
 * A socket that reads into one buffer, again and again: another one for each read, as Node has it, costs more than to decode
 * what is in it. Not for TLS, which has buffers of its own.
 */
export function bulkSocket(): Socket {
  const onread: OnReadOpts = {
    buffer: Buffer.allocUnsafeSlow(readSize),
    callback: (length, { buffer, byteOffset }) => {
      const bytes = Buffer.from(buffer, byteOffset, length)
      // `pg` keeps the beginning of a message whose rest is still to come.
      socket.emit('data', taken.has(socket) ? bytes : Buffer.from(bytes))
      return true
    },
  }
  // An option of the constructor: https://nodejs.org/api/net.html#new-netsocketoptions
  const socket = new Socket({ onread } as SocketConstructorOpts)
  return socket
}

/**
 * Takes the incoming bytes of an idle client away from `pg`'s parser (whose messages are views into a
 * buffer that it reuses) and gives them to `listener`. Call the result to give them back, when the
 * session is idle again. Only at ReadyForQuery: then no byte is on its way between the two. Of a bulk socket the bytes are
 * valid only during the call.
 */
export function takeSocket(client: pg.Client, listener: (chunk: Buffer) => void): () => void {
  const socket = socketOf(client)
  const theirs = socket.listeners('data') as ((chunk: Buffer) => void)[]
  for (const each of theirs) socket.removeListener('data', each)
  socket.on('data', listener)
  taken.add(socket)
  return () => {
    taken.delete(socket)
    socket.removeListener('data', listener)
    for (const each of theirs) socket.on('data', each)
  }
}

/** Cuts the connection without a farewell: what is open on the server is rolled back. */
export function destroyClient(client: pg.Client, reason?: Error): void {
  socketOf(client).destroy(reason)
}

import type { Socket } from 'node:net'
import type pg from 'pg'

/** What `pg` keeps inside, as far as it is needed here (pg 8: lib/client.js, lib/connection.js). */
interface ClientInside {
  readonly connection: { readonly stream: Socket }
}

/** The socket (plain or TLS) under a connected client. */
export function socketOf(client: pg.Client): Socket {
  return (client as unknown as ClientInside).connection.stream
}

/**
 * Takes the incoming bytes of an idle client away from `pg`'s parser (whose messages are views into a
 * buffer that it reuses) and gives them to `listener`. Call the result to give them back, when the
 * session is idle again. Only at ReadyForQuery: then no byte is on its way between the two.
 */
export function takeSocket(client: pg.Client, listener: (chunk: Buffer) => void): () => void {
  const socket = socketOf(client)
  const theirs = socket.listeners('data') as ((chunk: Buffer) => void)[]
  for (const each of theirs) socket.removeListener('data', each)
  socket.on('data', listener)
  return () => {
    socket.removeListener('data', listener)
    for (const each of theirs) socket.on('data', each)
  }
}

/** Cuts the connection without a farewell: what is open on the server is rolled back. */
export function destroyClient(client: pg.Client, reason?: Error): void {
  socketOf(client).destroy(reason)
}

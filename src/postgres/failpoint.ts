import type pg from 'pg'
import { type FailpointName, failpoint } from '../failpoints.ts'
import { destroyClient } from './socket.ts'

/** A failpoint at a connection: `drop` cuts it, `hang` waits for ever. */
export function failpointOn(name: FailpointName, client: pg.Client): Promise<void> | undefined {
  const hit = failpoint(name)
  if (hit === 'drop') destroyClient(client)
  return hit === 'drop' ? undefined : hit
}

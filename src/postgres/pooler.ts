import type pg from 'pg'

/** Tells that statements of one session reach several backends. */
export class PoolerFound extends Error {}

/**
 * Finds a pooler that lends a backend for a transaction or a statement only. Settings, advisory locks and
 * prepared statements do not live there. Throws PoolerFound.
 *
 * The process that greets is the one that answers, unless something stands in between; a proxy that gives each
 * client a backend of its own is fine, though. So a second client takes a backend into a transaction: a pooler
 * gives it ours, which lies idle, or gives us another one afterwards.
 */
export async function refusePooler(client: pg.Client, openSecond: () => Promise<pg.Client>): Promise<void> {
  const greeted = (client as { processID?: number | null }).processID
  const own = await backendPid(client)
  if (own === String(greeted)) return
  const second = await openSecond()
  try {
    await second.query('BEGIN').catch((error: Error) => {
      throw new PoolerFound(`BEGIN is refused: ${error.message}`)
    })
    const lent = await backendPid(second)
    if (lent === own) throw new PoolerFound(`backend ${own} answers two sessions at once`)
    const later = await backendPid(client)
    if (later !== own) throw new PoolerFound(`backends ${own} and ${later} answer one session by turns`)
  } finally {
    await second.end()
  }
}

async function backendPid(client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ pid: string }>('SELECT pg_catalog.pg_backend_pid() AS pid')
  return rows[0]!.pid
}

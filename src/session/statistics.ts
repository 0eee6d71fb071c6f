import type pg from 'pg'
import { qualified } from '../copy/statements.ts'
import { relationName } from '../model/relation.ts'
import { connect } from '../postgres/connect.ts'
import { destroyClient } from '../postgres/socket.ts'
import { sqlstate } from '../postgres/sqlstate.ts'
import { ask, column } from '../provision/query.ts'
import { instance } from '../provision/same-server.ts'
import type { CopyContext } from './context.ts'

interface DueTable {
  /** Upstream's. */
  readonly oid: string
  readonly schema: string
  readonly name: string
  attempts: number
}

/** Shorter than deadlock_timeout, so that it is never what applies that has to give way. */
const lockTimeoutMs = 500
/** At a table that others hold for so long, it is left to the next session. */
const mostAttempts = 60

/** What is to be analyzed, and on which server. */
export interface Due {
  readonly tables: DueTable[]
  readonly server: string
}

/** The copied tables of which the planner knows nothing yet, the largest first; undefined: none. */
export async function dueStatistics({ connections, settings }: CopyContext): Promise<Due | undefined> {
  const { lock } = connections
  const tables = await dueTables(lock, settings.name)
  return tables.length === 0 ? undefined : { tables, server: await instance('downstream', lock) }
}

/**
 * ANALYZE of the tables that were copied, over connections of its own beside the stream: following need not wait for it. What is left when
 * `signal` is aborted, or when a connection is lost, is done by the next session. Never throws: nothing that is wrong here is a reason to
 * end a session, and autovacuum comes to these tables, too.
 */
export async function gatherStatistics(
  context: CopyContext,
  due: Due | undefined,
  signal: AbortSignal,
): Promise<void> {
  if (!due) return
  const { settings, log } = context
  const began = performance.now()
  const total = due.tables.length
  const workers = Array.from({ length: Math.min(settings.copying.jobs, total) }, () =>
    work(context, due, signal),
  )
  // One that gets no connection leaves its tables to the others.
  const ends = await Promise.allSettled(workers)
  if (signal.aborted) return
  const tables = ends.reduce((sum, end) => sum + (end.status === 'fulfilled' ? end.value : 0), 0)
  const seconds = (performance.now() - began) / 1000
  log.info({ tables, of: total }, `gathered statistics of ${tables} tables in ${seconds.toFixed(1)} s`)
  const failed = ends.find((end) => end.status === 'rejected')
  if (failed)
    log.warn({ err: failed.reason as Error }, `over fewer connections: ${(failed.reason as Error).message}`)
}

async function dueTables(lock: pg.Client, name: string): Promise<DueTable[]> {
  const rows = await ask(
    lock,
    'downstream',
    `SELECT relation, schema, name FROM follower.copied_table
      WHERE follow = $1 AND state = 'copied' AND analyze_due ORDER BY rows DESC`,
    [name],
  )
  return rows.map((row) => ({
    oid: column(row, 'relation'),
    schema: column(row, 'schema'),
    name: column(row, 'name'),
    attempts: 0,
  }))
}

/** Takes tables until none is left; how many were analyzed. */
async function work(
  { settings, log }: CopyContext,
  { tables, server }: Due,
  signal: AbortSignal,
): Promise<number> {
  let count = 0
  const client = await connect({
    end: 'downstream',
    conninfo: settings.downstream,
    applicationName: settings.applicationName,
    signal,
  })
  const cut = (): void => destroyClient(client)
  signal.addEventListener('abort', cut, { once: true })
  try {
    if ((await instance('downstream', client)) !== server)
      throw new Error('a new connection to the downstream has reached another server')
    await ask(client, 'downstream', `SET lock_timeout = ${lockTimeoutMs}`)
    for (let table = tables.shift(); table && !signal.aborted; table = tables.shift()) {
      const outcome = await analyze(client, table)
      // Its text may hold a value of a row.
      if (outcome.startsWith('SQLSTATE'))
        log.warn(
          { relation: relationName(table) },
          `ANALYZE of ${relationName(table)} downstream failed: ${outcome}`,
        )
      if (outcome === 'later') {
        if (++table.attempts < mostAttempts) tables.push(table)
        continue
      }
      await ask(
        client,
        'downstream',
        'UPDATE follower.copied_table SET analyze_due = false WHERE follow = $1 AND relation = $2',
        [settings.name, table.oid],
      )
      if (outcome === 'done') count++
    }
    return count
  } finally {
    signal.removeEventListener('abort', cut)
    await client.end().catch(() => {})
  }
}

/** `SQLSTATE …`: an error of the table's own, which would come again. Throws what is the connection's. */
async function analyze(client: pg.Client, table: DueTable): Promise<string> {
  try {
    await client.query(`ANALYZE ${qualified(table)}`)
    return 'done'
  } catch (error) {
    const state = sqlstate(error)
    if (state === '55P03') return 'later'
    // A schema change of the stream has dropped or renamed it.
    if (state === '42P01' || state === '3F000') return 'gone'
    if (state === undefined || /^(57|53|08)/.test(state)) throw error
    return `SQLSTATE ${state}`
  }
}

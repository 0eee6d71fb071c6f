import type pg from 'pg'
import { ExitCode, FollowerError } from '../errors.ts'
import type { End } from '../postgres/end.ts'
import { isTransient, sqlstate } from '../postgres/sqlstate.ts'

/** One row as the server wrote it: booleans are `t` and `f`. */
export type Row = Readonly<Record<string, string | null>>

/**
 * Runs one statement (several without parameters); under a `name` it stays prepared. What the server or the network reports becomes a
 * FollowerError: exit 4 or 5 by the end, with the SQLSTATE, transient where trying again may help.
 */
export async function ask(
  client: pg.Client,
  end: End,
  text: string,
  params?: readonly (string | readonly string[])[],
  name?: string,
): Promise<readonly Row[]> {
  try {
    const result = await (params
      ? client.query<Row>({ text, values: [...params], ...(name === undefined ? {} : { name }) })
      : client.query<Row>(text))
    return result.rows
  } catch (error) {
    throw queryError(error, end)
  }
}

/** The first row; undefined where there is none. */
export async function askOne(
  client: pg.Client,
  end: End,
  text: string,
  params?: readonly (string | readonly string[])[],
): Promise<Row | undefined> {
  return (await ask(client, end, text, params))[0]
}

/** Runs `work` in a transaction of `client`; whatever it throws rolls back. */
export async function inTransaction<T>(client: pg.Client, end: End, work: () => Promise<T>): Promise<T> {
  await ask(client, end, 'BEGIN')
  try {
    const result = await work()
    await ask(client, end, 'COMMIT')
    return result
  } catch (error) {
    // The first error is the one to tell; a lost connection has rolled back by itself.
    await client.query('ROLLBACK').catch(() => {})
    throw error
  }
}

/** A column that the query never leaves null. */
export function column(row: Row, name: string): string {
  const value = row[name]
  if (value === null || value === undefined) throw new TypeError(`the server returned no ${name}`)
  return value
}

function queryError(error: unknown, end: End): Error {
  if (error instanceof FollowerError) return error
  const upstream = end === 'upstream'
  const { message, detail, hint } = error as { message: string; detail?: string; hint?: string }
  return new FollowerError(`${end}: ${message}`, {
    code: upstream ? 'FLW-410' : 'FLW-510',
    exit: upstream ? ExitCode.upstream : ExitCode.downstream,
    ...(detail || hint ? { detail: [detail, hint].filter(Boolean).join('\n') } : {}),
    effect: 'nothing was lost: the next start goes on where this one stopped',
    sqlstate: sqlstate(error),
    transient: isTransient(error),
    cause: error,
  })
}

import type pg from 'pg'
import { Pipeline } from '../postgres/pipeline.ts'
import { ServerError } from '../postgres/response.ts'
import type { DdlContext } from './context.ts'
import { parseStatements } from './statement.ts'

/**
 * Runs one statement with the rights of `role` (sql/downstream/replay.sql) and makes the session the daemon's own
 * again. The text must be one statement, for our parser and for the server's: EXECUTE would run several.
 * Throws the server's error; the caller has a savepoint.
 */
export async function executeAs(
  context: DdlContext,
  role: string,
  settings: Readonly<Record<string, string>>,
  statement: string,
): Promise<void> {
  const { client } = context
  if (parseStatements(statement)?.length !== 1)
    throw new ServerError(
      new Map([
        ['C', '42601'],
        ['M', 'this is not one statement'],
      ]),
    )
  await refuseSeveral(client, statement, settings)
  await client.query('SELECT follower.replay($1, $2::jsonb, $3)', [role, JSON.stringify(settings), statement])
  await cleanSession(context)
}

/**
 * Parse refuses several statements before it looks at names. What it says of names counts for nothing: it ran under
 * another search_path. https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY
 */
async function refuseSeveral(
  client: pg.Client,
  statement: string,
  settings: Readonly<Record<string, string>>,
): Promise<void> {
  const pipeline = new Pipeline(client)
  pipeline.open()
  pipeline.statement('SAVEPOINT follower_parse')
  // Moves the ends of strings, and so of statements; our own parser only knows the default.
  if (settings.standard_conforming_strings === 'off')
    pipeline.statement('SET LOCAL standard_conforming_strings = off')
  pipeline.writer.parse('', statement, [])
  const { error } = await pipeline.sync()
  await client.query('ROLLBACK TO SAVEPOINT follower_parse; RELEASE SAVEPOINT follower_parse')
  if (error?.code === '42601') throw error
}

/**
 * A cursor WITH HOLD would run its query at commit with the session's rights, and a prepared statement may be one of
 * ours under a new meaning. Both outlive a savepoint that was rolled back, or could.
 */
export async function cleanSession(context: DdlContext): Promise<void> {
  await context.client.query('CLOSE ALL; DEALLOCATE ALL')
  await context.pins()
  await limitLocks(context)
}

/**
 * Who waits for a strong lock makes every reader behind it wait: not longer than this, then whoever called tries again.
 * Reading a state locks, too. `freeLocks` takes it back for the rows of the transaction.
 */
export async function limitLocks({ client }: DdlContext): Promise<void> {
  await client.query("SET LOCAL lock_timeout = '3s'")
}

export async function freeLocks({ client }: DdlContext): Promise<void> {
  await client.query('SET LOCAL lock_timeout = 0')
}

/** Runs `work` in a savepoint that is rolled back where it throws or says false. */
export async function attempt(context: DdlContext, work: () => Promise<boolean>): Promise<boolean> {
  const { client } = context
  await client.query('SAVEPOINT follower_ddl')
  const undo = async (): Promise<void> => {
    await client.query('ROLLBACK TO SAVEPOINT follower_ddl; RELEASE SAVEPOINT follower_ddl')
    await cleanSession(context)
  }
  let keep: boolean
  try {
    keep = await work()
  } catch (error) {
    // A connection that is gone fails again here; the first error says why.
    await undo().catch(() => {})
    throw error
  }
  if (keep) await client.query('RELEASE SAVEPOINT follower_ddl')
  else await undo()
  return keep
}

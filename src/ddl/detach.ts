import type { DdlMessage } from '../model/ddl-message.ts'
import { quoteIdentifier } from '../postgres/identifier.ts'
import { sql } from '../postgres/sql.ts'
import type { DdlContext } from './context.ts'
import { executeAs } from './execute.ts'
import type { Statement } from './statement.ts'

/** The partition that ALTER TABLE … DETACH PARTITION … CONCURRENTLY (or FINALIZE) names. Pure. */
export function detachedConcurrently(
  statement: Statement,
): { readonly name: string; readonly schema: string | null } | undefined {
  const commands = statement.node.AlterTableStmt?.cmds
  if (!Array.isArray(commands)) return undefined
  for (const { AlterTableCmd: command } of commands) {
    const partition = command?.def?.PartitionCmd
    if (!partition?.name) continue
    if (command.subtype === 'AT_DetachPartitionFinalize' || partition.concurrent)
      return { name: partition.name.relname, schema: partition.name.schemaname ?? null }
  }
  return undefined
}

/**
 * Replays a plain DETACH (`run`) for a concurrent one. That leaves the bound as a CHECK on what was the partition:
 * https://www.postgresql.org/docs/current/sql-altertable.html#SQL-ALTERTABLE-DETACH-PARTITION
 */
export async function replayDetach(
  message: DdlMessage,
  statement: Statement,
  role: string,
  context: DdlContext,
  run: () => Promise<void>,
): Promise<void> {
  const detached = detachedConcurrently(statement)
  const table = message.objects.find(({ type }) => type === 'table')
  if (!detached || !table) return run()
  const { rows } = await context.client.query<{ partition: string; expression: string | null }>(
    sql('query/partition_constraint'),
    [
      table.names.map(quoteIdentifier).join('.'),
      detached.name,
      detached.schema && quoteIdentifier(detached.schema),
    ],
  )
  await run()
  const [bound] = rows
  if (bound?.expression)
    await executeAs(context, role, {}, `ALTER TABLE ${bound.partition} ADD CHECK (${bound.expression})`)
}

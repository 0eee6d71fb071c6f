import type { TargetTable } from '../model/target.ts'
import { quoteIdentifier } from '../postgres/identifier.ts'

/** `schema.table`, with ONLY for a plain table: its inheritance children have messages of their own. */
export function tableExpression(target: TargetTable): string {
  const name = `${quoteIdentifier(target.schema)}.${quoteIdentifier(target.name)}`
  return target.kind === 'p' ? name : `ONLY ${name}`
}

/**
 * One TRUNCATE for all tables of the message: foreign keys among them allow nothing else. CASCADE is not
 * repeated: the message lists what the upstream's cascade reached, and tables that only the downstream
 * has are not the upstream's to empty.
 */
export function planTruncate(targets: readonly TargetTable[], restartIdentity: boolean): string {
  return `TRUNCATE ${targets.map(tableExpression).join(', ')} ${restartIdentity ? 'RESTART' : 'CONTINUE'} IDENTITY`
}

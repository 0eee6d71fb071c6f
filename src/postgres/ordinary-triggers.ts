import { sql } from './sql.ts'

/** A trigger or rule that acts otherwise under a session_replication_role of `origin` than under `replica`. */
export interface OrdinaryTrigger {
  /** `"schema"."table"`, quoted where SQL wants it. */
  readonly table: string
  readonly kind: 'TRIGGER' | 'RULE'
  /** Quoted where SQL wants it. */
  readonly name: string
  /** Fires only under `replica`: ENABLE REPLICA. */
  readonly replicaOnly: boolean
}

type Rows = readonly Readonly<Record<string, string | null>>[]

/** Those of the tables, by one query that `query` runs. Enabled ALWAYS are not among them: they fire under both. */
export async function ordinaryTriggers(
  query: (text: string, values: string[][]) => Promise<Rows>,
  tables: readonly { readonly schema: string; readonly name: string }[],
): Promise<readonly OrdinaryTrigger[]> {
  if (tables.length === 0) return []
  const rows = await query(sql('query/ordinary_triggers'), [
    tables.map((table) => table.schema),
    tables.map((table) => table.name),
  ])
  return rows.map((row) => ({
    table: row.relation ?? '',
    kind: row.kind === 'RULE' ? 'RULE' : 'TRIGGER',
    name: row.name ?? '',
    replicaOnly: row.enabled === 'R',
  }))
}

/** As many are shown. */
const shown = 10

/** One line each. Pure. */
export function describeTriggers(found: readonly OrdinaryTrigger[]): string {
  return found
    .slice(0, shown)
    .map(
      ({ table, kind, name, replicaOnly }) =>
        `${kind.toLowerCase()} ${name} of ${table}: ${replicaOnly ? 'is for replicas only and would not fire' : 'would fire'}`,
    )
    .concat(found.length > shown ? [`and ${found.length - shown} more`] : [])
    .join('\n')
}

/** What makes them act alike under both, or allows that they don't. Pure. */
export function triggerRemedies(found: readonly OrdinaryTrigger[]): string[] {
  return [
    ...found
      .slice(0, shown)
      .flatMap(({ table, kind, name }) => [
        `ALTER TABLE ${table} DISABLE ${kind} ${name};   -- downstream: it shall not fire`,
        `ALTER TABLE ${table} ENABLE ALWAYS ${kind} ${name};   -- downstream: it shall`,
      ]),
    'or start with --ordinary-triggers fire',
  ]
}

import type pg from 'pg'
import type { FollowSettings, TablePattern } from '../model/follow.ts'
import type { End } from '../postgres/end.ts'
import { quoteIdentifier } from '../postgres/identifier.ts'
import { sql } from '../postgres/sql.ts'
import { ask, column } from './query.ts'

export interface TableName {
  readonly schema: string
  readonly name: string
}

/** An ordinary table or leaf partition that the follow carries. */
export interface FollowedTable extends TableName {
  /** The name under which its rows are sent: its root's with publish_via_partition_root. */
  readonly sentAs: TableName
  /** Never in the WAL as rows: not replicated. */
  readonly unlogged: boolean
  /** False where only inserts and truncates of it are published: then it needs no replica identity. */
  readonly publishesChanges: boolean
  /** What finds a row of an update or delete, or why nothing does. */
  readonly identity:
    | 'key'
    | 'index'
    | 'full'
    | 'nothing'
    | 'no key'
    | 'deferrable key'
    | 'invalid index'
    | 'virtual column'
}

export interface FilledTable extends TableName {
  readonly present: boolean
  readonly filled: boolean
}

/** `schema.table`, or `schema.*` of a pattern, quoted only where SQL wants it: for people. */
export function displayTable(table: TableName): string {
  return `${displayName(table.schema)}.${table.name === '*' ? '*' : displayName(table.name)}`
}

function displayName(name: string): string {
  return /^[a-z_][a-z0-9_$]*$/.test(name) ? name : quoteIdentifier(name)
}

/** The registry's notation: `"schema"."table"` or `"schema".*`. */
export function quotePattern(pattern: TablePattern): string {
  return `${quoteIdentifier(pattern.schema)}.${pattern.table === '*' ? '*' : quoteIdentifier(pattern.table)}`
}

/** The patterns of the registry's notation. */
export function parseQuotedPattern(text: string): TablePattern {
  const [, schema = '', table] = /^"((?:[^"]|"")*)"\.(?:\*|"((?:[^"]|"")*)")$/s.exec(text) ?? []
  return { schema: schema.replaceAll('""', '"'), table: table?.replaceAll('""', '"') ?? '*' }
}

/** Patterns as the two arrays that the queries take. */
export function patternArrays(patterns: readonly TablePattern[]): [string[], string[]] {
  return [patterns.map((pattern) => pattern.schema), patterns.map((pattern) => pattern.table)]
}

/** Every table that the settings name, by one query. */
export async function followedTables(
  upstream: pg.Client,
  settings: Pick<FollowSettings, 'tables' | 'publications'>,
): Promise<readonly FollowedTable[]> {
  const found = await ask(upstream, 'upstream', sql('query/followed_tables'), [
    ...patternArrays(settings.tables),
    settings.publications,
  ])
  return found.map((row) => ({
    schema: column(row, 'schema'),
    name: column(row, 'name'),
    sentAs: { schema: column(row, 'sent_schema'), name: column(row, 'sent_name') },
    unlogged: row.unlogged === 't',
    publishesChanges: row.publishes_changes === 't',
    identity: column(row, 'identity') as FollowedTable['identity'],
  }))
}

/** Whether an UPDATE or DELETE of the table would fail upstream once it is published. */
export function lacksIdentity(table: FollowedTable): boolean {
  return (
    table.publishesChanges &&
    !table.unlogged &&
    table.identity !== 'key' &&
    table.identity !== 'index' &&
    table.identity !== 'full'
  )
}

/** A partition that is published as its root and has another replica identity. */
export interface UnlikeRoot {
  readonly partition: string
  readonly partitionIdentity: string
  readonly root: string
  readonly rootIdentity: string
}

export async function unlikeRoots(
  upstream: pg.Client,
  settings: Pick<FollowSettings, 'publications'>,
): Promise<readonly UnlikeRoot[]> {
  if (settings.publications.length === 0) return []
  const found = await ask(upstream, 'upstream', sql('query/unlike_roots'), [settings.publications])
  return found.map((row) => ({
    partition: column(row, 'partition'),
    partitionIdentity: column(row, 'partition_identity'),
    root: column(row, 'root'),
    rootIdentity: column(row, 'root_identity'),
  }))
}

/** Locks are kept until the statement ends, and max_locks_per_transaction × max_connections may be about 6400. */
const tablesPerStatement = 500

/** Which of the tables are there, and which hold rows: some hundred tables a round trip. */
export async function filledTables(
  client: pg.Client,
  end: End,
  tables: readonly TableName[],
): Promise<readonly FilledTable[]> {
  const result: FilledTable[] = []
  for (let from = 0; from < tables.length; from += tablesPerStatement) {
    const slice = tables.slice(from, from + tablesPerStatement)
    const found = await ask(client, end, sql('query/tables_with_rows'), [
      slice.map((table) => table.schema),
      slice.map((table) => table.name),
    ])
    for (const row of found)
      result.push({
        schema: column(row, 'schema'),
        name: column(row, 'name'),
        present: row.present === 't',
        filled: row.filled === 't',
      })
  }
  return result
}

/** What a follow without a copy would never bring: tables that are missing downstream, and rows. */
export interface Uncopied {
  readonly missing: readonly TableName[]
  readonly empty: readonly TableName[]
  /** Not to be looked at again: hold rows downstream, as displayTable names them. */
  readonly settled: ReadonlySet<string>
}

/** Compares both ends: the upstream is only asked for tables that are empty downstream. */
export async function uncopiedTables(
  upstream: pg.Client,
  downstream: pg.Client,
  tables: readonly FollowedTable[],
): Promise<Uncopied> {
  const sent = tables.filter((table) => !table.unlogged).map((table) => table.sentAs)
  const byName = new Map(sent.map((table) => [displayTable(table), table]))
  const below = await filledTables(downstream, 'downstream', [...byName.values()])
  const missing = below.filter((table) => !table.present)
  const candidates = below.filter((table) => table.present && !table.filled)
  const above = await filledTables(upstream, 'upstream', candidates)
  return {
    missing,
    empty: above.filter((table) => table.filled),
    settled: new Set(below.filter((table) => table.filled).map(displayTable)),
  }
}

/** Downstream tables that are to take rows. */
export interface CopyTargets {
  readonly missing: readonly TableName[]
  readonly present: readonly TableName[]
  /** Hold rows already. */
  readonly filled: readonly TableName[]
}

/** The downstream tables that take the rows of these. */
export async function copyTargets(
  downstream: pg.Client,
  tables: readonly FollowedTable[],
): Promise<CopyTargets> {
  const sent = tables.filter((table) => !table.unlogged).map((table) => table.sentAs)
  const byName = new Map(sent.map((table) => [displayTable(table), table]))
  const below = await filledTables(downstream, 'downstream', [...byName.values()])
  return {
    missing: below.filter((table) => !table.present),
    present: below.filter((table) => table.present),
    filled: below.filter((table) => table.filled),
  }
}

/** Foreign keys downstream of the tables that take the rows of these, as texts for people. */
export async function foreignKeys(
  downstream: pg.Client,
  tables: readonly FollowedTable[],
): Promise<readonly string[]> {
  const sent = tables.map((table) => table.sentAs)
  const found = await ask(
    downstream,
    'downstream',
    `SELECT format('%s: %I', k.conrelid::regclass, k.conname) AS key
       FROM unnest($1::text[], $2::text[]) AS w (schema, name)
       JOIN pg_namespace n ON n.nspname = w.schema
       JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
       JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'f'
      GROUP BY 1 ORDER BY 1`,
    [sent.map((table) => table.schema), sent.map((table) => table.name)],
  )
  return found.map((row) => column(row, 'key'))
}

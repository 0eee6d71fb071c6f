import type pg from 'pg'
import type { CopyTable, TableDefinition } from '../copy/table.ts'
import type { End } from '../postgres/end.ts'
import { sql } from '../postgres/sql.ts'
import { ask, column, type Row } from './query.ts'

/** Tables whose definitions are asked for at once. */
const atOnce = 1000

/** What the tables are, by OID, as the session sees them now; those that are gone are missing. */
export async function tableDefinitions(
  client: pg.Client,
  end: End,
  oids: readonly number[],
  name?: string,
): Promise<ReadonlyMap<number, TableDefinition>> {
  const found = new Map<number, TableDefinition>()
  for (let from = 0; from < oids.length; from += atOnce) {
    const slice = oids.slice(from, from + atOnce).map(String)
    for (const row of await ask(client, end, sql('query/table_definitions'), [slice], name)) {
      const table = definition(row)
      found.set(table.oid, table)
    }
  }
  return found
}

/** The tables of the same names, as the session sees them now; those that are missing are left out. */
export async function tablesByName(
  client: pg.Client,
  end: End,
  tables: readonly { readonly schema: string; readonly name: string }[],
): Promise<readonly TableDefinition[]> {
  const rows = await ask(
    client,
    end,
    `SELECT c.oid FROM unnest($1::text[], $2::text[]) w (schema, name)
       JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name`,
    [tables.map((table) => table.schema), tables.map((table) => table.name)],
  )
  const oids = rows.map((row) => Number(column(row, 'oid')))
  return [...(await tableDefinitions(client, end, oids)).values()]
}

function definition(row: Row): TableDefinition {
  const columns = column(row, 'columns')
  return {
    oid: Number(column(row, 'oid')),
    schema: column(row, 'schema'),
    name: column(row, 'name'),
    kind: column(row, 'kind'),
    columns: JSON.parse(columns) as TableDefinition['columns'],
    mark: JSON.stringify([row.schema, row.name, row.kind, row.files, columns]),
  }
}

/** Everything that the publications send, under the snapshot of the transaction that `upstream` is in. */
export async function publishedTables(
  upstream: pg.Client,
  publications: readonly string[],
): Promise<readonly CopyTable[]> {
  const rows = await ask(upstream, 'upstream', sql('query/published_tables'), [publications])
  const definitions = await tableDefinitions(
    upstream,
    'upstream',
    rows.map((row) => Number(column(row, 'oid'))),
  )
  return rows.flatMap((row) => {
    const table = definitions.get(Number(column(row, 'oid')))
    if (!table) return []
    const bytes = Number(row.bytes ?? 0)
    return [
      {
        ...table,
        filter: row.filter ?? undefined,
        published: row.columns ? parseNames(row.columns) : undefined,
        bytes,
        blocks: Math.ceil(bytes / Number(column(row, 'block_size'))),
        begun: false,
        overwrite: false,
      },
    ]
  })
}

/** A JSON array of names, as to_jsonb writes a name[]. */
function parseNames(text: string): readonly string[] {
  return JSON.parse(text) as string[]
}

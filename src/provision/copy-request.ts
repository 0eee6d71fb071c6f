import type pg from 'pg'
import { ExitCode, FollowerError } from '../errors.ts'
import { downstreamFacts } from './facts.ts'
import { type PublishedTable, publishedNames } from './late.ts'
import { ask, askOne, inTransaction } from './query.ts'
import { checkForeignKeys } from './server-checks.ts'
import { displayTable, filledTables, type TableName } from './tables.ts'

/** What `follower copy` asks for. */
export interface CopyRequest {
  readonly name: string
  readonly tables: readonly TableName[]
  /** Rows that are there downstream are replaced. */
  readonly overwrite: boolean
}

/**
 * Asks that the tables be copied, through the downstream: a running daemon notices within seconds, otherwise the next start does it. All
 * of them or none. Throws FollowerError: exit 2 for FLW-343, 344 and 122, exit 6 for FLW-123.
 */
export async function askCopy(
  upstream: pg.Client,
  downstream: pg.Client,
  request: CopyRequest,
): Promise<void> {
  const publications = await readPublications(downstream, request.name)
  const published = await publishedNames(upstream, publications)
  const find = (table: TableName): PublishedTable | undefined =>
    published.tables.find(({ schema, name }) => schema === table.schema && name === table.name)
  const unknown = request.tables.filter((table) => !find(table))
  if (unknown.length > 0) throw notFollowed(request.name, unknown, publications)
  const tables = request.tables.flatMap((table) => find(table) ?? [])

  const facts = await downstreamFacts(downstream)
  if (facts.replicationRole === 'origin') {
    const [error] = checkForeignKeys(await keysAround(downstream, tables), facts)
    if (error) throw error
  }
  const below = await filledTables(downstream, 'downstream', tables)
  const missing = below.filter(({ present }) => !present)
  if (missing.length > 0) throw absent(missing)
  // Of a copy that is not finished, what is there is the follow's.
  const begun = await unfinished(downstream, request.name)
  const filled = below.filter(
    (table) => table.filled && !begun.has(find(table)?.oid ?? 0) && !request.overwrite,
  )
  if (filled.length > 0) throw occupied(filled)
  const empty = new Set(below.filter((table) => !table.filled).map((table) => find(table)?.oid))
  await inTransaction(downstream, 'downstream', async () => {
    // Into an empty table the stream may bring rows until the copy begins: they are its own to remove.
    for (const { oid, schema, name } of tables)
      await ask(
        downstream,
        'downstream',
        `INSERT INTO follower.copied_table AS t (follow, relation, schema, name, state, overwrite)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (follow, relation) DO UPDATE
           SET schema = EXCLUDED.schema, name = EXCLUDED.name, state = EXCLUDED.state, overwrite = EXCLUDED.overwrite, behind = false, lsn = NULL,
               parts_left = NULL, rows = 0, bytes = 0, updated_at = clock_timestamp()
         WHERE t.state = 'copied'`,
        [
          ...[request.name, String(oid), schema, name],
          ...(empty.has(oid) ? ['copying', 'false'] : ['waiting', 'true']),
        ],
      )
    if (request.overwrite)
      await ask(
        downstream,
        'downstream',
        "UPDATE follower.copied_table SET overwrite = true WHERE follow = $1 AND relation = ANY ($2::oid[]) AND state = 'waiting'",
        [request.name, tables.map(({ oid }) => String(oid))],
      )
    // A follow that has stopped may have done so at these tables.
    await ask(
      downstream,
      'downstream',
      'UPDATE follower.incident SET retries_asked = retries_asked + 1 WHERE name = $1 AND resolved_at IS NULL',
      [request.name],
    )
  })
}

/** The publications of the follow's last start. */
async function readPublications(downstream: pg.Client, name: string): Promise<readonly string[]> {
  const row = await askOne(
    downstream,
    'downstream',
    `SELECT EXISTS (SELECT FROM pg_attribute
       WHERE attrelid = to_regclass('follower.progress') AND attname = 'publications' AND NOT attisdropped) AS there`,
  )
  const found =
    row?.there === 't'
      ? await askOne(
          downstream,
          'downstream',
          'SELECT to_json(publications) AS names FROM follower.progress WHERE name = $1 AND lsn IS NOT NULL',
          [name],
        )
      : undefined
  const names = JSON.parse(found?.names ?? '[]') as readonly string[]
  if (names.length > 0) return names
  throw new FollowerError(`there is no follow "${name}" whose tables could be copied`, {
    code: 'FLW-343',
    exit: ExitCode.usage,
    detail: found
      ? 'It was last started by an older follower, or with --plugin wal2json, which copies nothing.'
      : 'Its downstream database knows nothing of it.',
    effect: 'nothing was changed',
    fix: [`follower status --name ${name} …`, `or start it:  follower start --name ${name} …`],
  })
}

function notFollowed(
  name: string,
  tables: readonly TableName[],
  publications: readonly string[],
): FollowerError {
  return new FollowerError(`not followed by "${name}": ${tables.map(displayTable).join(', ')}`, {
    code: 'FLW-344',
    exit: ExitCode.usage,
    detail: `No table of that name upstream is sent by publication ${publications.join(', ')}; partitions that are sent as their root are copied with it.`,
    effect: 'nothing was changed',
    fix: ['correct --tables', 'or add the table to the publication upstream first'],
  })
}

function absent(tables: readonly TableName[]): FollowerError {
  return new FollowerError(`missing downstream: ${tables.map(displayTable).join(', ')}`, {
    code: 'FLW-119',
    exit: ExitCode.usage,
    effect: 'nothing was changed; copy brings rows, not tables',
    fix: ['create them downstream as they are upstream'],
  })
}

function occupied(tables: readonly TableName[]): FollowerError {
  return new FollowerError(
    `${tables.length === 1 ? '1 table holds' : `${tables.length} tables hold`} rows downstream already`,
    {
      code: 'FLW-122',
      exit: ExitCode.usage,
      detail: tables.map(displayTable).join('\n'),
      effect: 'nothing was changed',
      fix: ['follower copy --overwrite …   # their rows are replaced, in one transaction for each table'],
    },
  )
}

async function unfinished(downstream: pg.Client, name: string): Promise<ReadonlySet<number>> {
  const rows = await ask(
    downstream,
    'downstream',
    "SELECT relation FROM follower.copied_table WHERE follow = $1 AND state = 'copying'",
    [name],
  )
  return new Set(rows.map(({ relation }) => Number(relation)))
}

/** Foreign keys downstream from and to the tables, as texts for people. */
async function keysAround(downstream: pg.Client, tables: readonly TableName[]): Promise<readonly string[]> {
  const rows = await ask(
    downstream,
    'downstream',
    `SELECT DISTINCT format('%s: %I', k.conrelid::regclass, k.conname) AS key
       FROM unnest($1::text[], $2::text[]) AS w (schema, name)
       JOIN pg_namespace n ON n.nspname = w.schema
       JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
       JOIN pg_constraint k ON c.oid IN (k.conrelid, k.confrelid) AND k.contype = 'f'
      ORDER BY 1`,
    [tables.map(({ schema }) => schema), tables.map(({ name }) => name)],
  )
  return rows.map(({ key }) => key ?? '')
}

import type pg from 'pg'
import { ExitCode, FollowerError } from '../errors.ts'
import type { FollowSettings } from '../model/follow.ts'
import { quoteIdentifier, quoteLiteral } from '../postgres/identifier.ts'
import { sql } from '../postgres/sql.ts'
import { type ListableTable, mayList } from './listing.ts'
import { ask, column } from './query.ts'
import { type FollowedTable, lacksIdentity, type TableName } from './tables.ts'

const everything = 'insert, update, delete, truncate'
const insertsOnly = 'insert, truncate'

/** Schema and table, as the catalog has them. */
type Pair = readonly [schema: string, name: string]

/** A publication: https://www.postgresql.org/docs/current/sql-createpublication.html */
export interface PublicationDefinition {
  readonly name: string
  readonly all: boolean
  readonly tables: readonly Pair[]
  readonly schemas: readonly string[]
  /** A list of what a superuser would publish by schema, or as all tables; what comes later is added to it one by one. */
  readonly grows: boolean
  readonly publish: string
  /** Whether stored generated columns are sent. */
  readonly generated: boolean
}

export interface Publication extends Omit<PublicationDefinition, 'grows'> {
  readonly viaRoot: boolean
  readonly comment: string | null
}

/** Names of the publications that a follow uses; the first is the main one. */
export function publicationNames(settings: FollowSettings): readonly string[] {
  if (settings.publications.length > 0) return settings.publications
  return settings.noIdentity === 'insert-only'
    ? [settings.name, `${settings.name}_insert_only`]
    : [settings.name]
}

/** Marks a publication as ours, so that cleanup drops no other. */
export function publicationComment(name: string): string {
  return `follower: made for the follow ${name}`
}

/**
 * Pure: the publications that `settings` ask for; none where the user named his own.
 * Tables without a replica identity may only be in one that publishes no updates and deletes: there an UPDATE
 * would fail upstream. So with `insert-only` the second one carries the tables, and the main one lists those that have.
 * From PostgreSQL 18 on UPDATE and DELETE fail, too, where the identity holds a generated column that is not published.
 * FOR ALL TABLES and TABLES IN SCHEMA are for superusers: another role's publications list what it may, of `listable`.
 */
export function planPublications(
  settings: FollowSettings,
  tables: readonly FollowedTable[],
  serverVersion: number,
  listable?: readonly ListableTable[],
): readonly PublicationDefinition[] {
  if (settings.publications.length > 0) return []
  if (listable) return listsOf(settings, listable.filter(mayList), serverVersion)
  const schemaNames = settings.tables
    .filter((pattern) => pattern.table === '*')
    .map((pattern) => pattern.schema)
  // TABLES IN SCHEMA came with PostgreSQL 15.
  const schemas = serverVersion >= 150000 ? [...new Set(schemaNames)] : []
  const named = settings.tables
    .filter((pattern) => pattern.table !== '*' && !schemas.includes(pattern.schema))
    .map((pattern): Pair => [pattern.schema, pattern.table])
  const listed =
    schemas.length === schemaNames.length
      ? []
      : tables.filter((table) => schemaNames.includes(table.schema)).map(pair)
  const scope = {
    all: settings.tables.length === 0,
    tables: unique([...named, ...listed]),
    schemas: schemas.toSorted(),
    grows: false,
    generated: serverVersion >= 180000,
  }
  const [main, second] = publicationNames(settings)
  if (second === undefined) return [{ name: main!, ...scope, publish: everything }]
  const identified = tables.filter((table) => !lacksIdentity(table) && !table.unlogged).map(pair)
  return [
    { name: main!, ...scope, all: false, tables: unique(identified), schemas: [], publish: everything },
    { name: second, ...scope, publish: insertsOnly },
  ]
}

function listsOf(
  settings: FollowSettings,
  tables: readonly ListableTable[],
  serverVersion: number,
): readonly PublicationDefinition[] {
  const scope = {
    all: false,
    tables: tables.map(pair),
    schemas: [],
    grows: true,
    generated: serverVersion >= 180000,
  }
  const [main, second] = publicationNames(settings)
  if (second === undefined) return [{ name: main!, ...scope, publish: everything }]
  const identified = tables.filter((table) => table.identified).map(pair)
  return [
    { name: main!, ...scope, tables: identified, publish: everything },
    { name: second, ...scope, publish: insertsOnly },
  ]
}

function pair(table: TableName): Pair {
  return [table.schema, table.name]
}

function unique(pairs: readonly Pair[]): Pair[] {
  const byText = new Map(pairs.map((entry) => [JSON.stringify(entry), entry]))
  return [...byText.keys()].toSorted().map((key) => byText.get(key)!)
}

/**
 * Pure: whether the publication does what is asked. It may list more than that: the capture objects add
 * partitions and new tables. A list that grows may lack some: these are added while following, with a look at
 * the rows that they have by then (unpublished.ts).
 */
export function servesAsked(is: Publication, asked: PublicationDefinition): boolean {
  const listed = new Set(is.tables.map((entry) => JSON.stringify(entry)))
  return (
    is.all === asked.all &&
    is.publish === asked.publish &&
    is.generated === asked.generated &&
    !is.viaRoot &&
    (asked.grows || asked.tables.every((entry) => listed.has(JSON.stringify(entry)))) &&
    JSON.stringify(is.schemas.toSorted()) === JSON.stringify(asked.schemas)
  )
}

/** Those of the named publications that exist. */
export async function readPublications(
  upstream: pg.Client,
  names: readonly string[],
  serverVersion: number,
): Promise<readonly Publication[]> {
  const query = serverVersion >= 150000 ? 'query/publications' : 'query/publications_14'
  const found = await ask(upstream, 'upstream', sql(query), [names])
  return found.map((row) => ({
    name: column(row, 'name'),
    all: row.all_tables === 't',
    tables: JSON.parse(column(row, 'tables')) as Pair[],
    schemas: JSON.parse(column(row, 'schemas')) as string[],
    publish: column(row, 'publish'),
    generated: row.generated === 't',
    viaRoot: row.via_root === 't',
    comment: row.comment ?? null,
  }))
}

/** Pure: what is wrong with the publications that exist; looked at before anything is created. */
export function checkPublications(
  settings: FollowSettings,
  existing: readonly Publication[],
): FollowerError[] {
  if (settings.publications.length > 0)
    return settings.publications
      .filter((name) => !existing.some((publication) => publication.name === name))
      .map(
        (name) =>
          new FollowerError(`there is no publication "${name}" upstream`, {
            code: 'FLW-115',
            exit: ExitCode.preflight,
            detail:
              'A publication that is named by --publication is used as it is; follower makes only its own.',
            effect: 'nothing was changed',
            fix: [
              `CREATE PUBLICATION ${quoteIdentifier(name)} FOR ALL TABLES;   -- upstream`,
              'or leave --publication out',
            ],
          }),
      )
  return existing
    .filter((publication) => publication.comment !== publicationComment(settings.name))
    .map(
      (publication) =>
        new FollowerError(`the publication "${publication.name}" exists upstream and isn't follower's`, {
          code: 'FLW-116',
          exit: ExitCode.preflight,
          detail: `its comment isn't "${publicationComment(settings.name)}"`,
          effect: 'nothing was changed',
          fix: [
            `to use it as it is:  follower start --publication ${publication.name} …`,
            'or another name:  follower start --name …',
          ],
        }),
    )
}

/**
 * Makes the publications what is asked, inside the caller's transaction. Another one is dropped and made anew:
 * both happen at one place of the WAL, so decoding never meets a gap between them. `sameScope`: the follow was
 * registered with these settings before. `run` executes a statement. Returns whether anything changed.
 */
export async function ensurePublications(
  run: (statement: string) => Promise<unknown>,
  follow: string,
  asked: readonly PublicationDefinition[],
  existing: readonly Publication[],
  sameScope: boolean,
): Promise<boolean> {
  const present = new Map(existing.map((publication) => [publication.name, publication]))
  const wrong = asked.filter((definition) => {
    const publication = present.get(definition.name)
    return !publication || !sameScope || !servesAsked(publication, definition)
  })
  for (const definition of wrong) {
    const name = quoteIdentifier(definition.name)
    if (present.has(definition.name)) await run(`DROP PUBLICATION ${name}`)
    await run(createPublication(definition))
    await run(`COMMENT ON PUBLICATION ${name} IS ${quoteLiteral(publicationComment(follow))}`)
  }
  return wrong.length > 0
}

/** The statement. ONLY: a pattern names one table, not its inheritance children (partitions come with their root). */
export function createPublication(definition: PublicationDefinition): string {
  // One TABLE keyword for the whole list: PostgreSQL 14 takes no second.
  const tables = definition.tables.map(
    ([schema, name]) => `ONLY ${quoteIdentifier(schema)}.${quoteIdentifier(name)}`,
  )
  const objects = [
    ...(tables.length > 0 ? [`TABLE ${tables.join(', ')}`] : []),
    ...definition.schemas.map((schema) => `TABLES IN SCHEMA ${quoteIdentifier(schema)}`),
  ]
  const target = definition.all ? ' FOR ALL TABLES' : objects.length > 0 ? ` FOR ${objects.join(', ')}` : ''
  const generated = definition.generated ? ', publish_generated_columns = stored' : ''
  return `CREATE PUBLICATION ${quoteIdentifier(definition.name)}${target} WITH (publish = ${quoteLiteral(definition.publish)}${generated})`
}

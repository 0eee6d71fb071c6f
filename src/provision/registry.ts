import type pg from 'pg'
import { ExitCode, FollowerError } from '../errors.ts'
import type { FollowSettings } from '../model/follow.ts'
import { sql } from '../postgres/sql.ts'
import { publicationNames } from './publication.ts'
import { ask, askOne, column } from './query.ts'
import { displayTable, followedTables, lacksIdentity, quotePattern, type TableName } from './tables.ts'

/** The row of follower.follow: sql/upstream/10_registry.sql. */
export interface Registration {
  readonly slot: string
  readonly publications: readonly string[]
  readonly ddl: boolean
  readonly noIdentity: string
  /** In the registry's notation: `"schema"."table"` or `"schema".*`. */
  readonly tables: readonly string[]
}

/** What the settings ask to be registered. */
export function registration(settings: FollowSettings): Registration {
  return {
    slot: settings.slot,
    publications: publicationNames(settings),
    ddl: settings.ddl,
    noIdentity: settings.noIdentity,
    tables: settings.tables.map(quotePattern),
  }
}

/** Whether the upstream database has the registry, and with it the capture objects, and this role may read it. */
export async function hasRegistry(upstream: pg.Client): Promise<boolean> {
  const row = await askOne(
    upstream,
    'upstream',
    `SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE n.nspname = 'follower' AND c.relname = 'follow'
         AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')) AS there`,
  )
  return row?.there === 't'
}

/** What is registered under that name; undefined for nothing, or no registry. */
export async function readRegistration(upstream: pg.Client, name: string): Promise<Registration | undefined> {
  if (!(await hasRegistry(upstream))) return undefined
  const row = await askOne(upstream, 'upstream', sql('query/registered_follow'), [name])
  return (
    row && {
      slot: column(row, 'slot'),
      publications: JSON.parse(column(row, 'publications')) as string[],
      ddl: row.ddl === 't',
      noIdentity: column(row, 'no_identity'),
      tables: JSON.parse(column(row, 'tables')) as string[],
    }
  )
}

/** Pure: whether both publish the same tables in the same way. */
export function sameScope(left: Registration | undefined, right: Registration): boolean {
  return (
    left !== undefined &&
    left.noIdentity === right.noIdentity &&
    JSON.stringify(left.tables) === JSON.stringify(right.tables) &&
    JSON.stringify(left.publications) === JSON.stringify(right.publications)
  )
}

/** Writes the follow into the upstream's registry, which the capture objects read. */
export async function register(upstream: pg.Client, name: string, row: Registration): Promise<void> {
  await ask(upstream, 'upstream', sql('query/register_follow'), [
    name,
    row.slot,
    row.publications,
    row.ddl ? 'true' : 'false',
    row.noIdentity,
    row.tables,
  ])
}

/** OIDs of the tables, of all for none, as the text of an array. */
async function tableOids(upstream: pg.Client, tables: readonly TableName[]): Promise<string> {
  const row = await askOne(upstream, 'upstream', sql('query/table_oids'), [
    tables.map((table) => table.schema),
    tables.map((table) => table.name),
  ])
  return row?.oids ?? '{}'
}

/** Completes the publications that list tables: partitions, and what matches a pattern. */
export async function keepPublications(upstream: pg.Client): Promise<void> {
  await ask(upstream, 'upstream', 'CALL follower.keep_publications($1::oid[])', [
    await tableOids(upstream, []),
  ])
}

/**
 * Gives published tables REPLICA IDENTITY FULL; follower.identity remembers what they had. The procedure only warns
 * where a table can't be altered now, so look again: nothing may be published whose UPDATE would fail.
 */
export async function giveFullIdentity(
  settings: FollowSettings,
  upstream: pg.Client,
  tables: readonly TableName[],
): Promise<void> {
  if (tables.length === 0) return
  await ask(upstream, 'upstream', 'CALL follower.keep_identity($1::oid[])', [
    await tableOids(upstream, tables),
  ])
  const asked = new Set(tables.map(displayTable))
  const left = (await followedTables(upstream, settings)).find(
    (table) => lacksIdentity(table) && asked.has(displayTable(table)),
  )
  if (left)
    throw new FollowerError(`${displayTable(left)} can't be given REPLICA IDENTITY FULL now`, {
      code: 'FLW-132',
      exit: ExitCode.preflight,
      detail: 'Its lock was not to be had in time, or this role may not alter it.',
      effect: 'nothing was changed',
      fix: [
        `ALTER TABLE ${displayTable(left)} REPLICA IDENTITY FULL;   -- upstream, when nothing holds the table`,
      ],
      transient: true,
    })
}

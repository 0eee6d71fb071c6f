import type pg from 'pg'
import type { FollowerError } from '../errors.ts'
import type { FollowSettings } from '../model/follow.ts'
import type { End } from '../postgres/end.ts'
import { quoteIdentifier } from '../postgres/identifier.ts'
import { sql } from '../postgres/sql.ts'
import { finding } from './findings.ts'
import { ask, column } from './query.ts'
import { displayTable, patternArrays, type TableName } from './tables.ts'

/** A permanent table, or a partitioned one, that the patterns of a follow name. */
export interface ListableTable extends TableName {
  readonly oid: string
  readonly partitioned: boolean
  readonly owner: string
  readonly ownerIsSuperuser: boolean
  /** This role has the rights of the owner, without whom no table gets into a publication. */
  readonly member: boolean
  /** This role has USAGE on the schema. */
  readonly usage: boolean
  /** The owner has. */
  readonly ownerUsage: boolean
  /** One of the follow's publications has it: itself, or (a partition) its root. */
  readonly published: boolean
  /** Its rows can be told apart, so that UPDATE and DELETE go on when it is published. */
  readonly identified: boolean
}

/**
 * What lists of tables should hold; nothing where one of `publications` is of all tables. `role`: whose rights, the
 * session's unless told otherwise.
 */
export async function listableTables(
  client: pg.Client,
  settings: Pick<FollowSettings, 'tables'>,
  publications: readonly string[],
  { role = '', end = 'upstream' }: { readonly role?: string; readonly end?: End } = {},
): Promise<readonly ListableTable[]> {
  const found = await ask(client, end, sql('query/listable_tables'), [
    ...patternArrays(settings.tables),
    publications,
    role,
  ])
  return found.map((row) => ({
    schema: column(row, 'schema'),
    name: column(row, 'name'),
    oid: column(row, 'oid'),
    partitioned: row.partitioned === 't',
    owner: column(row, 'owner'),
    ownerIsSuperuser: row.owner_is_superuser === 't',
    member: row.member === 't',
    usage: row.usage === 't',
    ownerUsage: row.owner_usage === 't',
    published: row.published === 't',
    identified: row.identified === 't',
  }))
}

/** Whether this role may put the table into a publication. */
export function mayList(table: ListableTable): boolean {
  return table.member && table.usage
}

/** Rows are in tables; a partitioned one is published through its partitions. */
export function unpublished(tables: readonly ListableTable[]): ListableTable[] {
  return tables.filter((table) => !table.partitioned && !table.published)
}

/** Of the tables, those that lists have or, at a first start, will have; and what is in no publication anyway. */
export function carried<T extends TableName & { readonly unlogged: boolean }>(
  tables: readonly T[],
  listable: readonly ListableTable[],
  atFirst: boolean,
): readonly T[] {
  const names = new Set(
    listable.filter((table) => (atFirst ? mayList(table) : table.published)).map(displayTable),
  )
  return tables.filter((table) => table.unlogged || names.has(displayTable(table)))
}

/** `GRANT "alice" TO "follower"`: the rights of an owner, from PostgreSQL 16 on without the right to become that role. */
export function grantMembership(owner: string, role: string, serverVersion: number): string {
  const options = serverVersion >= 160000 ? ' WITH INHERIT TRUE, SET FALSE' : ''
  return `GRANT ${quoteIdentifier(owner)} TO ${quoteIdentifier(role)}${options};`
}

/**
 * Pure: the statements after which `role` may list the tables. A table of a superuser has to change hands: a member of
 * a superuser could do anything.
 */
export function listingRemedies(
  tables: readonly ListableTable[],
  role: string,
  serverVersion: number,
): string[] {
  const lines = tables.flatMap((table) => {
    const name = `${quoteIdentifier(table.schema)}.${quoteIdentifier(table.name)}`
    if (!table.member && table.ownerIsSuperuser)
      return [`ALTER TABLE ${name} OWNER TO …;   -- upstream; a role of its own, not a superuser`]
    if (!table.member) return [`${grantMembership(table.owner, role, serverVersion)}   -- upstream`]
    if (!table.usage)
      return [
        `GRANT USAGE ON SCHEMA ${quoteIdentifier(table.schema)} TO ${quoteIdentifier(role)};   -- upstream`,
      ]
    return [`ALTER TABLE ${name} ADD PRIMARY KEY (…);   -- upstream`]
  })
  return [...new Set(lines)]
}

/** Names in one message at most. */
const listed = 20

/** Pure: tables that this role can't publish, found before anything is made: none may be missing in silence. */
export function checkListable(
  tables: readonly ListableTable[],
  role: string,
  serverVersion: number,
): FollowerError[] {
  const closed = tables.filter((table) => !mayList(table))
  if (closed.length === 0) return []
  return [
    finding({
      code: 'FLW-134',
      message: `role ${role} may not publish ${closed.length === 1 ? '1 table' : `${closed.length} tables`} upstream`,
      detail: closed
        .slice(0, listed)
        .map((table) => `${displayTable(table)} of ${table.owner}`)
        .concat(closed.length > listed ? [`and ${closed.length - listed} more`] : [])
        .join('\n'),
      effect: 'nothing was changed; PostgreSQL lets only the owner of a table, or a member of it, publish it',
      fix: [
        ...listingRemedies(closed, role, serverVersion).slice(0, listed),
        'or follow others only:  follower start --tables …',
        'follower print grants … prints all of it',
      ],
    }),
  ]
}

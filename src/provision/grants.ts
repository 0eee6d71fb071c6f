import type pg from 'pg'
import type { TablePattern } from '../model/follow.ts'
import type { End } from '../postgres/end.ts'
import { quoteIdentifier, shellWord } from '../postgres/identifier.ts'
import { sql } from '../postgres/sql.ts'
import { grantMembership, type ListableTable, listableTables } from './listing.ts'
import { ask, askOne, column, type Row } from './query.ts'

/** One end of the follow whose rights are printed. */
export interface GrantsOf {
  readonly role: string
  /** Where a superuser has to connect to, as a conninfo: `host=db1 port=5432 dbname=shop`. */
  readonly place: string
}

/** A line of the script: a statement that is missing, or a comment. */
type Lines = string[]

/** The SQL that lets a role follow: what is there already as a comment, so that running it is safe. Reads only. */
export async function upstreamGrants(
  client: pg.Client,
  { role, place }: GrantsOf,
  tables: readonly TablePattern[],
): Promise<string> {
  const seen = await lookAt(client, 'upstream', role)
  const listable = await listableTables(client, { tables }, [], { role })
  const lines = [
    ...header('upstream', role, place),
    ...roleLines(role, seen),
    ...missing(seen.replication, `ALTER ROLE ${quoteIdentifier(role)} REPLICATION;`),
    ...databaseLines(role, seen),
  ]
  if (seen.superuser) return [...lines, '-- A superuser needs nothing else.'].join('\n')
  const closed = listable.filter((table) => !table.member)
  lines.push(
    '',
    `-- Only the owner of a table, or a member of it, can publish it: ${listable.length} tables.`,
  )
  for (const owner of ownersOf(listable.filter((table) => !table.ownerIsSuperuser)))
    lines.push(
      ...missing(
        !closed.some((table) => table.owner === owner) || owner === role,
        grantMembership(owner, role, seen.version),
      ),
    )
  for (const schema of new Set(listable.filter((it) => !it.usage && !it.ownerUsage).map((it) => it.schema)))
    lines.push(`GRANT USAGE ON SCHEMA ${quoteIdentifier(schema)} TO ${quoteIdentifier(role)};`)
  const superusers = closed.filter((table) => table.ownerIsSuperuser)
  if (superusers.length > 0)
    lines.push(
      '-- These belong to superusers, and a member of a superuser could do anything. Give them to a role of their own, or leave them',
      '-- out with --tables; they are not followed otherwise:',
      ...superusers.map((table) => `--   ALTER TABLE ${quoted(table)} OWNER TO ...;`),
    )
  lines.push(
    '',
    '-- Schema changes: the capture, which only a superuser can install (or follow rows only, by --ddl off). Run, as a superuser:',
    `--   follower print capture --role ${shellWord(role)} | psql -X -v ON_ERROR_STOP=1 ${shellWord(place)}`,
  )
  return lines.join('\n')
}

/** The same for the other end. `authors`: owners of the followed tables upstream, whose schema changes are replayed as them. */
export async function downstreamGrants(
  client: pg.Client,
  { role, place }: GrantsOf,
  tables: readonly TablePattern[],
  authors: readonly string[],
): Promise<string> {
  const seen = await lookAt(client, 'downstream', role)
  const there = await listableTables(client, { tables }, [], { role, end: 'downstream' })
  const lines = [...header('downstream', role, place), ...roleLines(role, seen), ...databaseLines(role, seen)]
  if (seen.superuser) return [...lines, '-- A superuser needs nothing else.'].join('\n')
  const owners = [...ownersOf(there.filter((table) => !table.ownerIsSuperuser)), ...authors]
  const members = await ask(client, 'downstream', sql('query/role_members'), [role, [...new Set(owners)]])
  lines.push(
    '',
    '-- Rows are written, and schema changes replayed, with the rights of the owners of the tables.',
  )
  for (const row of members) {
    const options = seen.version >= 160000 ? ' WITH INHERIT TRUE, SET TRUE' : ''
    const owner = column(row, 'name')
    lines.push(
      ...missing(
        row.member === 't',
        `GRANT ${quoteIdentifier(owner)} TO ${quoteIdentifier(role)}${options};`,
      ),
    )
  }
  for (const absent of authors.filter((name) => !members.some((row) => row.name === name)))
    lines.push(`-- Role ${quoteIdentifier(absent)} owns tables upstream and is not here: create it first.`)
  const foreign = there.filter((table) => table.ownerIsSuperuser && !table.member)
  for (const schema of new Set(foreign.filter((table) => !table.usage).map((table) => table.schema)))
    lines.push(`GRANT USAGE ON SCHEMA ${quoteIdentifier(schema)} TO ${quoteIdentifier(role)};`)
  for (const table of foreign)
    lines.push(
      `GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON TABLE ${quoted(table)} TO ${quoteIdentifier(role)};`,
    )
  lines.push('', ...(await replicaLines(client, role, seen.version)))
  return lines.join('\n')
}

interface Seen {
  readonly version: number
  readonly exists: boolean
  readonly superuser: boolean
  readonly login: boolean
  readonly inherit: boolean
  readonly replication: boolean
  readonly connect: boolean
  readonly create: boolean
  readonly database: string
}

async function lookAt(client: pg.Client, end: End, role: string): Promise<Seen> {
  const server = (await askOne(
    client,
    end,
    "SELECT current_setting('server_version_num') AS version, current_database() AS database",
  )) as Row
  const row = await askOne(client, end, sql('query/role_grants'), [role])
  const has = (name: string): boolean => row?.[name] === 't'
  return {
    version: Number(column(server, 'version')),
    database: column(server, 'database'),
    exists: row !== undefined,
    superuser: has('superuser'),
    login: has('login'),
    inherit: has('inherit'),
    replication: has('replication') || has('superuser'),
    connect: has('connect'),
    create: has('create'),
  }
}

function header(end: End, role: string, place: string): Lines {
  return [
    `-- Rights of role ${quoteIdentifier(role)} ${end}. Run this as a superuser:`,
    `--   psql -X -v ON_ERROR_STOP=1 ${shellWord(place)}`,
  ]
}

function roleLines(role: string, seen: Seen): Lines {
  if (!seen.exists) return [`CREATE ROLE ${quoteIdentifier(role)} LOGIN;   -- and its password`]
  const lines = missing(seen.login, `ALTER ROLE ${quoteIdentifier(role)} LOGIN;`)
  // From 16 on each membership says for itself.
  if (seen.version < 160000 && !seen.inherit) lines.push(`ALTER ROLE ${quoteIdentifier(role)} INHERIT;`)
  return lines
}

function databaseLines(role: string, seen: Seen): Lines {
  const to = `ON DATABASE ${quoteIdentifier(seen.database)} TO ${quoteIdentifier(role)};`
  return [...missing(seen.connect, `GRANT CONNECT ${to}`), ...missing(seen.create, `GRANT CREATE ${to}`)]
}

/** Without it the session stays `origin`: triggers and foreign keys act downstream, too. */
async function replicaLines(client: pg.Client, role: string, version: number): Promise<Lines> {
  const name = 'session_replication_role'
  if (version < 150000)
    return [`-- Before PostgreSQL 15 only a superuser can be let off triggers and foreign keys (${name}).`]
  const row = await askOne(
    client,
    'downstream',
    `SELECT has_parameter_privilege(r.oid, '${name}', 'SET') AS may FROM pg_roles r WHERE r.rolname = $1`,
    [role],
  )
  return [
    '-- Recommended: triggers and foreign keys then do not do again what they did upstream.',
    ...missing(row?.may === 't', `GRANT SET ON PARAMETER ${name} TO ${quoteIdentifier(role)};`),
  ]
}

function missing(there: boolean, statement: string): Lines {
  return [there ? `-- there already: ${statement}` : statement]
}

/** Names of the owners, each once. */
export function ownersOf(tables: readonly ListableTable[]): string[] {
  return [...new Set(tables.map((table) => table.owner))].toSorted()
}

function quoted(table: ListableTable): string {
  return `${quoteIdentifier(table.schema)}.${quoteIdentifier(table.name)}`
}

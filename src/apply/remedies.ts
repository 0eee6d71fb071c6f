import { quoteIdentifier } from '../postgres/identifier.ts'
import type { ServerError } from '../postgres/response.ts'
import type { Place } from './place.ts'

/** What to run downstream about a statement that the server refused with SQLSTATE `code`; SQL where it can be known. */
export function remedies(code: string, report: Partial<ServerError>, place: Place): string[] {
  const { relation } = place
  const schema = report.schema ?? relation?.schema
  const name = report.table ?? relation?.name
  if (schema === undefined || name === undefined) return []
  const table = `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`
  if (code === '42501') return grants(table, schema, place.role)
  if (code === '23505')
    return [
      `remove the row that is in the way from ${table} downstream`,
      ...(place.insert ? ['or start with --on-conflict insert_exists=skip|overwrite'] : []),
    ]
  if (code === '23502' && report.column)
    return [
      `ALTER TABLE ${table} ALTER COLUMN ${quoteIdentifier(report.column)} DROP NOT NULL;   -- downstream`,
    ]
  if (code === '23503' && report.constraint) {
    const role = place.role === undefined ? '…' : quoteIdentifier(place.role)
    return [
      `ALTER TABLE ${table} ALTER CONSTRAINT ${quoteIdentifier(report.constraint)} DEFERRABLE;   -- downstream: checked at COMMIT then`,
      `or GRANT SET ON PARAMETER session_replication_role TO ${role};   -- downstream, by a superuser, from PostgreSQL 15 on: not checked at all`,
    ]
  }
  if (code.startsWith('23') && report.constraint)
    return [
      `ALTER TABLE ${table} DROP CONSTRAINT ${quoteIdentifier(report.constraint)};   -- downstream; or make it as upstream`,
    ]
  if (code.startsWith('22')) {
    const column = place.column === undefined ? '…' : quoteIdentifier(place.column)
    return [`ALTER TABLE ${table} ALTER COLUMN ${column} TYPE …;   -- downstream: the upstream's type`]
  }
  return []
}

function grants(table: string, schema: string, role: string | undefined): string[] {
  const to = role === undefined ? '…' : quoteIdentifier(role)
  return [
    `GRANT USAGE ON SCHEMA ${quoteIdentifier(schema)} TO ${to};   -- downstream`,
    `GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON TABLE ${table} TO ${to};   -- downstream`,
    `or, where a row security policy is in the way:  ALTER ROLE ${to} BYPASSRLS;`,
  ]
}

import type { End } from './end.ts'
import { quoteLiteral } from './identifier.ts'

/** Settings whose value changes what a text means or how a value is written; the same at both ends. */
const common: Readonly<Record<string, string>> = {
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  DateStyle: 'ISO, YMD',
  IntervalStyle: 'postgres',
  TimeZone: 'UTC',
  // Everything above 0 is the shortest text that reads back as the same number.
  extra_float_digits: '3',
  bytea_output: 'hex',
  lc_monetary: 'C',
  xmloption: 'content',
  array_nulls: 'on',
  // Without pg_temp by name, temporary tables would come before the catalogs.
  search_path: 'pg_catalog, pg_temp',
  // A policy that hides rows is an error then, not fewer rows.
  row_security: 'off',
  quote_all_identifiers: 'off',
  standard_conforming_strings: 'on',
  backslash_quote: 'safe_encoding',
  transform_null_equals: 'off',
  default_transaction_read_only: 'off',
  default_transaction_isolation: 'read committed',
  default_transaction_deferrable: 'off',
  client_min_messages: 'warning',
  jit: 'off',
}

const downstreamOnly: Readonly<Record<string, string>> = {
  // A position that is taken over counts as durable; the apply session alone may choose otherwise (P2).
  synchronous_commit: 'on',
  // A replayed function may name what a later message creates.
  check_function_bodies: 'off',
  plan_cache_mode: 'auto',
}

const upstreamOnly: Readonly<Record<string, string>> = {
  // What a start writes must not wait for the synchronous standby that the follower itself is.
  synchronous_commit: 'local',
}

/** Settings that not every supported server has (idle_session_timeout: 14, transaction_timeout: 17). */
const optional: Readonly<Record<string, string>> = {
  idle_session_timeout: '0',
  transaction_timeout: '0',
}

/**
 * Where a table stood when its name was read, its owner may have put a view by now: its functions would run with our rights.
 * Came with 17 and the minor releases of August 2024.
 */
const optionalUpstream: Readonly<Record<string, string>> = {
  restrict_nonsystem_relation_kind: 'view, foreign-table',
}

/** SQL_ASCII means bytes of no known encoding: any other client encoding would refuse some of them. */
const clientEncoding =
  "CASE pg_catalog.current_setting('server_encoding') WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END"

/**
 * One SQL statement that sets a session's settings, so that those of a role, a database or a server change
 * nothing. Run again after anything that may have changed them; transactional like SET.
 *
 * One SELECT and no list of SETs: the walsender of PostgreSQL 14 takes one statement at a time.
 * https://www.postgresql.org/docs/current/runtime-config-client.html
 */
export function pins(end: End): string {
  const set = (name: string, value: string): string =>
    `pg_catalog.set_config(${quoteLiteral(name)}, ${value}, false)`
  const settings = { ...common, ...(end === 'downstream' ? downstreamOnly : upstreamOnly) }
  return `SELECT ${[
    ...Object.entries(settings).map(([name, value]) => set(name, quoteLiteral(value))),
    set('client_encoding', clientEncoding),
    ...Object.entries({ ...optional, ...(end === 'upstream' ? optionalUpstream : {}) }).map(
      ([name, value]) =>
        `CASE WHEN pg_catalog.current_setting(${quoteLiteral(name)}, true) IS NOT NULL THEN ${set(name, quoteLiteral(value))} END`,
    ),
  ].join(',\n  ')}`
}

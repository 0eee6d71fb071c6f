import { readFileSync } from 'node:fs'
import pg from 'pg'
import type { Difference } from './difference.ts'
import { compareRows } from './rows.ts'

export interface Comparison {
  readonly differences: readonly Difference[]
  /** What was compared: a comparison of nothing proves nothing. */
  readonly objects: number
  readonly tables: number
  readonly rows: number
}

export interface CompareOptions {
  /** Only these: names as `format('%I.%I')` writes them. Everything where absent. */
  readonly tables?: readonly string[]
}

interface CatalogRow {
  kind: string
  relation: string | null
  identity: string
  aspect: string
  value: string
}

/** Quiet ends only: each end is read in a snapshot of its own. */
const pins = `SET search_path = pg_catalog; SET "TimeZone" = 'UTC'; SET "DateStyle" = 'ISO, YMD'; SET "IntervalStyle" = 'postgres';
  SET extra_float_digits = 3; SET bytea_output = 'hex'; SET row_security = off; SET statement_timeout = 0; SET lc_monetary = 'C';
  SET client_encoding = 'UTF8'; SET quote_all_identifiers = off; SET idle_in_transaction_session_timeout = 0`

/**
 * Compares catalogs and rows of two databases by queries of its own, which share nothing with the program that it
 * judges. Left out: what follower makes (schema `follower`, its event triggers), publications, subscriptions, replica
 * identities, values of sequences, rows of unlogged tables, order of columns.
 */
export async function compare(
  upstream: string,
  downstream: string,
  options: CompareOptions = {},
): Promise<Comparison> {
  const ends = [await open(upstream), await open(downstream)] as const
  try {
    const [up, down] = [await catalog(ends[0], options), await catalog(ends[1], options)]
    const sameMajor = (await major(ends[0])) === (await major(ends[1]))
    const rows = await compareRows(ends[0], ends[1], options.tables)
    return {
      differences: [...compareCatalogs(up, down, sameMajor), ...rows.differences],
      objects: new Set(up.map((row) => `${row.kind} ${row.identity}`)).size,
      tables: rows.tables,
      rows: rows.rows,
    }
  } finally {
    await Promise.all(ends.map((end) => end.end()))
  }
}

function compareCatalogs(
  up: readonly CatalogRow[],
  down: readonly CatalogRow[],
  sameMajor: boolean,
): Difference[] {
  const [ups, downs] = [byPlace(up, sameMajor), byPlace(down, sameMajor)]
  const differences: Difference[] = []
  for (const place of new Set([...ups.keys(), ...downs.keys()])) {
    const [upstream, downstream] = [ups.get(place), downs.get(place)]
    if (upstream?.value === downstream?.value) continue
    const { kind, identity, aspect } = (upstream ?? downstream)!
    differences.push({ kind, identity, aspect, upstream: upstream?.value, downstream: downstream?.value })
  }
  return differences
}

function byPlace(rows: readonly CatalogRow[], sameMajor: boolean): Map<string, CatalogRow> {
  const result = new Map<string, CatalogRow>()
  for (const row of rows) {
    if (!sameMajor && row.aspect.startsWith('~')) continue
    const value = sameMajor ? row.value : withoutQualifiers(row)
    result.set(`${row.kind}\n${row.identity}\n${row.aspect}`, { ...row, value })
  }
  return result
}

/** PostgreSQL 16 stopped to qualify columns where a view has one table: https://www.postgresql.org/docs/16/release-16.html */
function withoutQualifiers(row: CatalogRow): string {
  if (row.aspect !== 'view' && row.kind !== 'rule') return row.value
  return row.value.replace(/("([^"]|"")+"|\b[a-z_]\w*)\./g, '').replace(/\s+/g, ' ')
}

async function catalog(client: pg.Client, options: CompareOptions): Promise<CatalogRow[]> {
  const found: CatalogRow[] = []
  for (const name of ['relations', 'columns', 'programs', 'rest']) {
    const text = readFileSync(new URL(`../../sql/compare/${name}.sql`, import.meta.url), 'utf8')
    found.push(...(await client.query<CatalogRow>(text)).rows)
  }
  const wanted = options.tables
  return wanted ? found.filter((row) => row.relation !== null && wanted.includes(row.relation)) : found
}

async function major(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ server_version_num: string }>('SHOW server_version_num')
  return Math.trunc(Number(rows[0]?.server_version_num) / 10000)
}

async function open(connectionString: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString, application_name: 'follower compare' })
  client.on('error', () => {})
  await client.connect()
  await client.query(`${pins}; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`)
  return client
}

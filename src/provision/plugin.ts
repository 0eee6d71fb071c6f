import type pg from 'pg'
import type { FollowerError } from '../errors.ts'
import type { FollowSettings, OutputPlugin } from '../model/follow.ts'
import { quoteIdentifier, quoteLiteral } from '../postgres/identifier.ts'
import { sql } from '../postgres/sql.ts'
import { sqlstate } from '../postgres/sqlstate.ts'
import { type Finding, finding } from './findings.ts'
import { askOne, column } from './query.ts'
import { displayTable } from './tables.ts'

/** What the upstream says that an output plugin must fit. */
export interface PluginFacts {
  /** The database's own; wal2json does not convert. */
  readonly encoding: string
  /** The setting output_plugin_libraries; undefined where the server has none. */
  readonly libraries: string | undefined
  /** Columns that may hold NaN and NULL. */
  readonly nullable: readonly (readonly [schema: string, table: string, column: string])[]
}

export async function pluginFacts(upstream: pg.Client): Promise<PluginFacts> {
  const row = (await askOne(upstream, 'upstream', sql('query/plugin'))) ?? {}
  return {
    encoding: column(row, 'encoding'),
    libraries: row.libraries ?? undefined,
    nullable: JSON.parse(column(row, 'nullable')) as PluginFacts['nullable'],
  }
}

/** Pure: what stands against the plugin. */
export function checkPluginFacts(
  settings: Pick<FollowSettings, 'plugin' | 'nanAsNull'>,
  facts: PluginFacts,
): FollowerError[] {
  const found: Finding[] = []
  if (facts.libraries !== undefined && !libraryNames(facts.libraries).includes(settings.plugin))
    found.push(notTrusted(settings.plugin, facts.libraries))
  if (settings.plugin !== 'wal2json') return found.map(finding)
  if (facts.encoding !== 'UTF8')
    found.push({
      code: 'FLW-142',
      message: `the upstream database is encoded in ${facts.encoding}, and wal2json does not convert`,
      detail: 'wal2json sends texts in the encoding of the database; JSON is UTF-8.',
      fix: ['follower start --plugin pgoutput …'],
    })
  if (facts.nullable.length > 0 && !settings.nanAsNull) found.push(mayLoseNaN(facts.nullable))
  return found.map(finding)
}

const listed = 20

function mayLoseNaN(nullable: PluginFacts['nullable']): Finding {
  const [[schema, name, first]] = nullable as [PluginFacts['nullable'][0]]
  const lines = nullable
    .slice(0, listed)
    .map(([schema, name, column]) => `${displayTable({ schema, name })}: ${quoteIdentifier(column)}`)
  return {
    code: 'FLW-140',
    message: `wal2json writes NaN and Infinity as null, and ${nullable.length === 1 ? '1 column' : `${nullable.length} columns`} may hold both`,
    detail: [
      ...lines,
      ...(nullable.length > listed ? [`and ${nullable.length - listed} more`] : []),
      'In such a column NaN would become NULL downstream, unseen.',
    ].join('\n'),
    fix: [
      'follower start --plugin pgoutput …   # loses nothing',
      `or ALTER TABLE ${displayTable({ schema, name })} ALTER COLUMN ${quoteIdentifier(first)} SET NOT NULL;   -- upstream, for each of them`,
      'or take NaN and Infinity for NULL:  follower start --plugin wal2json --nan-as-null …',
    ],
  }
}

/**
 * The server refused the plugin at CREATE_REPLICATION_SLOT or START_REPLICATION: why, and what to run. undefined for every
 * other error. https://www.postgresql.org/docs/current/runtime-config-replication.html#GUC-OUTPUT-PLUGIN-LIBRARIES
 */
export async function pluginRefused(
  upstream: pg.Client,
  plugin: OutputPlugin,
  error: unknown,
): Promise<FollowerError | undefined> {
  if (isMissingLibrary(error, plugin)) return finding(notInstalled(plugin))
  // Messages are translated; the name of the setting is not.
  if (!reportOf(error).includes('output_plugin_libraries')) return undefined
  const { libraries } = await pluginFacts(upstream)
  return finding(notTrusted(plugin, libraries ?? 'pgoutput, test_decoding'))
}

/** What the server said, whoever has wrapped it. */
function reportOf(error: unknown): string {
  if (!(error instanceof Error)) return ''
  const { message, detail, hint } = error as { message: string; detail?: string; hint?: string }
  return [message, detail, hint, reportOf(error.cause)].join('\n')
}

/** 58P01: undefined_file. */
function isMissingLibrary(error: unknown, plugin: OutputPlugin): boolean {
  return sqlstate(error) === '58P01' && reportOf(error).includes(`"${plugin}"`)
}

function notInstalled(plugin: OutputPlugin): Finding {
  return {
    code: 'FLW-143',
    message: `the output plugin ${plugin} is not installed upstream`,
    effect: 'nothing was lost, and no slot was made',
    fix: [
      'apt-get install postgresql-<major>-wal2json   # on the upstream; other systems have packages of the same kind',
      'or follower start --plugin pgoutput …',
    ],
  }
}

function notTrusted(plugin: OutputPlugin, libraries: string): Finding {
  // A list of literals is right whether or not the server quotes each name itself.
  const names = [...libraryNames(libraries), plugin].map(quoteLiteral).join(', ')
  return {
    code: 'FLW-141',
    message: `the upstream does not trust the output plugin ${plugin}`,
    detail: `output_plugin_libraries = '${libraries}' does not name it`,
    effect: 'nothing was lost; what is in a slot stays there',
    fix: [
      `ALTER SYSTEM SET output_plugin_libraries = ${names};   -- upstream, by a superuser`,
      'SELECT pg_reload_conf();',
    ],
  }
}

/** Pure: the names of a comma-separated list, as the server splits it. */
export function libraryNames(list: string): string[] {
  return [...list.matchAll(/"((?:[^"]|"")*)"|[^\s,"][^,]*/g)].map(
    ([name, quoted]) => quoted?.replaceAll('""', '"') ?? name.trim(),
  )
}

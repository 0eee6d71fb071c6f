import { z } from 'zod'
import { ExitCode, FollowerError } from '../errors.ts'
import type { Conninfo } from '../model/conninfo.ts'
import { type FollowSettings, outputPlugins } from '../model/follow.ts'
import { parseLsn } from '../model/lsn.ts'
import { defaultMemoryLimit, shareMemory } from '../model/memory.ts'
import { onOrdinaryTriggers } from '../model/replication-role.ts'
import { parseConninfo } from '../postgres/conninfo.ts'
import { type LogFormat, type LogLevel, logLevels } from '../telemetry/log-level.ts'
import type { WebAddress } from '../telemetry/web.ts'
import { parseConflicts } from './conflicts.ts'
import { checkCopy, defaultJobs, defaultSplit, parseJobs, parseSplit } from './copying.ts'
import { parseFollowName, parsePublications, parseSlotName, parseTables } from './names.ts'
import { checkPlugin } from './plugin.ts'
import { choice, onOff, parseOptions, via } from './schema.ts'
import { parseMemory, parseSize, spillDirectory } from './spill.ts'
import { ValueProblem } from './value-problem.ts'
import { defaultWebAddress, parseWebAddress } from './web-address.ts'

export type Environment = Readonly<Record<string, string | undefined>>

/** Everything of one daemon that is not the follow itself. */
export interface DaemonSettings {
  readonly logLevel: LogLevel
  readonly logFormat: LogFormat
  readonly web: WebAddress | 'off'
}

/** The name of a follow and its two ends: what `status` and `cleanup` need. */
export interface FollowEnds {
  readonly name: string
  readonly upstream: Conninfo
  readonly downstream: Conninfo
}

/** What the environment may say where no flag does. */
const variables = {
  upstream: 'FOLLOWER_UPSTREAM',
  downstream: 'FOLLOWER_DOWNSTREAM',
  logLevel: 'FOLLOWER_LOG_LEVEL',
  webListen: 'FOLLOWER_WEB_LISTEN',
  streaming: 'FOLLOWER_STREAMING',
} as const

const ends = {
  name: via(parseFollowName).prefault('follower'),
  upstream: z.string(),
  downstream: z.string(),
}
/** A repeatable option, each of which is a list. */
export const list = <T>(parse: (text: string) => T[]) =>
  z
    .array(via(parse))
    .default([])
    .transform((parts) => parts.flat())

const startSchema = z.strictObject({
  ...ends,
  plugin: choice('plugin', outputPlugins).prefault('pgoutput'),
  nanAsNull: z.boolean().default(false),
  binary: onOff.prefault('on'),
  slot: via(parseSlotName).optional(),
  publication: list(parsePublications),
  applicationName: z.string().min(1, 'an empty name').optional(),
  tables: list(parseTables),
  ddl: onOff.prefault('on'),
  until: via(parseUntil).optional(),
  copy: choice('copy', ['none', 'data', 'all']).optional(),
  copyJobs: via(parseJobs).optional(),
  copySplit: via(parseSplit).optional(),
  overwrite: z.boolean().default(false),
  pgDump: z.string().min(1, 'an empty path').optional(),
  owner: z.boolean().default(true),
  privileges: z.boolean().default(true),
  identity: choice('mode', ['refuse', 'full', 'insert-only']).prefault('refuse'),
  onConflict: z
    .array(z.string())
    .default([])
    .transform((parts) => parts.join(','))
    .pipe(via(parseConflicts)),
  onRewrite: choice('mode', ['halt', 'replay']).prefault('halt'),
  ordinaryTriggers: choice('mode', onOrdinaryTriggers).prefault('halt'),
  synchronousCommit: onOff.prefault('on'),
  backlog: choice('way', ['pull', 'stream']).prefault('pull'),
  streaming: onOff.optional(),
  onError: choice('mode', ['halt', 'exit']).optional(),
  incidentRows: z.boolean().default(false),
  wait: z.boolean().default(true),
  acceptNewUpstream: z.boolean().default(false),
  memoryLimit: via(parseMemory).optional(),
  spillDirectory: z.string().min(1, 'an empty path').optional(),
  spillLimit: via(parseSize).optional(),
  logLevel: choice('log level', logLevels).prefault('info'),
  logFormat: choice('log format', ['auto', 'json', 'pretty']).prefault('auto'),
  webListen: via(parseWebAddress).optional(),
})

/**
 * What `follower start` was told: flags before the environment before defaults.
 * Throws FollowerError exit 2, and whatever parseConninfo throws.
 */
export function readStartSettings(
  options: Readonly<Record<string, unknown>>,
  env: Environment,
): { readonly follow: FollowSettings; readonly daemon: DaemonSettings } {
  const parsed = parseOptions(startSchema, withEnvironment(options, env, variables))
  const follow: FollowSettings = {
    ...readBoth(parsed, env),
    plugin: parsed.plugin,
    nanAsNull: parsed.nanAsNull,
    binary: parsed.binary,
    slot: parsed.slot ?? parsed.name,
    slotGiven: parsed.slot !== undefined,
    publications: parsed.publication,
    applicationName: parsed.applicationName ?? `follower/${parsed.name}`,
    tables: parsed.tables,
    ddl: parsed.ddl,
    until: parsed.until,
    copy: parsed.copy,
    copying: {
      jobs: parsed.copyJobs ?? defaultJobs(),
      splitBytes: parsed.copySplit ?? defaultSplit,
      overwrite: parsed.overwrite,
      pgDump: parsed.pgDump,
      owner: parsed.owner,
      privileges: parsed.privileges,
    },
    noIdentity: parsed.identity,
    onConflict: parsed.onConflict,
    onRewrite: parsed.onRewrite,
    ordinaryTriggers: parsed.ordinaryTriggers,
    synchronousCommit: parsed.synchronousCommit,
    backlog: parsed.backlog,
    streaming: parsed.streaming ?? parsed.plugin === 'pgoutput',
    // Whoever waits for the end of a bounded run must hear of what keeps it from ending.
    onError: parsed.onError ?? (parsed.until === undefined ? 'halt' : 'exit'),
    incidentRows: parsed.incidentRows,
    wait: parsed.wait,
    acceptNewUpstream: parsed.acceptNewUpstream,
    memory: shareMemory(parsed.memoryLimit ?? defaultMemoryLimit),
    spill: {
      directory: parsed.spillDirectory ?? spillDirectory(env),
      limit: parsed.spillLimit ?? Number.POSITIVE_INFINITY,
    },
  }
  checkPlugin(follow)
  checkCopy(follow)
  const { logLevel, logFormat, webListen } = parsed
  return { follow, daemon: { logLevel, logFormat, web: webListen ?? defaultWebAddress } }
}

/** What `follower status` and `follower cleanup` were told of the follow. Throws as readStartSettings. */
export function readFollowEnds(
  options: { readonly name?: string; readonly upstream?: string; readonly downstream?: string },
  env: Environment,
): FollowEnds {
  const { name, upstream, downstream } = options
  const { upstream: from, downstream: to } = variables
  const all = withEnvironment({ name, upstream, downstream }, env, { upstream: from, downstream: to })
  return readBoth(parseOptions(z.strictObject(ends), all), env)
}

function readBoth(
  parsed: { name: string; upstream: string; downstream: string },
  env: Environment,
): FollowEnds {
  const end = (which: 'upstream' | 'downstream'): Conninfo => {
    try {
      return parseConninfo(parsed[which], env)
    } catch (error) {
      if (!(error instanceof FollowerError)) throw error
      const { code, exit, detail, effect, fix } = error
      // Both ends take the same texts: say which one is meant.
      throw new FollowerError(`--${which}: ${error.message}`, {
        code,
        exit,
        ...(detail === undefined ? {} : { detail }),
        ...(effect === undefined ? {} : { effect }),
        fix,
        cause: error,
      })
    }
  }
  return { name: parsed.name, upstream: end('upstream'), downstream: end('downstream') }
}

/** Fills in what no flag gave, and insists on the two ends. */
function withEnvironment(
  options: Readonly<Record<string, unknown>>,
  env: Environment,
  names: Readonly<Record<string, string>>,
): Record<string, unknown> {
  const result = { ...options }
  for (const [key, variable] of Object.entries(names)) result[key] ??= env[variable]
  const missing = ['upstream', 'downstream'].filter((end) => !result[end])
  if (missing.length === 0) return result
  throw new FollowerError(`${missing.map((end) => `--${end}`).join(' and ')} missing`, {
    code: 'FLW-011',
    exit: ExitCode.usage,
    detail: 'a follow has two ends, each a URI or a keyword=value text, as for psql',
    effect: 'nothing was started',
    fix: [
      'follower start --upstream postgres://user@db1/shop --downstream postgres://user@db2/shop',
      `or set ${missing.map((end) => `FOLLOWER_${end.toUpperCase()}`).join(' and ')}`,
    ],
  })
}

function parseUntil(text: string): FollowSettings['until'] {
  if (text === 'now') return text
  const lsn = parseLsn(text)
  if (lsn === undefined) throw new ValueProblem(`${text} is neither now nor an LSN such as 16/B374D848`)
  return lsn
}

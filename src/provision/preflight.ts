import type pg from 'pg'
import { ExitCode, FollowerError } from '../errors.ts'
import type { FollowSettings } from '../model/follow.ts'
import { ordinaryTriggers } from '../postgres/ordinary-triggers.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Ends } from './ends.ts'
import {
  type DownstreamFacts,
  downstreamFacts,
  sameDatabase,
  type UpstreamFacts,
  unknownPatterns,
  upstreamFacts,
} from './facts.ts'
import { oneError } from './findings.ts'
import { carried, checkListable, type ListableTable, listableTables } from './listing.ts'
import { checkPluginFacts, pluginFacts } from './plugin.ts'
import { refuseLostHistory } from './position.ts'
import { type Progress, readProgress } from './progress.ts'
import {
  checkPublications,
  type Publication,
  type PublicationDefinition,
  planPublications,
  publicationNames,
  readPublications,
} from './publication.ts'
import { ask } from './query.ts'
import { readRegistration, registration, sameScope } from './registry.ts'
import { type SchemaSource, schemaSource } from './schema-copy.ts'
import {
  checkDistinct,
  checkDownstream,
  checkForeignKeys,
  checkOrdinaryTriggers,
  checkSchemaOwner,
  checkUpstream,
  grantReplicationRole,
} from './server-checks.ts'
import { decideSlot, readSlot, type Slot, type SlotStep } from './slot.ts'
import {
  checkAbsent,
  checkIdentities,
  checkPatterns,
  checkTargets,
  checkUncopied,
  checkUnlikeRoots,
  defaultCopy,
} from './table-checks.ts'
import {
  copyTargets,
  displayTable,
  type FollowedTable,
  followedTables,
  foreignKeys,
  uncopiedTables,
  unlikeRoots,
} from './tables.ts'

/** What was seen before anything was created; what is created afterwards builds on it. */
export interface Preflight {
  readonly upstream: UpstreamFacts
  readonly downstream: DownstreamFacts
  readonly tables: readonly FollowedTable[]
  /** Tables that hold rows downstream, on a first start. */
  readonly settled: ReadonlySet<string>
  /** What of it is to be brought; undefined: nothing, and nothing is missing. */
  readonly copy: FollowSettings['copy']
  readonly publications: readonly Publication[]
  readonly sameScope: boolean
  /** What they should be; none where the user named his own. */
  readonly planned: readonly PublicationDefinition[]
  readonly progress: Progress | undefined
  readonly slot: Slot | undefined
  readonly step: SlotStep
  /** Where the schema is to be copied. */
  readonly schemaSource: SchemaSource | undefined
}

/**
 * Looks at both ends and changes nothing. Throws what stands against the follow: one FollowerError with exit 7
 * where its slot or position forbids it, else one with exit 6 that tells every finding at once.
 */
export async function preflight(settings: FollowSettings, ends: Ends, log: Logger): Promise<Preflight> {
  const upstream = await upstreamFacts(ends.upstream)
  const downstream = await downstreamFacts(ends.downstream)
  throwFirst(checkSchemaOwner(downstream))
  const progress = await readProgress(ends.downstream, settings.name)
  const slot = await readSlot(ends.upstream, settings.slot)
  const servers = [
    ...checkUpstream(settings, upstream, slot !== undefined),
    ...checkDownstream(downstream),
    ...checkDistinct(await sameDatabase(ends), settings),
  ]
  // On a server of the wrong kind the further questions have no answer.
  throwFirst(servers.filter((error) => ['FLW-102', 'FLW-103', 'FLW-114'].includes(error.code)))

  if (!slot) await refuseLostHistory(settings, ends.upstream, upstream, progress)
  const refusal = attempt(() => decideSlot(settings, upstream, progress, slot))
  if (refusal instanceof FollowerError && refusal.exit === ExitCode.slot) throw refusal

  const names = publicationNames(settings)
  const publications = await readPublications(ends.upstream, names, upstream.version)
  const patterns = checkPatterns(await unknownPatterns(ends.upstream, settings))
  const publicationErrors = checkPublications(settings, publications)
  // A superuser's publications are of all tables, or of schemas.
  const wide =
    upstream.superuser ||
    settings.publications.length > 0 ||
    publications.some((publication) => publication.all)
  const listable = wide ? undefined : await listableTables(ends.upstream, settings, names)
  // Later the daemon names what it can't publish (FLW-135), and goes on.
  const atFirst = progress?.lsn === undefined
  const unchanged = await hasScope(settings, ends.upstream, upstream, publications, listable)
  const all = await followedTables(ends.upstream, settings)
  // wal2json sends what is in no publication, too.
  const listed = settings.plugin === 'pgoutput' ? listable : undefined
  const tables = listed ? carried(all, listed, !unchanged) : all
  const found = [
    ...servers,
    ...(refusal instanceof FollowerError ? [refusal] : []),
    ...publicationErrors,
    ...patterns,
    ...checkPluginFacts(settings, await pluginFacts(ends.upstream)),
    ...(atFirst && listed ? checkListable(listed, upstream.role, upstream.version) : []),
    ...checkIdentities(settings, tables, upstream.capture === 'usable'),
    ...checkUnlikeRoots(await unlikeRoots(ends.upstream, settings)),
  ]
  if (downstream.replicationRole === 'origin' && settings.ordinaryTriggers === 'halt')
    found.push(
      ...checkOrdinaryTriggers(
        await ordinaryTriggers(
          (text, values) => ask(ends.downstream, 'downstream', text, values),
          tables.map((table) => table.sentAs),
        ),
        downstream,
      ),
    )
  const uncopied =
    settings.copy === undefined && atFirst
      ? await uncopiedTables(ends.upstream, ends.downstream, tables)
      : undefined
  const copy = settings.copy ?? (uncopied && defaultCopy(settings, tables, uncopied))
  if (uncopied && copy === undefined) found.push(...checkUncopied(uncopied))
  if (atFirst && (copy === 'data' || copy === 'all')) {
    const targets = await copyTargets(ends.downstream, tables)
    if (copy === 'all') found.push(...checkAbsent(targets))
    else {
      found.push(...checkTargets(targets, settings.copying.overwrite))
      if (downstream.replicationRole === 'origin')
        found.push(...checkForeignKeys(await foreignKeys(ends.downstream, tables), downstream))
    }
  }
  throwFirst(found)
  const source =
    copy === 'all' && atFirst ? await schemaSource(settings, ends.upstream, upstream.version, log) : undefined

  warnOfOrigin(downstream, log)
  warn(upstream, tables, slot === undefined, log)
  return {
    upstream,
    downstream,
    tables,
    settled: uncopied?.settled ?? new Set(),
    copy,
    publications,
    sameScope: unchanged,
    planned: planPublications(settings, tables, upstream.version, listable),
    progress,
    slot,
    step: refusal as SlotStep,
    schemaSource: source,
  }
}

/** Whether the publications are of the tables that are asked for now: a list that grows is only added to then. */
async function hasScope(
  settings: FollowSettings,
  client: pg.Client,
  { capture }: UpstreamFacts,
  publications: readonly Publication[],
  listable: readonly ListableTable[] | undefined,
): Promise<boolean> {
  if (publications.length === 0) return false
  if (capture === 'usable')
    return sameScope(await readRegistration(client, settings.name), registration(settings))
  // Without a registry, its own lists tell what was asked for.
  const asked = new Set(listable?.map(displayTable))
  return (
    listable === undefined ||
    publications.every((it) => it.tables.every(([schema, name]) => asked.has(displayTable({ schema, name }))))
  )
}

/** The value, or the FollowerError that was thrown. */
function attempt<T>(decide: () => T): T | FollowerError {
  try {
    return decide()
  } catch (error) {
    if (error instanceof FollowerError) return error
    throw error
  }
}

function throwFirst(found: readonly FollowerError[]): void {
  const error = oneError(found)
  if (error) throw error
}

/** Told at every start: a GRANT changes it, and only a start takes note of it. */
function warnOfOrigin(downstream: DownstreamFacts, log: Logger): void {
  if (downstream.replicationRole === 'replica') return
  log.warn(
    { code: 'FLW-111', role: downstream.role, fix: grantReplicationRole(downstream) },
    'the downstream role may not set session_replication_role: foreign keys and ordinary triggers downstream act on what the follow brings; it stops at tables with such triggers unless --ordinary-triggers fire',
  )
}

/** What doesn't stop a follow, told once: at the start that makes the slot. */
function warn(
  upstream: UpstreamFacts,
  tables: readonly FollowedTable[],
  firstStart: boolean,
  log: Logger,
): void {
  if (!firstStart) return
  if (upstream.maxSlotWalKeepSize === '-1')
    log.warn(
      {
        code: 'FLW-112',
        fix: "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf();",
      },
      'max_slot_wal_keep_size is -1 upstream: while follower is away, WAL may fill the disk',
    )
  const unlogged = tables.filter((table) => table.unlogged)
  if (unlogged.length > 0)
    log.warn(
      { code: 'FLW-121', count: unlogged.length, tables: unlogged.slice(0, 20).map(displayTable) },
      'unlogged tables are not replicated: their rows are not in the WAL',
    )
}

import type pg from 'pg'
import { formatLsn, lsnFromServer } from '../model/lsn.ts'
import { sql } from '../postgres/sql.ts'
import type { FollowName, ReachableEnds } from './cleanup.ts'
import { type CopyStatus, readCopy } from './copy-progress.ts'
import { blockers } from './create-slot.ts'
import { puller } from './cursor.ts'
import { type Incident, readIncidents, readSkips, type Skip } from './incidents.ts'
import { listableTables, unpublished } from './listing.ts'
import { type Holder, lockHolder, lockKey } from './lock.ts'
import { type Progress, readProgress } from './progress.ts'
import { publicationComment } from './publication.ts'
import { ask, askOne, column } from './query.ts'
import { type Registration, readRegistration } from './registry.ts'
import { isLost, readSlot, type Slot } from './slot.ts'
import { displayTable, followedTables, parseQuotedPattern } from './tables.ts'

/**
 * `halted`: a transaction can't be applied; a person is needed. `copying`: a follower is there, and tables or steps of a copied schema are still to come. `following`: a follower holds the slot or the lock. `stopped`: everything is there, nobody follows.
 * `starting`: a start has not finished, or was killed. `absent`: nothing of the follow is there.
 * `slot lost`, `slot missing`: it cannot go on. `unknown`: an end could not be reached.
 */
export type FollowPhase =
  | 'halted'
  | 'copying'
  | 'following'
  | 'stopped'
  | 'starting'
  | 'absent'
  | 'slot lost'
  | 'slot missing'
  | 'unknown'

/**
 * What `follower status` shows, in the shape of its JSON (`follower.status/1`). LSNs and times as PostgreSQL
 * writes them, times in UTC; sizes in bytes, as numbers (exact below 2^53).
 */
export interface FollowStatus {
  readonly schema: 'follower.status/1'
  readonly name: string
  readonly state: FollowPhase
  readonly upstream: {
    readonly version: string
    readonly systemIdentifier: string
    readonly timeline: number | null
    readonly database: string
    /** End of the WAL; null on a standby. */
    readonly lsn: string | null
    readonly publications: readonly string[]
    readonly tables: number
    /** Tables of the follow that no publication has; null where the follow is not registered, so that nobody knows. */
    readonly unpublished: readonly string[] | null
  } | null
  readonly slot: {
    readonly name: string
    readonly active: boolean
    readonly holder: Holder | null
    /** Who brings a backlog in windows, from a temporary copy of it; null: it is streamed, or nobody works. */
    readonly pulledBy: Holder | null
    readonly walStatus: string | null
    readonly invalidationReason: string | null
    readonly restartLsn: string | null
    readonly confirmedFlushLsn: string | null
    readonly retainedBytes: number | null
    readonly safeWalBytes: number | null
    /** While it is being created: the transactions whose end it waits for, as phrases. */
    readonly waitsFor: readonly string[]
  } | null
  readonly downstream: {
    readonly version: string
    readonly database: string
    /** The session of the follower that works or waits in it; null: none does. */
    readonly holder: Holder | null
  } | null
  readonly progress: {
    readonly lsn: string | null
    readonly commitTime: string | null
    readonly updatedAt: string
    /** As text: 64 bits. */
    readonly epoch: string
  } | null
  /** From the progress to the end of the upstream's WAL. */
  readonly lagBytes: number | null
  /** What has stopped the follow. */
  readonly incident: Incident | null
  /** The initial copy; null where nothing of it is left. */
  readonly copy: CopyStatus | null
  /** The latest transactions that a person said to leave out, at most ten. */
  readonly skips: readonly Skip[]
}

/** Reads both ends and changes nothing. An end that is undefined leaves its part of the answer null. */
export async function readState(follow: FollowName, ends: ReachableEnds): Promise<FollowStatus> {
  const below = ends.downstream && (await downstreamState(follow, ends.downstream))
  const progress = below?.progress
  const slotName = progress?.slot ?? follow.name
  const slot = ends.upstream && (await readSlot(ends.upstream, slotName))
  const above = ends.upstream && (await upstreamState(follow, ends.upstream, slot))
  const lag =
    above?.lsn && progress?.lsn !== undefined ? Number(lsnFromServer(above.lsn) - progress.lsn) : null
  return {
    schema: 'follower.status/1',
    name: follow.name,
    state: decidePhase({
      reachable: above !== undefined && below !== undefined,
      slot,
      progress,
      held: below?.holder !== undefined,
      halted: below?.incident !== undefined,
      copying: (below?.copy ?? null) !== null,
    }),
    upstream: above ?? null,
    slot: slot && ends.upstream ? await slotState(ends.upstream, slot) : null,
    downstream: below
      ? { version: below.version, database: below.database, holder: below.holder ?? null }
      : null,
    progress: progress
      ? {
          lsn: progress.lsn === undefined ? null : formatLsn(progress.lsn),
          commitTime: progress.commitTime,
          updatedAt: progress.updatedAt,
          epoch: progress.epoch.toString(),
        }
      : null,
    // They were not read at one time.
    lagBytes: lag === null ? null : Math.max(0, lag),
    incident: below?.incident ?? null,
    copy: below?.copy ?? null,
    skips: below?.skips ?? [],
  }
}

/** Pure: the one word for what was found. */
export function decidePhase(seen: {
  readonly reachable: boolean
  readonly slot: Slot | undefined
  readonly progress: Progress | undefined
  readonly held: boolean
  readonly halted: boolean
  readonly copying: boolean
}): FollowPhase {
  const { slot, progress } = seen
  if (slot && isLost(slot)) return 'slot lost'
  if (!seen.reachable) return 'unknown'
  if (!progress) return 'absent'
  if (progress.lsn === undefined) return 'starting'
  if (!slot) return 'slot missing'
  if (seen.halted) return 'halted'
  if (!slot.holder && !seen.held) return 'stopped'
  return seen.copying ? 'copying' : 'following'
}

/** Only a publication that follower made should have them all. */
async function unpublishedTables(
  follow: FollowName,
  upstream: pg.Client,
  registered: Registration | undefined,
  slot: Slot | undefined,
): Promise<readonly string[] | null> {
  // wal2json sends what is in no publication, too.
  if (slot?.plugin === 'wal2json') return []
  if (!registered) return null
  const own = await ask(upstream, 'upstream', sql('query/own_publications'), [
    publicationComment(follow.name),
  ])
  if (own.length === 0) return []
  const tables = registered.tables.map(parseQuotedPattern)
  return unpublished(await listableTables(upstream, { tables }, registered.publications)).map(displayTable)
}

async function upstreamState(follow: FollowName, upstream: pg.Client, slot: Slot | undefined) {
  const row = (await askOne(upstream, 'upstream', sql('query/upstream'))) ?? {}
  const registered = await readRegistration(upstream, follow.name)
  const publications = registered?.publications ?? [follow.name]
  return {
    version: column(row, 'version_text'),
    systemIdentifier: column(row, 'system_identifier'),
    timeline: row.timeline ? Number(row.timeline) : null,
    database: column(row, 'database'),
    lsn: row.flush_lsn ?? null,
    publications,
    tables: (await followedTables(upstream, { tables: [], publications })).length,
    unpublished: await unpublishedTables(follow, upstream, registered, slot),
  }
}

async function downstreamState(follow: FollowName, downstream: pg.Client) {
  const row = (await askOne(downstream, 'downstream', sql('query/downstream'))) ?? {}
  const progress = await readProgress(downstream, follow.name)
  const [latest] = await readIncidents(downstream, follow.name, 1)
  const holder = await lockHolder(downstream, 'downstream', lockKey(follow.name))
  return {
    version: column(row, 'version_text'),
    database: column(row, 'database'),
    progress,
    holder,
    incident: latest && isOpen(latest, progress) ? latest : undefined,
    skips: await readSkips(downstream, follow.name, 10),
    copy: progress?.lsn === undefined ? null : await readCopy(downstream, follow.name, holder !== undefined),
  }
}

/** A follower that has passed it closes it, but maybe only later. */
function isOpen({ resolvedAt, lsn }: Incident, progress: Progress | undefined): boolean {
  const passed = lsn !== null && progress?.lsn !== undefined && progress.lsn >= lsnFromServer(lsn)
  return resolvedAt === null && !passed
}

async function slotState(upstream: pg.Client, slot: Slot): Promise<FollowStatus['slot']> {
  const created = slot.confirmedFlushLsn !== undefined
  return {
    name: slot.name,
    active: slot.holder !== undefined,
    holder: slot.holder ?? null,
    pulledBy: slot.holder ? null : await puller(upstream, slot.name),
    walStatus: slot.walStatus,
    invalidationReason: slot.invalidationReason,
    restartLsn: slot.restartLsn === undefined ? null : formatLsn(slot.restartLsn),
    confirmedFlushLsn: slot.confirmedFlushLsn === undefined ? null : formatLsn(slot.confirmedFlushLsn),
    retainedBytes: slot.retainedBytes === null ? null : Number(slot.retainedBytes),
    safeWalBytes: slot.safeWalSize === null ? null : Number(slot.safeWalSize),
    waitsFor: created || !slot.holder ? [] : await blockers(upstream, slot.holder.pid),
  }
}

import type pg from 'pg'
import { ExitCode, FollowerError } from '../errors.ts'
import { failpoint } from '../failpoints.ts'
import type { FollowSettings } from '../model/follow.ts'
import { formatLsn, type Lsn } from '../model/lsn.ts'
import type { ReplicationRole } from '../model/replication-role.ts'
import { connect } from '../postgres/connect.ts'
import { sql } from '../postgres/sql.ts'
import type { Logger } from '../telemetry/log.ts'
import { publishedTables } from './copy-tables.ts'
import { createSlot, slotPosition } from './create-slot.ts'
import type { Ends } from './ends.ts'
import { oneError } from './findings.ts'
import { installObjects, lockSchema } from './objects.ts'
import { type Preflight, preflight } from './preflight.ts'
import { recordIntent, recordStart, recordWaiting } from './progress.ts'
import { ensurePublications, publicationNames } from './publication.ts'
import { ask, inTransaction } from './query.ts'
import {
  giveFullIdentity,
  keepPublications,
  readRegistration,
  register,
  registration,
  sameScope,
} from './registry.ts'
import { loadSchema, readSchema } from './schema-copy.ts'
import { decideSlot } from './slot.ts'
import { type Snapshot, temporarySlot, underSnapshot } from './snapshot.ts'
import { checkIdentities, checkTargets, checkUncopied } from './table-checks.ts'
import { copyTargets, displayTable, followedTables, lacksIdentity, uncopiedTables } from './tables.ts'

export type { Ends } from './ends.ts'

/** What the rest of a follow needs to know of the two ends. */
export interface Prepared {
  readonly systemIdentifier: string
  readonly timeline: number
  readonly database: string
  /** server_version_num, e.g. 180004. */
  readonly upstreamVersion: number
  readonly downstreamVersion: number
  readonly publications: readonly string[]
  /** New tables join the publication one by one: it is a list. */
  readonly listsTables: boolean
  /** The registry and the capture objects are there, and this role may use them. */
  readonly captured: boolean
  /** The role of the connections upstream. */
  readonly upstreamRole: string
  /** What the apply session has. */
  readonly replicationRole: ReplicationRole
  /** The upstream server's; 0: never. */
  readonly walSenderTimeoutMs: number
}

/** What a start has made: with a snapshot, which the caller closes, where tables are to be copied under it. */
export interface Start {
  readonly prepared: Prepared
  readonly snapshot: Snapshot | undefined
}

/**
 * Makes everything that a follow needs, or finds it made. The order is what makes it resumable after a kill at
 * any place: capture objects and publications before the slot, so that no change after the slot's consistent
 * point goes uncaptured; the intent downstream before the slot, so that a slot left behind is known as ours.
 * Throws FollowerError: exit 6 (preflight) or 7 (slot, position); 4 or 5, maybe transient, where an end fails.
 */
export async function prepare(settings: FollowSettings, ends: Ends, log: Logger): Promise<Prepared> {
  const { prepared, snapshot } = await prepareStart(settings, ends, log)
  await snapshot?.close()
  return prepared
}

/** The same, and keeps the snapshot of a first start under which tables are to be copied. */
export async function prepareStart(settings: FollowSettings, ends: Ends, log: Logger): Promise<Start> {
  const seen = await preflight(settings, ends, log)
  await prepareUpstream(settings, ends, seen)
  await failpoint('start.captured')
  await prepareDownstream(settings, ends, seen)
  await failpoint('start.progress')
  const snapshot = await prepareSlot(settings, ends, seen, log)
  return { prepared: preparedOf(settings, seen), snapshot }
}

function preparedOf(settings: FollowSettings, seen: Preflight): Prepared {
  const { upstream, downstream } = seen
  return {
    systemIdentifier: upstream.systemIdentifier,
    timeline: upstream.timeline,
    database: upstream.database,
    upstreamVersion: upstream.version,
    downstreamVersion: downstream.version,
    publications: publicationNames(settings),
    listsTables: seen.planned.some(
      (planned) =>
        planned === seen.planned.at(-1) && !planned.all && (planned.grows || planned.tables.length > 0),
    ),
    captured: upstream.capture === 'usable',
    upstreamRole: upstream.role,
    replicationRole: downstream.replicationRole,
    walSenderTimeoutMs: upstream.walSenderTimeoutMs,
  }
}

async function prepareUpstream(settings: FollowSettings, ends: Ends, seen: Preflight): Promise<void> {
  const { upstream } = ends
  await inTransaction(upstream, 'upstream', async () => {
    await lockSchema(upstream, 'upstream')
    // Whoever waits for a lock on a table makes everybody wait who comes later: rather try again.
    await ask(upstream, 'upstream', "SET LOCAL lock_timeout = '3s'")
    const asked = registration(settings)
    let unchanged = seen.sameScope
    const captured = seen.upstream.capture === 'usable'
    if (seen.upstream.superuser) {
      await installObjects(upstream, 'upstream')
      await ask(upstream, 'upstream', sql('query/take_capture'))
    }
    if (captured) {
      unchanged = sameScope(await readRegistration(upstream, settings.name), asked)
      await register(upstream, settings.name, asked)
    }
    // Other follows must not hear of these statements as of DDL.
    const run = (statement: string) =>
      captured
        ? ask(upstream, 'upstream', 'CALL follower.execute_own($1)', [statement])
        : ask(upstream, 'upstream', statement)
    const changed = await ensurePublications(run, settings.name, seen.planned, seen.publications, unchanged)
    if (!captured) return
    if (changed) await keepPublications(upstream)
    if (settings.noIdentity === 'full')
      await giveFullIdentity(settings, upstream, seen.tables.filter(lacksIdentity))
  })
}

async function prepareDownstream(settings: FollowSettings, ends: Ends, seen: Preflight): Promise<void> {
  const { downstream } = ends
  await inTransaction(downstream, 'downstream', async () => {
    await lockSchema(downstream, 'downstream')
    await installObjects(downstream, 'downstream')
    await recordIntent(downstream, {
      name: settings.name,
      systemIdentifier: seen.upstream.systemIdentifier,
      timeline: seen.upstream.timeline,
      database: seen.upstream.database,
      slot: settings.slot,
      ownSlot: !settings.slotGiven,
      publications: settings.plugin === 'pgoutput' ? publicationNames(settings) : [],
    })
  })
}

async function prepareSlot(
  settings: FollowSettings,
  ends: Ends,
  seen: Preflight,
  log: Logger,
): Promise<Snapshot | undefined> {
  if (seen.step === 'ready') return undefined
  const copies = seen.copy === 'data' || seen.copy === 'all'
  let lsn = seen.step === 'adopt' ? await slotPosition(settings, ends.upstream, log) : undefined
  let snapshot: Snapshot | undefined
  if (lsn === undefined) {
    // An adopted slot may have gone with the session that was creating it; one that the user named must not.
    decideSlot(settings, seen.upstream, seen.progress, undefined)
    snapshot = await createSlot(settings, ends.upstream, log)
    lsn = snapshot.lsn
  } else if (copies) {
    // Its own snapshot is gone. Another one is as good: nothing before it is needed.
    snapshot = await createSlot(settings, ends.upstream, log, temporarySlot(settings))
    lsn = snapshot.lsn
  }
  try {
    if (snapshot) await recheck(settings, ends, seen, snapshot.name)
    await failpoint('start.slot')
    await begin(settings, ends, lsn, copies ? snapshot : undefined, seen, log)
  } catch (error) {
    await snapshot?.close()
    // What a person has to remedy first may take long, and the slot would hold WAL meanwhile.
    if (seen.step === 'create' && error instanceof FollowerError && error.exit === ExitCode.preflight)
      await ask(ends.upstream, 'upstream', 'SELECT pg_drop_replication_slot($1)', [settings.slot])
    throw error
  }
  log.info({ slot: settings.slot, lsn: formatLsn(lsn) }, 'the follow starts here')
  if (copies) return snapshot
  await snapshot?.close()
  return undefined
}

/** Writes the first position and, at once, which tables take nothing from the stream until they are copied. */
async function begin(
  settings: FollowSettings,
  { upstream, downstream }: Ends,
  lsn: Lsn,
  snapshot: Snapshot | undefined,
  seen: Preflight,
  log: Logger,
): Promise<void> {
  const tables =
    snapshot &&
    (await underSnapshot(upstream, snapshot.name, () =>
      publishedTables(upstream, publicationNames(settings)),
    ))
  const majors = {
    upstream: Math.trunc(seen.upstream.version / 10000),
    downstream: Math.trunc(seen.downstream.version / 10000),
  }
  const source = seen.schemaSource
  const schema =
    snapshot &&
    source &&
    (await readSchema(settings, { upstream, downstream }, source, snapshot, majors, log))
  const record = (client: pg.Client): Promise<void> =>
    inTransaction(client, 'downstream', async () => {
      if (schema) {
        await loadSchema(client, settings.name, schema)
        await failpoint('copy.schema')
      }
      await recordStart(client, settings.name, lsn, tables !== undefined)
      if (tables) await recordWaiting(client, settings.name, tables)
    })
  if (!schema) return record(downstream)
  // Its own connection: the script sets what it likes.
  const client = await connect({
    end: 'downstream',
    conninfo: settings.downstream,
    applicationName: settings.applicationName,
  })
  try {
    await record(client)
  } finally {
    await client.end().catch(() => {})
  }
}

/**
 * A transaction that was open while the capture objects were made may have brought tables and rows that nobody captured
 * and no check saw. The slot waited for all of these, so its snapshot shows what they left, and nothing of what the stream
 * brings.
 */
async function recheck(
  settings: FollowSettings,
  ends: Ends,
  seen: Preflight,
  snapshot: string,
): Promise<void> {
  const { upstream, downstream } = ends
  const found = await underSnapshot(upstream, snapshot, async () => {
    const tables = await followedTables(upstream, settings)
    const identities = checkIdentities(settings, tables, seen.upstream.capture === 'usable')
    if (seen.copy === 'none' || seen.copy === 'all') return identities
    if (seen.copy === 'data')
      return [
        ...identities,
        ...checkTargets(await copyTargets(downstream, tables), settings.copying.overwrite),
      ]
    const unsettled = tables.filter((table) => !seen.settled.has(displayTable(table.sentAs)))
    return [...identities, ...checkUncopied(await uncopiedTables(upstream, downstream, unsettled))]
  })
  const error = oneError(found)
  if (error) throw error
}

import { failpoint } from '../failpoints.ts'
import type { FollowSettings } from '../model/follow.ts'
import { formatLsn } from '../model/lsn.ts'
import type { ReplicationRole } from '../model/replication-role.ts'
import { sql } from '../postgres/sql.ts'
import type { Logger } from '../telemetry/log.ts'
import { createSlot, slotPosition } from './create-slot.ts'
import type { Ends } from './ends.ts'
import { oneError } from './findings.ts'
import { installObjects, lockSchema } from './objects.ts'
import { type Preflight, preflight } from './preflight.ts'
import { recordIntent, recordStart } from './progress.ts'
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
import { decideSlot } from './slot.ts'
import { checkIdentities, checkUncopied } from './table-checks.ts'
import { displayTable, followedTables, lacksIdentity, uncopiedTables } from './tables.ts'

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

/**
 * Makes everything that a follow needs, or finds it made. The order is what makes it resumable after a kill at
 * any place: capture objects and publications before the slot, so that no change after the slot's consistent
 * point goes uncaptured; the intent downstream before the slot, so that a slot left behind is known as ours.
 * Throws FollowerError: exit 6 (preflight) or 7 (slot, position); 4 or 5, maybe transient, where an end fails.
 */
export async function prepare(settings: FollowSettings, ends: Ends, log: Logger): Promise<Prepared> {
  const seen = await preflight(settings, ends, log)
  await prepareUpstream(settings, ends, seen)
  await failpoint('start.captured')
  await prepareDownstream(settings, ends, seen)
  await failpoint('start.progress')
  await prepareSlot(settings, ends, seen, log)
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
    })
  })
}

async function prepareSlot(
  settings: FollowSettings,
  ends: Ends,
  seen: Preflight,
  log: Logger,
): Promise<void> {
  if (seen.step === 'ready') return
  let lsn = seen.step === 'adopt' ? await slotPosition(settings, ends.upstream, log) : undefined
  if (lsn === undefined) {
    // An adopted slot may have gone with the session that was creating it; one that the user named must not.
    decideSlot(settings, seen.upstream, seen.progress, undefined)
    await createSlot(settings, ends.upstream, log, (snapshot) => recheck(settings, ends, seen, snapshot))
    lsn = await slotPosition(settings, ends.upstream, log)
  }
  await failpoint('start.slot')
  if (lsn === undefined) throw new Error(`slot ${settings.slot} went away while it was looked at`)
  await recordStart(ends.downstream, settings.name, lsn)
  log.info({ slot: settings.slot, lsn: formatLsn(lsn) }, 'the follow starts here')
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
  const found = await inTransaction(upstream, 'upstream', async () => {
    await ask(upstream, 'upstream', 'SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY')
    await ask(upstream, 'upstream', `SET TRANSACTION SNAPSHOT '${snapshot}'`)
    const tables = await followedTables(upstream, settings)
    const identities = checkIdentities(settings, tables, seen.upstream.capture === 'usable')
    if (settings.copy !== undefined) return identities
    const unsettled = tables.filter((table) => !seen.settled.has(displayTable(table.sentAs)))
    return [...identities, ...checkUncopied(await uncopiedTables(upstream, downstream, unsettled))]
  })
  const error = oneError(found)
  if (!error) return
  await ask(upstream, 'upstream', 'SELECT pg_drop_replication_slot($1)', [settings.slot])
  throw error
}

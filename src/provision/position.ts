import type pg from 'pg'
import { ExitCode, FollowerError } from '../errors.ts'
import type { FollowSettings } from '../model/follow.ts'
import { formatLsn, type Lsn, lsnFromServer } from '../model/lsn.ts'
import { sql } from '../postgres/sql.ts'
import type { Ends } from './ends.ts'
import { type Progress, readProgress, takeEpoch } from './progress.ts'
import { ask, askOne, column, inTransaction } from './query.ts'
import { anotherServer, decideSlot, readSlot, type UpstreamIdentity } from './slot.ts'
import { type Lineage, lineage, readTimelineHistory } from './timeline.ts'

/** Where a follow goes on, and the epoch under which it may write that down. */
export interface Position {
  readonly epoch: bigint
  readonly lsn: Lsn
  readonly systemIdentifier: string
  readonly timeline: number
}

/** What decidePosition looks at; LSNs of one instant, taken while the progress row was locked. */
export interface PositionFacts {
  readonly progress: Progress & { readonly lsn: Lsn }
  readonly systemIdentifier: string
  readonly timeline: number
  /** The upstream's flushed end of WAL. */
  readonly walEnd: Lsn
  readonly confirmedFlushLsn: Lsn
  readonly lineage: Lineage
}

/**
 * Checks the slot and the position (P3, P5), takes the epoch (P8), and says where to start. Run it on every
 * connection: either end may have become another server meanwhile. The progress row is locked while the
 * upstream is asked, so that no older daemon moves it between the two answers; a refusal takes no epoch.
 * Throws FollowerError: exit 7 for a refusal; 4 or 5, maybe transient, where an end fails.
 */
export async function takePosition(
  settings: FollowSettings,
  ends: Ends,
  expected: UpstreamIdentity,
): Promise<Position> {
  const { upstream, downstream } = ends
  return inTransaction(downstream, 'downstream', async () => {
    // A stopped daemon may hold the row in an open transaction: say so in time instead of waiting for ever.
    await ask(downstream, 'downstream', "SET LOCAL lock_timeout = '10s'")
    const epoch = await takeEpoch(downstream, settings.name)
    const progress = await readProgress(downstream, settings.name)
    const { timeline, walEnd, identity } = await upstreamNow(upstream, expected)
    const slot = await readSlot(upstream, settings.slot)
    if (!slot) await refuseLostHistory(settings, upstream, expected, progress)
    decideSlot(settings, identity, progress, slot)
    const confirmedFlushLsn = slot?.confirmedFlushLsn
    if (progress?.lsn === undefined || confirmedFlushLsn === undefined)
      throw new FollowerError(`the slot of the follow "${settings.name}" is still being created`, {
        code: 'FLW-211',
        exit: ExitCode.slot,
        effect: 'nothing was applied',
        transient: true,
      })
    const lsn = decidePosition(settings, {
      progress: { ...progress, lsn: progress.lsn },
      systemIdentifier: identity.systemIdentifier,
      timeline,
      walEnd,
      confirmedFlushLsn,
      lineage:
        progress.systemIdentifier === identity.systemIdentifier
          ? await lineageOf(settings, upstream, progress.timeline, timeline)
          : { kind: 'unrelated' },
    })
    await ask(
      downstream,
      'downstream',
      'UPDATE follower.progress SET system_identifier = $2, timeline = $3, database = $4, lsn = $5 WHERE name = $1',
      [settings.name, identity.systemIdentifier, String(timeline), identity.database, formatLsn(lsn)],
    )
    return { epoch, lsn, systemIdentifier: identity.systemIdentifier, timeline }
  })
}

/**
 * P5 where there is no slot: that the server went back behind our position says more than that its slot is gone, which is
 * so on every server that was restored. Throws FLW-206 or FLW-208; does nothing where the history holds the position.
 */
export async function refuseLostHistory(
  settings: FollowSettings,
  upstream: pg.Client,
  expected: UpstreamIdentity,
  progress: Progress | undefined,
): Promise<void> {
  if (progress?.lsn === undefined) return
  const { timeline, walEnd, identity } = await upstreamNow(upstream, expected)
  if (progress.systemIdentifier !== identity.systemIdentifier) return
  placeInHistory(
    { name: settings.name, acceptNewUpstream: false },
    {
      progress: { ...progress, lsn: progress.lsn },
      timeline,
      walEnd,
      confirmedFlushLsn: undefined,
      lineage: await lineageOf(settings, upstream, progress.timeline, timeline),
    },
  )
}

async function lineageOf(
  settings: FollowSettings,
  upstream: pg.Client,
  noted: number,
  current: number,
): Promise<Lineage> {
  if (noted === current) return { kind: 'same' }
  return lineage(noted, current, await readTimelineHistory(settings, upstream, current))
}

async function upstreamNow(
  upstream: pg.Client,
  expected: UpstreamIdentity,
): Promise<{ timeline: number; walEnd: Lsn; identity: UpstreamIdentity }> {
  const row = await askOne(upstream, 'upstream', sql('query/upstream'))
  if (!row) throw new TypeError('the upstream told nothing of itself')
  const identity = { systemIdentifier: column(row, 'system_identifier'), database: column(row, 'database') }
  if (row.in_recovery === 't')
    throw new FollowerError('the upstream is in recovery', {
      code: 'FLW-102',
      exit: ExitCode.preflight,
      detail: 'It is a standby now: a failover may be under way, or the conninfo names the wrong server.',
      effect: `nothing was changed (expected system identifier ${expected.systemIdentifier})`,
      fix: ['connect to the primary'],
      transient: true,
    })
  return {
    timeline: Number(column(row, 'timeline')),
    walEnd: lsnFromServer(column(row, 'flush_lsn')),
    identity,
  }
}

/**
 * Pure: the LSN to go on from, or the refusal.
 *
 * P3: slot.confirmed_flush_lsn <= progress. P5: the same server, whose history holds our position.
 * `--accept-new-upstream` says that a person knows better about P5: on another server only its slot can tell a
 * position; after a failover that lost commits, the point where the timelines part.
 */
export function decidePosition(
  settings: Pick<FollowSettings, 'acceptNewUpstream' | 'name'>,
  facts: PositionFacts,
): Lsn {
  const { progress, confirmedFlushLsn } = facts
  if (progress.systemIdentifier !== facts.systemIdentifier) {
    if (settings.acceptNewUpstream) return confirmedFlushLsn
    throw anotherServer(settings.name, facts.systemIdentifier, progress)
  }
  const lsn = placeInHistory(settings, facts)
  if (confirmedFlushLsn > lsn) throw wentBack(settings.name, facts, lsn)
  return lsn
}

/** What of PositionFacts does not need a slot. */
type HistoryFacts = Pick<PositionFacts, 'progress' | 'timeline' | 'walEnd' | 'lineage'> & {
  readonly confirmedFlushLsn: Lsn | undefined
}

/** P5 on one server: the progress, or what its history leaves of it. */
function placeInHistory(
  settings: Pick<FollowSettings, 'acceptNewUpstream' | 'name'>,
  facts: HistoryFacts,
): Lsn {
  const { lsn } = facts.progress
  const parted = facts.lineage.kind === 'ancestor' && facts.lineage.end < lsn
  if (facts.lineage.kind === 'unrelated' || parted) {
    if (!(parted && settings.acceptNewUpstream)) throw forked(settings.name, facts)
    return (facts.lineage as { end: Lsn }).end
  }
  if (facts.walEnd < lsn) throw ahead(settings.name, facts)
  return lsn
}

function startOver(name: string): string {
  return `or start over:  follower cleanup --name ${name} …, load the tables again, follower start --copy none …`
}

function forked(name: string, facts: HistoryFacts): FollowerError {
  const { progress, lineage } = facts
  return new FollowerError(
    'the upstream failed over or was restored, and lost commits that are applied downstream',
    {
      code: 'FLW-206',
      exit: ExitCode.slot,
      detail:
        `progress is at ${formatLsn(progress.lsn)} on timeline ${progress.timeline}; the upstream is on timeline ${facts.timeline}, ` +
        (lineage.kind === 'ancestor'
          ? `which left timeline ${progress.timeline} at ${formatLsn(lineage.end)}`
          : 'which does not descend from it') +
        (facts.confirmedFlushLsn === undefined ? '\nIts slot is gone, too.' : ''),
      effect:
        lineage.kind === 'ancestor'
          ? `what was committed between ${formatLsn(lineage.end)} and ${formatLsn(progress.lsn)} exists downstream and not upstream; nothing was skipped`
          : 'the downstream is intact; its position means nothing in that history',
      fix: [
        'connect to the server that holds the newest commits, if there is one',
        ...(lineage.kind === 'ancestor' && facts.confirmedFlushLsn !== undefined
          ? ['or keep those commits downstream and go on:  follower start --accept-new-upstream …']
          : []),
        startOver(name),
      ],
      context: { lsn: formatLsn(progress.lsn), timeline: facts.timeline },
    },
  )
}

function ahead(name: string, facts: HistoryFacts): FollowerError {
  return new FollowerError("the upstream's WAL ends before our position", {
    code: 'FLW-208',
    exit: ExitCode.slot,
    detail: `it ends at ${formatLsn(facts.walEnd)}, progress is at ${formatLsn(facts.progress.lsn)}: the upstream was restored from an older state, or lost WAL`,
    effect:
      'the downstream is intact and holds commits that the upstream has not; new commits would take their positions',
    fix: ['connect to the server that holds the newest commits, if there is one', startOver(name)],
    context: { lsn: formatLsn(facts.progress.lsn), timeline: facts.timeline },
  })
}

function wentBack(name: string, facts: PositionFacts, lsn: Lsn): FollowerError {
  const lost = facts.confirmedFlushLsn - lsn
  return new FollowerError('the downstream is older than what the upstream was told', {
    code: 'FLW-204',
    exit: ExitCode.slot,
    detail:
      `progress is at ${formatLsn(lsn)}, the slot's confirmed_flush_lsn at ${formatLsn(facts.confirmedFlushLsn)}, ${lost} bytes of WAL later.\n` +
      'The downstream was restored, or failed over to a standby that lagged, or somebody advanced the slot or made it anew.',
    effect: `the downstream is equal to the upstream as of ${formatLsn(lsn)}; what was committed up to ${formatLsn(facts.confirmedFlushLsn)} won't be sent again`,
    fix: ['bring the downstream back that holds the later position, if there is one', startOver(name)],
    context: { lsn: formatLsn(lsn), confirmed: formatLsn(facts.confirmedFlushLsn) },
  })
}

import type pg from 'pg'
import { ExitCode, FollowerError } from '../errors.ts'
import { type FollowSettings, isOutputPlugin } from '../model/follow.ts'
import { formatLsn, type Lsn, lsnFromServer } from '../model/lsn.ts'
import { sql } from '../postgres/sql.ts'
import type { Holder } from './lock.ts'
import type { Progress } from './progress.ts'
import { askOne, column } from './query.ts'

/** A row of pg_replication_slots: https://www.postgresql.org/docs/current/view-pg-replication-slots.html */
export interface Slot {
  readonly name: string
  readonly type: string
  readonly plugin: string | null
  readonly database: string | null
  readonly temporary: boolean
  readonly holder: Holder | undefined
  readonly restartLsn: Lsn | undefined
  /** undefined while the slot is still being created. */
  readonly confirmedFlushLsn: Lsn | undefined
  readonly walStatus: string | null
  /** Bytes as text. */
  readonly safeWalSize: string | null
  readonly retainedBytes: string | null
  readonly invalidationReason: string | null
}

export async function readSlot(upstream: pg.Client, name: string): Promise<Slot | undefined> {
  const row = await askOne(upstream, 'upstream', sql('query/slot'), [name])
  if (!row) return undefined
  const lsn = (text: string | null | undefined): Lsn | undefined =>
    text === null || text === undefined ? undefined : lsnFromServer(text)
  return {
    name: column(row, 'name'),
    type: column(row, 'type'),
    plugin: row.plugin ?? null,
    database: row.database ?? null,
    temporary: row.temporary === 't',
    holder: row.active_pid
      ? {
          pid: row.active_pid,
          applicationName: row.application_name ?? '',
          clientAddr: row.client_addr ?? '',
        }
      : undefined,
    restartLsn: lsn(row.restart_lsn),
    confirmedFlushLsn: lsn(row.confirmed_flush_lsn),
    walStatus: row.wal_status ?? null,
    safeWalSize: row.safe_wal_size ?? null,
    retainedBytes: row.retained_bytes ?? null,
    invalidationReason: row.invalidation_reason ?? null,
  }
}

/** Which process upstream holds the slot, if any: for the message of a START_REPLICATION that failed with 55006. */
export async function slotHolder(upstream: pg.Client, name: string): Promise<Holder | undefined> {
  return (await readSlot(upstream, name))?.holder
}

/** What the upstream says of itself that a slot and a progress row must fit. */
export interface UpstreamIdentity {
  readonly systemIdentifier: string
  readonly database: string
}

/** `create` the slot; `adopt` its position into the progress row; or both are there. */
export type SlotStep = 'create' | 'adopt' | 'ready'

/**
 * What a start has to do about the slot, from what is there. Throws the refusal: a slot is never made anew where
 * a position exists, and never taken from somebody else.
 */
export function decideSlot(
  settings: FollowSettings,
  upstream: UpstreamIdentity,
  progress: Progress | undefined,
  slot: Slot | undefined,
): SlotStep {
  if (progress) checkOwner(settings, upstream, progress)
  if (slot) checkUsable(settings, upstream, progress, slot)
  if (progress?.lsn !== undefined) {
    if (!slot) throw missing(settings, progress.lsn, progress.commitTime)
    return 'ready'
  }
  if (!slot) {
    if (settings.slotGiven) throw absent(settings)
    return 'create'
  }
  if (!progress && !settings.slotGiven) throw foreign(settings, slot)
  return 'adopt'
}

function checkOwner(settings: FollowSettings, upstream: UpstreamIdentity, progress: Progress): void {
  if (progress.slot !== settings.slot)
    throw new FollowerError(
      `the follow "${settings.name}" goes on from slot "${progress.slot}", not from "${settings.slot}"`,
      {
        code: 'FLW-209',
        exit: ExitCode.slot,
        detail: `its progress row in the downstream database names slot "${progress.slot}"`,
        effect: 'nothing was changed; another slot may lack changes that this one still has',
        fix: [`follower start --slot ${progress.slot} …`, 'or follow under another name: --name …'],
      },
    )
  if (settings.acceptNewUpstream && progress.lsn !== undefined) return
  if (progress.systemIdentifier !== upstream.systemIdentifier)
    throw anotherServer(settings.name, upstream.systemIdentifier, progress)
  if (progress.database !== upstream.database)
    throw new FollowerError(
      `the follow "${settings.name}" comes from database "${progress.database}", not "${upstream.database}"`,
      {
        code: 'FLW-209',
        exit: ExitCode.slot,
        detail: 'its progress row in the downstream database says so',
        effect: 'nothing was changed',
        fix: [
          'follow the second database under a name of its own: --name …',
          'or, if the database was renamed:  follower start --accept-new-upstream …',
        ],
      },
    )
}

/** P5: the upstream is not the server that the progress row speaks of. */
export function anotherServer(name: string, systemIdentifier: string, progress: Progress): FollowerError {
  const { lsn } = progress
  return new FollowerError('the upstream is not the server that this follow came from', {
    code: 'FLW-205',
    exit: ExitCode.slot,
    detail:
      `system identifier ${systemIdentifier}, expected ${progress.systemIdentifier}\n` +
      `progress is at ${lsn === undefined ? 'no position yet' : formatLsn(lsn)}`,
    effect: 'the downstream is intact; a position of one server says nothing on another',
    fix:
      lsn === undefined
        ? [`follower cleanup --name ${name} …   # and start again`]
        : [
            'connect to the right server; or, after a planned move in which the old server stopped for good',
            'and everything of it was applied:  follower start --accept-new-upstream …',
          ],
  })
}

function checkUsable(
  settings: FollowSettings,
  upstream: UpstreamIdentity,
  progress: Progress | undefined,
  slot: Slot,
): void {
  const wrong =
    slot.type !== 'logical'
      ? `it is a ${slot.type} slot`
      : slot.plugin !== settings.plugin
        ? `its plugin is ${slot.plugin}, not ${settings.plugin}`
        : slot.database !== upstream.database
          ? `it belongs to database "${slot.database}"`
          : slot.temporary
            ? 'it is temporary'
            : undefined
  if (wrong)
    throw new FollowerError(`the upstream slot "${slot.name}" can't serve this follow: ${wrong}`, {
      code: 'FLW-203',
      exit: ExitCode.slot,
      effect: 'nothing was changed',
      fix: [
        ...(isOutputPlugin(slot.plugin) && slot.plugin !== settings.plugin
          ? [`follower start --plugin ${slot.plugin} …   # if it is this follow's; or another one:`]
          : []),
        'follower start --slot <another name> …',
        'or --name <another name>: a slot is named after it',
      ],
    })
  if (isLost(slot)) throw lost(settings, slot, progress?.lsn, progress?.commitTime)
}

/** Whether the server has invalidated the slot: the changes that it stood for can't be had any more. */
export function isLost(slot: Slot): boolean {
  return slot.walStatus === 'lost' || slot.invalidationReason !== null
}

/** Of a slot that served until now: throws FLW-201 or FLW-207 where it can't go on. `lsn`: what is durable downstream. */
export function checkServes(
  settings: FollowSettings,
  slot: Slot | undefined,
  lsn: Lsn,
): asserts slot is Slot {
  if (!slot) throw missing(settings, lsn, null)
  if (isLost(slot)) throw lost(settings, slot, lsn, null)
}

/** What keeps a server from invalidating slots, by its reason: https://www.postgresql.org/docs/current/view-pg-replication-slots.html */
const prevention: Readonly<Record<string, string>> = {
  wal_removed: "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf();",
  idle_timeout: 'ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf();',
  wal_level_insufficient: 'ALTER SYSTEM SET wal_level = logical;   -- needs a restart',
}

function lost(
  settings: FollowSettings,
  slot: Slot,
  lsn: Lsn | undefined,
  commitTime: string | null | undefined,
): FollowerError {
  const reason = slot.invalidationReason
  return new FollowerError(`the upstream slot "${slot.name}" is lost, replication cannot continue from it`, {
    code: 'FLW-207',
    exit: ExitCode.slot,
    detail: `wal_status = ${slot.walStatus}, invalidation_reason = ${reason ?? 'not told by this server'}`,
    effect: intact(lsn, commitTime),
    fix: [
      ...startOver(settings),
      ...(reason === null || prevention[reason] !== undefined
        ? [`to prevent it: ${prevention[reason ?? 'wal_removed']}   -- upstream`]
        : []),
    ],
  })
}

function intact(lsn: Lsn | undefined, commitTime: string | null | undefined): string {
  if (lsn === undefined) return 'nothing was applied yet'
  const at = commitTime ? ` (commit of ${commitTime})` : ''
  return (
    `the downstream is intact and equal to the upstream as of ${formatLsn(lsn)}${at}; ` +
    'what was committed since then cannot be streamed any more'
  )
}

function startOver(settings: FollowSettings): string[] {
  return [
    `follower cleanup --name ${settings.name} --upstream … --downstream …`,
    'load the tables again (pg_dump --data-only), while nothing writes upstream',
    `follower start --name ${settings.name} --copy none --upstream … --downstream …`,
  ]
}

function missing(settings: FollowSettings, lsn: Lsn, commitTime: string | null): FollowerError {
  return new FollowerError(`the upstream slot "${settings.slot}" is gone`, {
    code: 'FLW-201',
    exit: ExitCode.slot,
    detail:
      `progress is at ${formatLsn(lsn)}, and there is no slot of that name.\n` +
      'It was dropped, or the upstream failed over to a server that does not have it.',
    effect: `${intact(lsn, commitTime)}. A new slot would leave a gap, so none was made`,
    fix: ['if the slot lives on another server, connect there; otherwise:', ...startOver(settings)],
  })
}

function absent(settings: FollowSettings): FollowerError {
  return new FollowerError(`there is no slot "${settings.slot}" upstream`, {
    code: 'FLW-117',
    exit: ExitCode.preflight,
    detail: 'A slot that is named by --slot must exist: follower makes only its own.',
    effect: 'nothing was changed',
    fix: [
      `SELECT pg_create_logical_replication_slot('${settings.slot}', '${settings.plugin}');   -- upstream`,
      'or leave --slot out',
    ],
  })
}

function foreign(settings: FollowSettings, slot: Slot): FollowerError {
  return new FollowerError(`the upstream slot "${slot.name}" belongs to somebody else`, {
    code: 'FLW-202',
    exit: ExitCode.slot,
    detail:
      `it exists, and the downstream has no progress row of the follow "${settings.name}".\n` +
      `${slot.holder ? `Process ${slot.holder.pid} (${slot.holder.applicationName}) uses it now.` : 'Nobody uses it now.'} ` +
      'It may serve another downstream, or be left from a follow whose downstream was dropped.',
    effect: 'nothing was changed: taking it would steal its changes',
    fix: [
      'another downstream of the same upstream:  follower start --name <another name> …',
      `left over:  follower cleanup --name ${settings.name} --upstream … --downstream …`,
      `to go on from it on purpose:  follower start --slot ${slot.name} …`,
    ],
  })
}

import type pg from 'pg'
import { failpoint } from '../failpoints.ts'
import type { FollowSettings } from '../model/follow.ts'
import type { Lsn } from '../model/lsn.ts'
import type { Relation } from '../model/relation.ts'
import type { Tracker } from '../progress/tracker.ts'
import {
  forgetCopied,
  hasWaiting,
  type LateTables,
  type PublishedTable,
  recordAsIs,
  recordLate,
} from '../provision/late.ts'
import type { Prepared } from '../provision/prepare.ts'
import { displayTable } from '../provision/tables.ts'
import type { Logger } from '../telemetry/log.ts'
import { Publications } from './publications.ts'

const everyMs = 1000
/** Looks at the upstream's publications are that much rarer. */
const upstreamEvery = 5
/** Names in one line of the log. */
const listed = 20

/** What the publications had to say, to be judged once everything before `lsn` is applied: a table may just have been made. */
interface Seen {
  readonly lsn: Lsn
  readonly fresh: readonly PublishedTable[]
  readonly gone: readonly number[]
}

/**
 * Looks whether tables are to be copied: each second downstream, where people ask for it, and from time to time upstream, for tables that a
 * publication has taken up. Calls `stop` once.
 */
export class LateWatch {
  /** Tables are to be copied: the session ends for that. */
  found = false
  private readonly timer: NodeJS.Timeout | undefined
  private busy = false
  private closed = false
  private ticks = 0
  private seen: Seen | undefined
  private asking = false
  private readonly publications: Publications
  private readonly missing = new Set<number>()
  private readonly options: {
    readonly lock: pg.Client
    readonly upstream: pg.Client
    readonly settings: FollowSettings
    readonly prepared: Prepared
    readonly log: Logger
    readonly tracker: Tracker
    /** Grows; undefined: only what people ask for is copied. */
    readonly known: Set<number> | undefined
    /** Asks the upstream how far it is. */
    readonly ask: () => void
    readonly stop: () => void
    /** Otherwise nothing is looked for. */
    readonly active: boolean
    readonly failed: (error: Error) => void
  }

  constructor(options: LateWatch['options']) {
    this.options = options
    this.publications = new Publications(options.upstream, options.settings, options.prepared, options.log)
    if (options.active) this.timer = setInterval(() => this.tick(), everyMs)
  }

  close(): void {
    this.closed = true
    this.publications.close()
    clearInterval(this.timer)
  }

  private tick(): void {
    if (this.busy) return
    this.busy = true
    this.look()
      .catch((error: Error) => {
        if (!this.closed) this.options.failed(error)
      })
      .finally(() => {
        this.busy = false
      })
  }

  private async look(): Promise<void> {
    const { lock, settings, stop, known } = this.options
    if (known) {
      if (!this.seen && !this.asking && this.ticks++ % upstreamEvery === 0) this.askUpstream(known)
      if (this.seen) await this.judgeInTime(this.seen, known)
    }
    if (this.closed || !(await hasWaiting(lock, settings.name))) return
    this.close()
    this.found = true
    stop()
  }

  /** What the upstream takes long to say holds up nobody. */
  private askUpstream(known: ReadonlySet<number>): void {
    // What is made meanwhile is not gone.
    const before = [...known]
    this.asking = true
    void this.publications.look().then((answer) => {
      this.asking = false
      if (!answer) return
      const { tables, lsn } = answer
      const there = new Set(tables.map(({ oid }) => oid))
      const fresh = tables.filter(({ oid }) => !known.has(oid))
      const gone = before.filter((oid) => !there.has(oid))
      if (fresh.length > 0 || gone.length > 0) this.seen = { lsn, fresh, gone }
    })
  }

  private async judgeInTime(seen: Seen, known: Set<number>): Promise<void> {
    const { tracker, ask } = this.options
    if (tracker.applied < seen.lsn && (tracker.seen < seen.lsn || tracker.unapplied > 0)) return ask()
    this.seen = undefined
    await this.judge(seen, known)
  }

  private async judge({ fresh, gone }: Seen, known: Set<number>): Promise<void> {
    const { lock, settings, log } = this.options
    const tables = fresh.filter(({ oid }) => !known.has(oid))
    const { missing, noted } = await noteLate(lock, settings, tables, log)
    // Those that wait are met by their first change, and left out.
    for (const [oid, waits] of noted) if (!waits) known.add(oid)
    const untold = missing.filter(({ oid }) => !this.missing.has(oid))
    for (const { oid } of untold) this.missing.add(oid)
    if (untold.length > 0)
      log.warn(
        {
          ...{ code: 'FLW-139', tables: untold.slice(0, listed).map(displayTable) },
          fix: 'create them downstream as they are upstream; their rows are copied then',
        },
        'tables have come into the follow that are missing downstream',
      )
    await forgetCopied(lock, settings.name, gone)
    for (const oid of gone) known.delete(oid)
  }
}

/**
 * Notes the table of a change that has come into the follow, in the transaction that applies it, if one is open: it may just have made
 * the table. Returns whether it waits for its copy. What is no table downstream takes changes, and nothing is copied into it.
 */
export async function meetLate(
  apply: pg.Client,
  settings: FollowSettings,
  relation: Relation,
  log: Logger,
): Promise<boolean> {
  const { missing, noted } = await noteLate(apply, settings, [relation], log)
  if (missing.length === 0) return noted.get(relation.oid) ?? false
  await recordAsIs(apply, settings.name, missing)
  log.warn(
    { code: 'FLW-139', tables: missing.map(displayTable) },
    'what has come into the follow is no table downstream: its changes are applied, and no rows are copied',
  )
  return false
}

/** Notes that tables are to be copied, and tells which of them are not. */
async function noteLate(
  downstream: pg.Client,
  settings: FollowSettings,
  tables: readonly PublishedTable[],
  log: Logger,
): Promise<LateTables> {
  if (tables.length === 0) return { waiting: [], filled: [], missing: [], noted: new Map() }
  const late = await recordLate(downstream, settings.name, tables, settings.copying.overwrite)
  await failpoint('copy.late')
  if (late.waiting.length > 0)
    log.info(
      { count: late.waiting.length, tables: late.waiting.slice(0, listed).map(displayTable) },
      'tables have come into the follow: their rows are copied',
    )
  if (late.filled.length > 0)
    log.warn(
      {
        ...{ code: 'FLW-139', tables: late.filled.slice(0, listed).map(displayTable) },
        fix: `follower copy --name ${settings.name} --tables ${late.filled.slice(0, listed).map(displayTable).join(',')} --overwrite …`,
      },
      'tables have come into the follow that hold rows downstream: these are taken as they are, and no others are copied',
    )
  return late
}

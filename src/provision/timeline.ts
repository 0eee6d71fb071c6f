import type pg from 'pg'
import type { FollowSettings } from '../model/follow.ts'
import { type Lsn, parseLsn } from '../model/lsn.ts'
import { connect } from '../postgres/connect.ts'
import { askOne } from './query.ts'
import { requireSameServer } from './same-server.ts'

/** One line of a timeline history file: the timeline, and where the next one left it. */
export interface TimelineEnd {
  readonly timeline: number
  readonly end: Lsn
}

/**
 * Parses a timeline history file: `timeline TAB switch point TAB reason`, one ancestor a line.
 * https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES
 */
export function parseTimelineHistory(text: string): readonly TimelineEnd[] {
  const ends: TimelineEnd[] = []
  for (const line of text.split('\n')) {
    const [timeline, lsn] = line.trim().split(/\s+/)
    const end = parseLsn(lsn ?? '')
    if (timeline && /^[0-9]+$/.test(timeline) && end !== undefined)
      ends.push({ timeline: Number(timeline), end })
  }
  return ends
}

/** Where the upstream's present timeline stands to the one that a position was noted on. */
export type Lineage =
  | { readonly kind: 'same' }
  /** The noted timeline is an ancestor that was left at `end`. */
  | { readonly kind: 'ancestor'; readonly end: Lsn }
  /** The present timeline does not descend from the noted one. */
  | { readonly kind: 'unrelated' }

/** Pure: places `noted` in the history of `current`. */
export function lineage(noted: number, current: number, history: readonly TimelineEnd[]): Lineage {
  if (noted === current) return { kind: 'same' }
  const ancestor = history.find((entry) => entry.timeline === noted)
  return ancestor ? { kind: 'ancestor', end: ancestor.end } : { kind: 'unrelated' }
}

/** Asks the server of `upstream` for the history of its timeline, over a walsender of its own. Timeline 1 has none. */
export async function readTimelineHistory(
  settings: FollowSettings,
  upstream: pg.Client,
  timeline: number,
): Promise<readonly TimelineEnd[]> {
  if (timeline === 1) return []
  const walsender: pg.Client = await connect({
    end: 'upstream',
    conninfo: settings.upstream,
    applicationName: settings.applicationName,
    replication: true,
  })
  try {
    await requireSameServer('upstream', upstream, walsender)
    const row = await askOne(walsender, 'upstream', `TIMELINE_HISTORY ${timeline}`)
    return parseTimelineHistory(historyText(row?.content ?? ''))
  } finally {
    await walsender.end()
  }
}

/** The column is bytea by name, but the walsender sends the file's bytes as they are. */
function historyText(content: string): string {
  return content.startsWith('\\x') ? Buffer.from(content.slice(2), 'hex').toString() : content
}

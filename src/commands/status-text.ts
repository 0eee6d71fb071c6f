import colors from 'picocolors'
import type { Incident } from '../provision/incidents.ts'
import type { FollowStatus } from '../provision/state.ts'
import { incidentLine, skipLine } from './incident-text.ts'

/** `follower status` for people: one line a part, labels in the first column. */
export function statusText(status: FollowStatus): string {
  const { upstream, slot, downstream, progress, incident, skips } = status
  const lines = [
    [status.name, [coloured(status.state)]],
    [
      'upstream',
      upstream
        ? [
            `${upstream.database} on PostgreSQL ${upstream.version}`,
            ...(upstream.lsn ? [`WAL ends at ${upstream.lsn}`] : []),
            `${upstream.tables} tables in publication ${upstream.publications.join(', ')}`,
          ]
        : ['not reached'],
    ],
    ...(upstream?.unpublished?.length
      ? [['not sent', [`${upstream.unpublished.length} tables: ${some(upstream.unpublished)}`]] as const]
      : []),
    ...(slot?.waitsFor.length ? [['waits for', slot.waitsFor] as const] : []),
    ['slot', slot ? slotParts(slot) : [upstream ? 'none' : 'not reached']],
    [
      'downstream',
      downstream ? [`${downstream.database} on PostgreSQL ${downstream.version}`] : ['not reached'],
    ],
    ['progress', progress ? progressParts(progress, status.lagBytes) : [downstream ? 'none' : 'not reached']],
    ...(incident ? [['halted', [incidentLine(incident)]] as const] : []),
    ...(incident ? [['go on', [waysOn(status.name, incident, downstream?.holder != null)]] as const] : []),
    ...skips.map((skip) => ['skipped', [skipLine(skip)]] as const),
  ] as const
  const width = Math.max(...lines.map(([label]) => label.length)) + 2
  return lines.map(([label, parts]) => `${label.padEnd(width)}${parts.join('   ')}`).join('\n')
}

function waysOn(name: string, { lsn }: Incident, running: boolean): string {
  const again = running
    ? `mend the cause: it is tried again within five minutes, at once by  follower retry --name ${name} …`
    : `mend the cause, then  follower start --name ${name} …`
  return lsn === null ? again : `${again};  or  follower skip --name ${name} --lsn ${lsn} --reason "…"`
}

function some(names: readonly string[]): string {
  return [...names.slice(0, 20), ...(names.length > 20 ? ['…'] : [])].join(', ')
}

function slotParts(slot: NonNullable<FollowStatus['slot']>): string[] {
  const { holder } = slot
  return [
    slot.name,
    holder ? `held by ${holder.applicationName || 'a client'} (walsender ${holder.pid})` : 'held by nobody',
    ...(slot.walStatus === null ? [] : [slot.walStatus]),
    ...(slot.invalidationReason === null ? [] : [slot.invalidationReason]),
    ...(slot.retainedBytes === null ? [] : [`keeps ${formatBytes(slot.retainedBytes)} of WAL`]),
    ...(slot.safeWalBytes === null ? [] : [`lost after ${formatBytes(slot.safeWalBytes)} more`]),
  ]
}

function progressParts(progress: NonNullable<FollowStatus['progress']>, lag: number | null): string[] {
  return [
    progress.lsn === null ? 'no position yet' : `applied to ${progress.lsn}`,
    ...(lag === null ? [] : [`${formatBytes(lag)} behind`]),
    ...(progress.commitTime === null ? [] : [`last commit ${progress.commitTime}`]),
    `written ${progress.updatedAt}`,
  ]
}

function coloured(state: FollowStatus['state']): string {
  if (state === 'following') return colors.green(state)
  const bad = state === 'slot lost' || state === 'slot missing' || state === 'halted'
  return bad ? colors.red(state) : colors.yellow(state)
}

/** `1.4 MB`: powers of 1024, as pg_size_pretty has them. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  const power = Math.min(units.length - 1, bytes < 1 ? 0 : Math.floor(Math.log2(bytes) / 10))
  const amount = bytes / 1024 ** power
  return `${power === 0 || amount >= 100 ? Math.round(amount) : amount.toFixed(1)} ${units[power]}`
}

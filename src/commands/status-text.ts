import colors from 'picocolors'
import { printable } from '../model/printable.ts'
import { formatBytes, formatSeconds } from '../model/size.ts'
import type { Incident } from '../provision/incidents.ts'
import type { FollowStatus } from '../provision/state.ts'
import { incidentLine, skipLine } from './incident-text.ts'

/** Of many tables. */
const listed = 20

/** `follower status` for people: one line a part, labels in the first column. */
export function statusText(status: FollowStatus): string {
  const { upstream, slot, downstream, progress, incident, skips } = status
  const lines = [
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
    ...(status.copy ? copyLines(status.copy) : []),
    ...(incident ? [['halted', [incidentLine(incident)]] as const] : []),
    ...(incident ? [['go on', [waysOn(status.name, incident, downstream?.holder != null)]] as const] : []),
    ...skips.map((skip) => ['skipped', [skipLine(skip)]] as const),
  ] as const
  const name = printable(status.name)
  const width = Math.max(...[name, ...lines.map(([label]) => label)].map((label) => label.length)) + 2
  return [
    `${name.padEnd(width)}${coloured(status.state)}`,
    ...lines.map(([label, parts]) => `${label.padEnd(width)}${parts.map(printable).join('   ')}`),
  ].join('\n')
}

function copyLines(copy: NonNullable<FollowStatus['copy']>): (readonly [string, readonly string[]])[] {
  const { tables, steps } = copy
  return [
    [
      'copy',
      [
        `${tables.copied} of ${tables.total} tables${tables.behind > 0 ? ` (${tables.behind} behind)` : ''}`,
        `${copy.rows} rows`,
        amount(copy.bytes, copy.expectedBytes),
        ...(copy.secondsLeft === null || tables.copied === tables.total
          ? []
          : [`about ${formatSeconds(copy.secondsLeft)} left`]),
      ],
    ],
    ...copy.inWork
      .slice(0, listed)
      .map(
        ({ table, rows, bytes, expectedBytes }) =>
          ['', [table, `${rows} rows`, amount(bytes, expectedBytes)]] as const,
      ),
    ...(copy.inWork.length > listed ? [['', [`and ${copy.inWork.length - listed} more`]] as const] : []),
    ...(steps.length === 0
      ? []
      : [['to make', [steps.map(({ wave, left }) => `${left} ${wave}`).join(', ')]] as const]),
  ]
}

function amount(bytes: number, expected: number | null): string {
  return `${formatBytes(bytes)}${expected === null ? '' : ` of about ${formatBytes(expected)}`}`
}

function waysOn(name: string, { lsn }: Incident, running: boolean): string {
  const again = running
    ? `mend the cause: it is tried again within five minutes, at once by  follower retry --name ${name} …`
    : `mend the cause, then  follower start --name ${name} …`
  return lsn === null ? again : `${again};  or  follower skip --name ${name} --lsn ${lsn} --reason "…"`
}

function some(names: readonly string[]): string {
  return [...names.slice(0, listed), ...(names.length > listed ? ['…'] : [])].join(', ')
}

function slotParts(slot: NonNullable<FollowStatus['slot']>): string[] {
  const { holder, pulledBy } = slot
  const pulled =
    pulledBy && `its backlog is pulled by ${pulledBy.applicationName || 'a client'} (${pulledBy.pid})`
  return [
    slot.name,
    holder
      ? `held by ${holder.applicationName || 'a client'} (walsender ${holder.pid})`
      : (pulled ?? 'held by nobody'),
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
  if (state === 'following' || state === 'copying') return colors.green(state)
  const bad = state === 'slot lost' || state === 'slot missing' || state === 'halted'
  return bad ? colors.red(state) : colors.yellow(state)
}

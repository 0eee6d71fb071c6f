import { printable, printableLines } from '../model/printable.ts'
import type { Incident, Skip } from '../provision/incidents.ts'

/** An incident for people, in full. */
export function incidentText(incident: Incident): string {
  const { id, lsn, xid, relation, key, sqlstate, row } = incident
  const lines: readonly (readonly [string, string | null])[] = [
    [`incident ${id}`, `${incident.code}: ${incident.message}`],
    ['state', stateOf(incident)],
    ['transaction', lsn === null ? null : `${xid}, commit ends at ${lsn}`],
    ['place', relation && `${relation}${key === null ? '' : `, key ${key}`}`],
    ['sqlstate', sqlstate],
    ['detail', incident.detail],
    ['row', row && JSON.stringify(row)],
    ['since', `${incident.firstAt}, last seen ${incident.lastAt}, ${incident.attempts} attempts`],
  ]
  return labelled(lines.flatMap(([label, text]) => (text === null ? [] : [[label, text] as const])))
}

/** One line an incident and a skip; the latest first. */
export function incidentsText(incidents: readonly Incident[], skips: readonly Skip[]): string {
  if (incidents.length === 0) return 'nothing has ever stopped it'
  return [...incidents.map(incidentLine), ...skips.map(skipLine)].join('\n')
}

/** `incident 17  open …`: what `follower status` shows of one, too. */
export function incidentLine(incident: Incident): string {
  const { id, lsn, relation, key, code, message } = incident
  const place = [lsn ?? 'no whole transaction', relation, key].filter(Boolean).join(' ')
  return printable(`incident ${id}  ${stateOf(incident)}  ${place}  ${code}: ${message}`)
}

/** `skip 3  done …`. */
export function skipLine(skip: Skip): string {
  const state = skip.skippedAt
    ? `skipped ${skip.skippedAt}, ${skip.changes} changes`
    : skip.voidAt
      ? `not needed: it was applied before ${skip.voidAt}`
      : 'waits for the follower'
  return printable(
    `skip ${skip.id}  ${state}  ${skip.lsn}  transaction ${skip.xid}  by ${skip.askedBy}: ${skip.reason}`,
  )
}

function stateOf({ resolution, resolvedAt, firstAt }: Incident): string {
  return resolvedAt === null ? `open since ${firstAt}` : `${resolution} ${resolvedAt}`
}

function labelled(lines: readonly (readonly [string, string])[]): string {
  const width = Math.max(...lines.map(([label]) => label.length)) + 2
  return lines
    .map(
      ([label, text]) =>
        `${label.padEnd(width)}${printableLines(text).replaceAll('\n', `\n${' '.repeat(width)}`)}`,
    )
    .join('\n')
}

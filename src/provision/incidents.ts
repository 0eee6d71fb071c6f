import type pg from 'pg'
import { ExitCode, FollowerError } from '../errors.ts'
import { formatLsn, type Lsn, lsnFromServer } from '../model/lsn.ts'
import { sql } from '../postgres/sql.ts'
import { sqlstate } from '../postgres/sqlstate.ts'
import { ask, askOne, column, type Row } from './query.ts'

/** What stopped a follow, as `follower status --json` has it. Times and LSNs as PostgreSQL writes them. */
export interface Incident {
  readonly id: number
  readonly code: string
  readonly sqlstate: string | null
  readonly message: string
  readonly detail: string | null
  /** End of the commit: what `follower skip --lsn` takes; null where it did not arrive whole, so that it can't be skipped. */
  readonly lsn: string | null
  readonly xid: number | null
  readonly relation: string | null
  readonly key: string | null
  /** The row's values by column, with --incident-rows. */
  readonly row: Readonly<Record<string, string | null>> | null
  readonly attempts: number
  readonly firstAt: string
  readonly lastAt: string
  readonly resolvedAt: string | null
  readonly resolution: string | null
}

/** A transaction that a person said to leave out. */
export interface Skip {
  readonly id: number
  readonly lsn: string
  readonly xid: number
  readonly incident: number
  readonly reason: string
  readonly askedBy: string
  readonly askedAt: string
  /** null: not yet, or never (`voidAt`: it was applied before). */
  readonly skippedAt: string | null
  readonly commitTime: string | null
  readonly changes: number | null
  readonly voidAt: string | null
}

/** Which transactions a person said to leave out: xid by the end of the commit. Both have to agree. */
export type Skips = ReadonlyMap<Lsn, number>

/**
 * Records what stopped the follow, in a transaction of its own, under the daemon's epoch. Returns the incident's id and
 * how often `follower retry` was said of it. `upstreamEnd`: end of the upstream's WAL, where it is known. Throws as `ask`.
 */
export async function recordIncident(
  downstream: pg.Client,
  name: string,
  epoch: bigint,
  error: FollowerError,
  upstreamEnd: string | undefined,
): Promise<{ readonly id: string; readonly retriesAsked: string }> {
  const { context } = error
  const text = (value: string | number | undefined): string | null =>
    value === undefined ? null : String(value)
  const record = async (clean: (text: string) => string) => {
    const whole = context.xid !== undefined && context.lsn !== undefined
    const params = [
      ...[name, String(epoch), error.code, error.sqlstate, error.message, error.detail],
      ...(whole ? [context.lsn, context.xid] : [undefined, undefined]),
      ...[context.relation, context.key, error.row && JSON.stringify(error.row), upstreamEnd],
    ].map((param) => (param === undefined ? null : clean(text(param) ?? '')))
    const { rows } = await downstream.query<{ id: string; retries_asked: string }>(
      'SELECT id, retries_asked FROM follower.record_incident($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)',
      params,
    )
    return { id: rows[0]?.id ?? '', retriesAsked: rows[0]?.retries_asked ?? '' }
  }
  try {
    return await record((param) => param.replaceAll('\0', ''))
  } catch (refused) {
    // What the database's encoding does not have, or jsonb does not take, may be the very cause.
    if (!sqlstate(refused)?.startsWith('22')) throw refused
    return await record((param) => param.replace(/[^\n\x20-\x7e]|\\u[dD][89a-fA-F]../g, '?'))
  }
}

/** Closes what the follow's position has passed; true where an incident is still open. */
export async function closeIncidents(downstream: pg.Client, name: string): Promise<boolean> {
  const row = await askOne(downstream, 'downstream', 'SELECT follower.close_incidents($1) AS open', [name])
  return row?.open === 't'
}

/** What people have said so far of transactions to leave out. */
export async function readSkipState(
  downstream: pg.Client,
  name: string,
): Promise<{ readonly asked: Skips; readonly changes: number }> {
  const row = await askOne(downstream, 'downstream', sql('query/skip_state'), [name])
  const asked = JSON.parse(row?.asked ?? '[]') as readonly { lsn: string; xid: number }[]
  return {
    asked: new Map(asked.map(({ lsn, xid }) => [lsnFromServer(lsn), xid])),
    changes: Number(row?.changes ?? 0),
  }
}

/** Whether `follower retry` or `follower skip` was said since the incident was recorded. */
export async function wasAsked(
  downstream: pg.Client,
  incident: { readonly id: string; readonly retriesAsked: string },
): Promise<boolean> {
  const row = await askOne(
    downstream,
    'downstream',
    `SELECT i.retries_asked <> $2::bigint OR EXISTS (
       SELECT FROM follower.skip AS s
        WHERE s.name = i.name AND s.lsn = i.lsn AND s.skipped_at IS NULL AND s.void_at IS NULL) AS asked
       FROM follower.incident AS i WHERE i.id = $1::bigint AND i.resolved_at IS NULL`,
    [incident.id, incident.retriesAsked],
  )
  // Somebody who takes the row away wants it to go on, too.
  return row?.asked !== 'f'
}

/** Whether the tables of this file are there: an older follower may have made the schema. */
export async function hasIncidents(downstream: pg.Client): Promise<boolean> {
  const row = await askOne(
    downstream,
    'downstream',
    "SELECT to_regclass('follower.incident') IS NOT NULL AND to_regclass('follower.skip') IS NOT NULL AS there",
  )
  return row?.there === 't'
}

/** The open incident first, then the latest. */
export async function readIncidents(
  downstream: pg.Client,
  name: string,
  limit: number,
): Promise<readonly Incident[]> {
  if (!(await hasIncidents(downstream))) return []
  const rows = await ask(downstream, 'downstream', sql('query/incidents'), [name, String(limit)])
  return rows.map((row) => ({
    id: Number(row.id),
    code: column(row, 'code'),
    sqlstate: row.sqlstate ?? null,
    message: column(row, 'message'),
    detail: row.detail ?? null,
    lsn: row.lsn ?? null,
    xid: number(row, 'xid'),
    relation: row.relation ?? null,
    key: row.key ?? null,
    row: row.row_values ? (JSON.parse(row.row_values) as Record<string, string | null>) : null,
    attempts: Number(row.attempts),
    firstAt: column(row, 'first_at'),
    lastAt: column(row, 'last_at'),
    resolvedAt: row.resolved_at ?? null,
    resolution: row.resolution ?? null,
  }))
}

/** The latest first. */
export async function readSkips(
  downstream: pg.Client,
  name: string,
  limit: number,
): Promise<readonly Skip[]> {
  if (!(await hasIncidents(downstream))) return []
  const rows = await ask(downstream, 'downstream', sql('query/skips'), [name, String(limit)])
  return rows.map((row) => ({
    id: Number(row.id),
    lsn: column(row, 'lsn'),
    xid: Number(row.xid),
    incident: Number(row.incident),
    reason: column(row, 'reason'),
    askedBy: column(row, 'asked_by'),
    askedAt: column(row, 'asked_at'),
    skippedAt: row.skipped_at ?? null,
    commitTime: row.commit_time ?? null,
    changes: number(row, 'changes'),
    voidAt: row.void_at ?? null,
  }))
}

function number(row: Row, name: string): number | null {
  const value = row[name]
  return value === null || value === undefined ? null : Number(value)
}

/** `follower retry`. Returns the open incident's id; undefined where nothing has stopped the follow. */
export async function askRetry(downstream: pg.Client, name: string): Promise<number | undefined> {
  if (!(await hasIncidents(downstream))) return undefined
  const row = await askOne(
    downstream,
    'downstream',
    `UPDATE follower.incident SET retries_asked = retries_asked + 1
      WHERE name = $1 AND resolved_at IS NULL RETURNING id`,
    [name],
  )
  return row && Number(row.id)
}

/**
 * `follower skip`: asks for the transaction whose commit ends at `lsn` to be left out. Throws FLW-340, exit 2, where it is not
 * exactly the one that has stopped the follow: nothing is skipped then. Returns whether it was asked for already.
 */
export async function askSkip(
  downstream: pg.Client,
  name: string,
  lsn: Lsn,
  reason: string,
): Promise<'asked' | 'asked before'> {
  const there = await hasIncidents(downstream)
  const row = there
    ? await askOne(downstream, 'downstream', sql('query/ask_skip'), [name, formatLsn(lsn), reason])
    : undefined
  if (row?.asked === '1') return 'asked'
  if (row?.before === 't') return 'asked before'
  const [open] = there ? await readIncidents(downstream, name, 1) : []
  throw notHaltedThere(name, lsn, open)
}

function notHaltedThere(name: string, lsn: Lsn, open: Incident | undefined): FollowerError {
  const halted = open !== undefined && open.resolvedAt === null
  const skippable = halted && open.lsn !== null
  const where = skippable
    ? `it is stopped at ${open.lsn}: transaction ${open.xid}, ${open.message}`
    : halted
      ? `it is stopped by ${open.code}, where no whole transaction has arrived: ${open.message}`
      : 'nothing has stopped it'
  return new FollowerError(`the follow "${name}" is not stopped at ${formatLsn(lsn)}`, {
    code: 'FLW-340',
    exit: ExitCode.usage,
    detail: where,
    effect: 'nothing is skipped',
    fix: [
      skippable
        ? `follower skip --name ${name} --lsn ${open.lsn} --reason "…"   # if that one is meant`
        : `follower status --name ${name} …`,
    ],
  })
}

import { randomBytes } from 'node:crypto'
import type pg from 'pg'
import { formatLsn, type Lsn, lsnFromServer } from '../model/lsn.ts'
import { quoteLiteral } from '../postgres/identifier.ts'
import { sql } from '../postgres/sql.ts'
import type { Holder } from './lock.ts'
import { ask, askOne, column } from './query.ts'

/** What an upstream holds for a slot, and what of the slot stands against pulling it. */
export interface Backlog {
  /** The upstream's flushed end of WAL. */
  readonly walEnd: Lsn
  readonly confirmedFlushLsn: Lsn
  /** A process has it. */
  readonly held: boolean
  /** Its copy would not wait for prepared transactions. */
  readonly twoPhase: boolean
  /** It is a failover slot that waits for synchronized_standby_slots; its copy would not. */
  readonly waitsForStandbys: boolean
}

/** undefined: there is no such slot, or it is still being made. */
export async function readBacklog(upstream: pg.Client, slot: string): Promise<Backlog | undefined> {
  const row = await askOne(upstream, 'upstream', sql('query/backlog'), [slot])
  if (!row?.confirmed_flush_lsn) return undefined
  return {
    walEnd: lsnFromServer(column(row, 'flush_lsn')),
    confirmedFlushLsn: lsnFromServer(row.confirmed_flush_lsn),
    held: row.held === 't',
    twoPhase: row.two_phase === 't',
    waitsForStandbys: row.waits_for_standbys === 't',
  }
}

/** Longest name of a slot. */
const nameLength = 63

/** A name that no other session has: the server may keep a former one's slot for a while. */
export function cursorName(slot: string): string {
  const suffix = `_pull_${randomBytes(6).toString('hex')}`
  return slot.slice(0, nameLength - suffix.length) + suffix
}

/** Who has a copy of the slot, and so pulls. */
export async function puller(client: pg.Client, slot: string): Promise<Holder | null> {
  const row = await askOne(client, 'upstream', sql('query/pull_cursor'), [slot])
  return row
    ? {
        pid: column(row, 'pid'),
        applicationName: row.application_name ?? '',
        clientAddr: row.client_addr ?? '',
      }
    : null
}

/** Copies the slot; the copy goes with the session. */
export async function copySlot(client: pg.Client, slot: string, cursor: string): Promise<void> {
  await ask(client, 'upstream', 'SELECT pg_catalog.pg_copy_logical_replication_slot($1, $2, true)', [
    slot,
    cursor,
  ])
}

/**
 * What a server needs to notice soon that this session's client is gone, and with it the slot that keeps WAL: while it computes (14 and
 * later, not on every system), and where a host is lost without a word. Each alone, since a server may refuse one.
 */
const lifelines: readonly (readonly [name: string, value: string])[] = [
  ['client_connection_check_interval', '1s'],
  ['tcp_keepalives_idle', '30'],
  ['tcp_keepalives_interval', '10'],
  ['tcp_keepalives_count', '3'],
  ['tcp_user_timeout', '60s'],
]

export async function setLifelines(client: pg.Client): Promise<void> {
  for (const [name, value] of lifelines)
    await client.query(`SET ${name} = ${quoteLiteral(value)}`).catch(() => {})
}

/** What a window is materialized in goes to the server's disk beyond it. */
export async function setWindowMemory(client: pg.Client): Promise<void> {
  const text = `SELECT pg_catalog.set_config('work_mem', '32MB', false)
    WHERE pg_catalog.pg_size_bytes(pg_catalog.current_setting('work_mem')) < pg_catalog.pg_size_bytes('32MB')`
  await client.query(text).catch(() => {})
}

/** Where a cursor stands. */
export interface CursorPosition {
  /** Everything before it is delivered, or will be by the window that has begun. */
  readonly confirmed: Lsn
  /** From where the next window will decode. */
  readonly restart: Lsn
  /** The upstream's flushed end of WAL. */
  readonly walEnd: Lsn
  /** The follow's own slot has come to wait for standbys. */
  readonly waitsForStandbys: boolean
}

/** `row`: of the query below. */
export function cursorPosition(row: readonly (string | undefined)[]): CursorPosition {
  const [confirmed, restart, walEnd] = row.slice(0, 3).map((lsn) => lsnFromServer(lsn ?? ''))
  return { confirmed: confirmed!, restart: restart!, walEnd: walEnd!, waitsForStandbys: row[3] === 't' }
}

function positionQuery(slot: string, cursor: string): string {
  return `SELECT c.confirmed_flush_lsn, c.restart_lsn, pg_catalog.pg_current_wal_flush_lsn() AS wal_end,
       EXISTS (SELECT FROM pg_catalog.pg_replication_slots AS s
                WHERE s.slot_name = ${quoteLiteral(slot)} AND (pg_catalog.to_jsonb(s) ->> 'failover')::boolean
                  AND pg_catalog.current_setting('synchronized_standby_slots', true) <> '') AS waits
  FROM pg_catalog.pg_replication_slots AS c WHERE c.slot_name = ${quoteLiteral(cursor)}`
}

/** Of a cursor whose window's first row has come: its end. undefined: it is gone. */
export async function readCursor(
  upstream: pg.Client,
  slot: string,
  cursor: string,
): Promise<CursorPosition | undefined> {
  const row = await askOne(upstream, 'upstream', positionQuery(slot, cursor), [])
  if (!row) return undefined
  return cursorPosition(
    [row.confirmed_flush_lsn, row.restart_lsn, row.wal_end, row.waits].map((each) => each ?? ''),
  )
}

/** How a cursor is made: from which slot, in place of which one of the same session, and moved to where. */
export interface CursorCopy {
  readonly from: string
  readonly old: string | undefined
  readonly to?: Lsn
}

/**
 * The next window of a cursor: at most so many messages, but whole transactions; behind it, where the cursor stands then, from where
 * it would decode, where the flushed WAL ends, and whether the follow's own slot has come to wait for standbys. `copy`: the cursor is made
 * for it, as a copy of another one.
 */
export function windowStatement(
  slot: string,
  cursor: string,
  messages: number,
  plugin: Readonly<Record<string, string>>,
  copy?: CursorCopy,
): string {
  const options = Object.entries(plugin).flat().map(quoteLiteral).join(', ')
  const name = quoteLiteral(cursor)
  const steps = copy
    ? [
        ...(copy.old === undefined ? [] : [`pg_drop_replication_slot(${quoteLiteral(copy.old)})`]),
        `pg_copy_logical_replication_slot(${quoteLiteral(copy.from)}, ${name}, true)`,
        ...(copy.to === undefined ? [] : [`pg_replication_slot_advance(${name}, '${formatLsn(copy.to)}')`]),
      ]
    : []
  const made = steps.map((step) => `SELECT pg_catalog.${step};`).join('')
  return `${made}COPY (SELECT data FROM pg_catalog.pg_logical_slot_get_binary_changes(${name}, NULL, ${messages}, ${options})) TO STDOUT (FORMAT binary);
${positionQuery(slot, cursor)}`
}

/** Stream Start: https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html */
const streamStart = 0x53

/**
 * Whether what comes next behind the cursor is a transaction that a walsender would send before its commit: larger than logical_decoding_work_mem.
 * Only so much is decoded for it. `plugin`: options that ask for streaming.
 */
export async function beginsLarge(
  client: pg.Client,
  cursor: string,
  plugin: Readonly<Record<string, string>>,
): Promise<boolean> {
  const options = Object.entries(plugin).flat()
  const places = options.map((_, i) => `$${i + 2}`).join(', ')
  const found = await ask(
    client,
    'upstream',
    `SELECT pg_catalog.get_byte(data, 0) = ${streamStart} AS large
       FROM pg_catalog.pg_logical_slot_peek_binary_changes($1, NULL, 1, ${places}) LIMIT 1`,
    [cursor, ...options],
  )
  return found[0]?.large === 't'
}

/** Moves a slot that nobody uses. */
export async function advanceSlot(client: pg.Client, slot: string, lsn: Lsn): Promise<void> {
  await ask(client, 'upstream', 'SELECT pg_catalog.pg_replication_slot_advance($1, $2)', [
    slot,
    formatLsn(lsn),
  ])
}

/** Whether a process of the server computes; one that waits for its client to read has nothing to say of the network between. */
export async function isAtWork(client: pg.Client, pid: string): Promise<boolean> {
  const text =
    "SELECT 1 AS found FROM pg_catalog.pg_stat_activity WHERE pid = $1 AND state = 'active' AND wait_event IS DISTINCT FROM 'ClientWrite'"
  return (await ask(client, 'upstream', text, [pid])).length > 0
}

import type pg from 'pg'
import { ExitCode, FollowerError } from '../errors.ts'
import { formatLsn, type Lsn, lsnFromServer } from '../model/lsn.ts'
import { sql } from '../postgres/sql.ts'
import { sqlstate } from '../postgres/sqlstate.ts'
import { ask, askOne, column } from './query.ts'

/** The progress row of a follow: sql/downstream/progress.sql. */
export interface Progress {
  readonly systemIdentifier: string
  readonly timeline: number
  readonly database: string
  readonly slot: string
  /** False: the user named it, and keeps it. */
  readonly ownSlot: boolean
  /** undefined: the slot is being created. */
  readonly lsn: Lsn | undefined
  readonly commitTime: string | null
  readonly epoch: bigint
  readonly updatedAt: string
}

export async function hasProgressTable(downstream: pg.Client): Promise<boolean> {
  const row = await askOne(
    downstream,
    'downstream',
    "SELECT to_regclass('follower.progress') IS NOT NULL AS there",
  )
  return row?.there === 't'
}

/** The row of that follow; undefined where there is none, or no table yet. */
export async function readProgress(downstream: pg.Client, name: string): Promise<Progress | undefined> {
  if (!(await hasProgressTable(downstream))) return undefined
  const row = await askOne(downstream, 'downstream', sql('query/progress'), [name])
  return (
    row && {
      systemIdentifier: column(row, 'system_identifier'),
      timeline: Number(column(row, 'timeline')),
      database: column(row, 'database'),
      slot: column(row, 'slot'),
      ownSlot: row.own_slot === 't',
      lsn: row.lsn ? lsnFromServer(row.lsn) : undefined,
      commitTime: row.commit_time ?? null,
      epoch: BigInt(column(row, 'epoch')),
      updatedAt: column(row, 'updated_at'),
    }
  )
}

/** What the row says before there is a position. */
export interface Intent {
  readonly name: string
  readonly systemIdentifier: string
  readonly timeline: number
  readonly database: string
  readonly slot: string
  readonly ownSlot: boolean
  readonly publications: readonly string[]
}

/**
 * Records that a slot is about to be created, so that one that a killed start left behind is known as ours; at each start, what the follow
 * publishes. Under lockSchema: no index of the table keeps a name from coming twice.
 */
export async function recordIntent(downstream: pg.Client, intent: Intent): Promise<void> {
  const { name, systemIdentifier, timeline, database, slot, ownSlot, publications } = intent
  const known = await ask(
    downstream,
    'downstream',
    'UPDATE follower.progress SET publications = $2 WHERE name = $1 RETURNING name',
    [name, publications],
  )
  if (known.length > 0) return
  await forgetCopies(downstream, name)
  await ask(
    downstream,
    'downstream',
    `INSERT INTO follower.progress (name, system_identifier, timeline, database, slot, own_slot, publications)
     VALUES ($1, $2, $3, $4, $5, $6, $7)`,
    [name, systemIdentifier, String(timeline), database, slot, String(ownSlot), publications],
  )
}

/** What is noted of the copies of a follow whose progress is gone. */
export async function forgetCopies(downstream: pg.Client, name: string): Promise<void> {
  for (const table of ['copied_table', 'copy_step'])
    await ask(downstream, 'downstream', `DELETE FROM follower.${table} WHERE follow = $1`, [name])
}

/** Writes the first position, and whether the follow copies tables. Only ever once: a row that has one is left alone. */
export async function recordStart(
  downstream: pg.Client,
  name: string,
  lsn: Lsn,
  copies: boolean,
): Promise<void> {
  await ask(
    downstream,
    'downstream',
    'UPDATE follower.progress SET lsn = $2, copies = $3, updated_at = clock_timestamp() WHERE name = $1 AND lsn IS NULL',
    [name, formatLsn(lsn), String(copies)],
  )
}

/** A table whose rows are still to be copied. */
export interface WaitingTable {
  /** Upstream's. */
  readonly oid: number
  readonly schema: string
  readonly name: string
  /** An earlier attempt has put rows there, which are ours to remove. */
  readonly begun: boolean
  /** What is there is replaced in one transaction. */
  readonly overwrite: boolean
}

/** Those of the follow, by OID. */
export async function waitingTables(downstream: pg.Client, name: string): Promise<Map<number, WaitingTable>> {
  const found = await ask(
    downstream,
    'downstream',
    "SELECT relation, schema, name, state = 'copying' AS begun, overwrite FROM follower.copied_table WHERE follow = $1 AND state <> 'copied'",
    [name],
  )
  return new Map(
    found.map((row) => [
      Number(column(row, 'relation')),
      {
        oid: Number(column(row, 'relation')),
        schema: column(row, 'schema'),
        name: column(row, 'name'),
        begun: row.begun === 't',
        overwrite: row.overwrite === 't',
      },
    ]),
  )
}

/** Notes that the tables are to be copied: in the transaction that writes the first position. */
export async function recordWaiting(
  downstream: pg.Client,
  name: string,
  tables: readonly { readonly oid: number; readonly schema: string; readonly name: string }[],
): Promise<void> {
  await ask(
    downstream,
    'downstream',
    `INSERT INTO follower.copied_table (follow, relation, schema, name)
     SELECT $1, t.* FROM unnest($2::oid[], $3::text[], $4::text[]) AS t ON CONFLICT DO NOTHING`,
    [
      name,
      tables.map((table) => String(table.oid)),
      tables.map((table) => table.schema),
      tables.map((table) => table.name),
    ],
  )
}

/** Takes the row for this daemon (P8): every earlier daemon's commit fails from now on. */
export async function takeEpoch(downstream: pg.Client, name: string): Promise<bigint> {
  try {
    const row = await askOne(downstream, 'downstream', 'SELECT follower.take_progress($1) AS epoch', [name])
    return BigInt(row?.epoch ?? 0)
  } catch (error) {
    if (sqlstate(error) !== 'FLW11') throw error
    throw new FollowerError(`the progress row of the follow "${name}" is gone`, {
      code: 'FLW-210',
      exit: ExitCode.slot,
      detail: 'Somebody removed it while the follow was being started.',
      effect: 'without it nobody knows what is applied; nothing more was applied',
      fix: [`follower cleanup --name ${name} …   # and start again`],
      cause: error,
    })
  }
}

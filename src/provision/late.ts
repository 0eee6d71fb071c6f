import type pg from 'pg'
import { type Lsn, lsnFromServer } from '../model/lsn.ts'
import { sql } from '../postgres/sql.ts'
import { ask, askOne, column } from './query.ts'
import { filledTables, type TableName } from './tables.ts'

/** A table, or the root that its rows are sent as, upstream. */
export interface PublishedTable extends TableName {
  readonly oid: number
}

/** What the publications send, and a position that lies behind all commits that made it so. */
export async function publishedNames(
  upstream: pg.Client,
  publications: readonly string[],
): Promise<{ readonly tables: readonly PublishedTable[]; readonly lsn: Lsn }> {
  const rows = await ask(upstream, 'upstream', sql('query/published_names'), [publications])
  return {
    lsn: lsnFromServer(rows[0] ? column(rows[0], 'lsn') : '0/0'),
    tables: rows.flatMap((row) =>
      row.oid ? [{ oid: Number(row.oid), schema: column(row, 'schema'), name: column(row, 'name') }] : [],
    ),
  }
}

/**
 * The tables, by upstream's OID, whose rows were copied, are to be, or were in the stream from their making on. undefined where the follow
 * did not begin with a copy: then tables that come later are not copied by themselves.
 */
export async function knownTables(downstream: pg.Client, name: string): Promise<Set<number> | undefined> {
  const row = await askOne(downstream, 'downstream', 'SELECT copies FROM follower.progress WHERE name = $1', [
    name,
  ])
  if (row?.copies !== 't') return undefined
  const rows = await ask(
    downstream,
    'downstream',
    'SELECT relation FROM follower.copied_table WHERE follow = $1',
    [name],
  )
  return new Set(rows.map((each) => Number(column(each, 'relation'))))
}

/** Whether tables of the follow are still to be copied. */
export async function hasWaiting(downstream: pg.Client, name: string): Promise<boolean> {
  const row = await askOne(
    downstream,
    'downstream',
    "SELECT EXISTS (SELECT FROM follower.copied_table WHERE follow = $1 AND state <> 'copied') AS waits",
    [name],
  )
  return row?.waits === 't'
}

/** What became of tables that have come into a follow. */
export interface LateTables {
  /** Are to be copied from now on. */
  readonly waiting: readonly PublishedTable[]
  /** Hold rows downstream already, which are left as they are from now on. */
  readonly filled: readonly PublishedTable[]
  /** No table of that name is there. */
  readonly missing: readonly PublishedTable[]
  /** By OID, of all that are noted, now or before: true where they are still to be copied. */
  readonly noted: ReadonlyMap<number, boolean>
}

/**
 * Notes that the tables are to be copied; those that hold rows downstream count as copied, unless `overwrite`; those that are missing there
 * are left, and what was noted before stands. Nothing of them has been applied yet.
 */
export async function recordLate(
  downstream: pg.Client,
  name: string,
  tables: readonly PublishedTable[],
  overwrite: boolean,
): Promise<LateTables> {
  const below = await filledTables(downstream, 'downstream', tables)
  const find = (want: (table: (typeof below)[number]) => boolean): PublishedTable[] =>
    tables.filter((table) =>
      below.some((it) => it.schema === table.schema && it.name === table.name && want(it)),
    )
  return {
    waiting: await record(
      downstream,
      name,
      find((it) => it.present && (overwrite || !it.filled)),
      'waiting',
    ),
    filled: await record(
      downstream,
      name,
      find((it) => it.present && it.filled && !overwrite),
      'copied',
    ),
    missing: find((it) => !it.present),
    noted: await readNoted(downstream, name, tables),
  }
}

async function readNoted(
  downstream: pg.Client,
  name: string,
  tables: readonly PublishedTable[],
): Promise<ReadonlyMap<number, boolean>> {
  const rows = await ask(
    downstream,
    'downstream',
    "SELECT relation, state <> 'copied' AS waits FROM follower.copied_table WHERE follow = $1 AND relation = ANY ($2::oid[])",
    [name, tables.map(({ oid }) => String(oid))],
  )
  return new Map(rows.map((row) => [Number(column(row, 'relation')), row.waits === 't']))
}

/** The tables are taken as they are: they were made in this transaction of the stream, or nothing can be copied into them. */
export async function recordAsIs(
  downstream: pg.Client,
  name: string,
  tables: readonly PublishedTable[],
): Promise<void> {
  await record(downstream, name, tables, 'copied')
}

/** Returns those that were not there before. */
async function record(
  downstream: pg.Client,
  name: string,
  tables: readonly PublishedTable[],
  state: 'waiting' | 'copied',
): Promise<readonly PublishedTable[]> {
  if (tables.length === 0) return []
  const rows = await ask(
    downstream,
    'downstream',
    `INSERT INTO follower.copied_table (follow, relation, schema, name, state)
     SELECT $1, t.*, $5 FROM unnest($2::oid[], $3::text[], $4::text[]) AS t ON CONFLICT DO NOTHING RETURNING relation`,
    [
      name,
      tables.map(({ oid }) => String(oid)),
      tables.map(({ schema }) => schema),
      tables.map((table) => table.name),
      state,
    ],
  )
  const fresh = new Set(rows.map((row) => Number(column(row, 'relation'))))
  return tables.filter(({ oid }) => fresh.has(oid))
}

/** Tables that are published no more: should one come again, its changes from in between are missing. */
export async function forgetCopied(
  downstream: pg.Client,
  name: string,
  oids: readonly number[],
): Promise<void> {
  if (oids.length === 0) return
  await ask(
    downstream,
    'downstream',
    "DELETE FROM follower.copied_table WHERE follow = $1 AND relation = ANY ($2::oid[]) AND state = 'copied'",
    [name, oids.map(String)],
  )
}

/** A copied table that stands for `lsn`, before the follow's position. */
export interface TableBehind extends PublishedTable {
  readonly lsn: Lsn
}

/** Copied tables whose changes up to the follow's position come next. */
export async function tablesBehind(downstream: pg.Client, name: string): Promise<readonly TableBehind[]> {
  const rows = await ask(
    downstream,
    'downstream',
    "SELECT relation, schema, name, lsn FROM follower.copied_table WHERE follow = $1 AND behind AND state = 'copied'",
    [name],
  )
  return rows.map((row) => ({
    oid: Number(column(row, 'relation')),
    ...{ schema: column(row, 'schema'), name: column(row, 'name') },
    lsn: lsnFromServer(column(row, 'lsn')),
  }))
}

const ofEpoch = 'EXISTS (SELECT FROM follower.progress p WHERE p.name = $1 AND p.epoch = $2)'

/** Says of the tables that wait whether others are applied while they are copied. */
export async function markBehind(
  downstream: pg.Client,
  name: string,
  epoch: bigint,
  behind: boolean,
): Promise<void> {
  await ask(
    downstream,
    'downstream',
    `UPDATE follower.copied_table SET behind = $3 WHERE follow = $1 AND state <> 'copied' AND ${ofEpoch}`,
    [name, String(epoch), String(behind)],
  )
}

/** What was behind stands where the follow does. */
export async function caughtUp(downstream: pg.Client, name: string, epoch: bigint): Promise<void> {
  await ask(
    downstream,
    'downstream',
    `UPDATE follower.copied_table SET behind = false WHERE follow = $1 AND behind AND state = 'copied' AND ${ofEpoch}`,
    [name, String(epoch)],
  )
}

/** What was behind is copied anew, since the changes in between can't be had. */
export async function copyAnew(downstream: pg.Client, name: string): Promise<void> {
  await ask(
    downstream,
    'downstream',
    `UPDATE follower.copied_table SET behind = false, state = 'copying', parts_left = NULL WHERE follow = $1 AND behind AND state = 'copied'`,
    [name],
  )
}

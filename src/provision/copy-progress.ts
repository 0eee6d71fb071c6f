import type pg from 'pg'
import { type CopyState, outlook, tableOutlook } from '../model/copy-state.ts'
import { relationName } from '../model/relation.ts'
import { sql } from '../postgres/sql.ts'
import { ask, askOne, column } from './query.ts'

/** What `follower status` shows of a copy: bytes are those of rows as they come, estimates from the sizes of files upstream. */
export interface CopyStatus {
  /** `behind`: of the copied ones, those whose changes from meanwhile are still to come. */
  readonly tables: { readonly copied: number; readonly behind: number; readonly total: number }
  /** Of tables that are copied, whenever that was, and of those in work as far as they are there. */
  readonly rows: number
  readonly bytes: number
  /** Of the same tables in the end, about; null before the copy in hand has begun. */
  readonly expectedBytes: number | null
  /** Until all rows are there, by the rate so far; null where nobody knows, or nobody copies. Indexes and constraints come after it. */
  readonly secondsLeft: number | null
  readonly inWork: readonly {
    readonly table: string
    readonly rows: number
    readonly bytes: number
    readonly expectedBytes: number
  }[]
  /** What is left of a copied schema, in the order in which it is made. */
  readonly steps: readonly { readonly wave: string; readonly left: number }[]
}

interface InWork {
  /** Upstream's. */
  readonly oid: number
  readonly name: string
  readonly rows: number
  readonly bytes: number
  /** Of its files upstream. */
  readonly fileBytes: number
}

/** The tables whose rows are coming right now. */
export async function tablesInWork(downstream: pg.Client, name: string): Promise<readonly InWork[]> {
  const rows = await ask(downstream, 'downstream', sql('query/copy_in_work'), [name])
  return rows.map((row) => ({
    oid: Number(column(row, 'relation')),
    name: relationName({ schema: column(row, 'schema'), name: column(row, 'name') }),
    rows: Number(row.rows),
    bytes: Number(row.bytes),
    fileBytes: Number(row.file_bytes ?? 0),
  }))
}

/** Notes what a copy that begins is to bring, for `status`. */
export async function recordRound(
  downstream: pg.Client,
  name: string,
  epoch: bigint,
  tables: readonly { readonly oid: number; readonly bytes: number }[],
): Promise<void> {
  await ask(
    downstream,
    'downstream',
    `UPDATE follower.copied_table t SET file_bytes = w.bytes, begun_at = statement_timestamp()
       FROM unnest($3::oid[], $4::bigint[]) w (relation, bytes)
      WHERE t.follow = $1 AND t.relation = w.relation AND t.state <> 'copied'
        AND EXISTS (SELECT FROM follower.progress p WHERE p.name = $1 AND p.epoch = $2)`,
    [
      name,
      String(epoch),
      tables.map((table) => String(table.oid)),
      tables.map((table) => String(table.bytes)),
    ],
  )
}

/** Null where nothing of a copy is left; read from the downstream alone. `held`: a follower is there that may be copying. */
export async function readCopy(
  downstream: pg.Client,
  name: string,
  held: boolean,
): Promise<CopyStatus | null> {
  const there = await askOne(
    downstream,
    'downstream',
    `SELECT to_regclass('follower.copied_table') IS NOT NULL AND to_regclass('follower.copy_step') IS NOT NULL AS there`,
  )
  if (there?.there !== 't') return null
  const totals = (await askOne(downstream, 'downstream', sql('query/copy_totals'), [name])) ?? {}
  const steps = await stepsLeft(downstream, name)
  const number = (of: string): number => Number(totals[of] ?? 0)
  const tables = { copied: number('copied'), behind: number('behind'), total: number('tables') }
  if (tables.copied === tables.total && tables.behind === 0 && steps.length === 0) return null
  const inWork = await tablesInWork(downstream, name)
  const sum = (of: 'rows' | 'bytes'): number => inWork.reduce((total, table) => total + table[of], 0)
  const state: CopyState = {
    seconds: number('seconds'),
    tables: { copied: number('in_hand_copied'), total: number('in_hand') },
    rows: number('copied_rows') + sum('rows'),
    bytes: number('in_hand_copied_bytes') + sum('bytes'),
    copiedBytes: number('in_hand_copied_bytes'),
    fileBytes: { copied: number('in_hand_copied_file_bytes'), total: number('in_hand_file_bytes') },
    inWork: inWork.map((table) => ({ ...table, seconds: undefined })),
  }
  const begun = state.tables.total > 0
  const ahead = outlook(state)
  // What other copies have brought.
  const before = number('copied_bytes') - state.copiedBytes
  return {
    tables,
    rows: state.rows,
    bytes: before + state.bytes,
    expectedBytes: begun ? Math.round(before + ahead.bytes) : null,
    secondsLeft: begun && held && ahead.secondsLeft !== undefined ? Math.ceil(ahead.secondsLeft) : null,
    inWork: state.inWork.map((table) => ({
      table: table.name,
      rows: table.rows ?? 0,
      bytes: table.bytes,
      expectedBytes: Math.round(tableOutlook(state, table).bytes),
    })),
    steps,
  }
}

async function stepsLeft(downstream: pg.Client, name: string): Promise<CopyStatus['steps']> {
  const rows = await ask(
    downstream,
    'downstream',
    `SELECT wave, count(*) AS left FROM follower.copy_step WHERE follow = $1
      GROUP BY wave ORDER BY array_position('{schema,indexes,objects,foreign keys,last}', wave)`,
    [name],
  )
  return rows.map((row) => ({ wave: column(row, 'wave'), left: Number(row.left) }))
}

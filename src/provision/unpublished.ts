import type pg from 'pg'
import type { FollowSettings } from '../model/follow.ts'
import { quoteIdentifier } from '../postgres/identifier.ts'
import { sqlstate } from '../postgres/sqlstate.ts'
import { type ListableTable, listableTables, mayList, unpublished } from './listing.ts'
import type { Prepared } from './prepare.ts'
import { publicationNames } from './publication.ts'
import { ask, askOne, inTransaction } from './query.ts'
import { filledTables } from './tables.ts'

/** The tables of a follow whose rows are not sent. Nothing where the user named his own publications, or with wal2json, which knows none. */
export async function findUnpublished(
  upstream: pg.Client,
  settings: FollowSettings,
): Promise<readonly ListableTable[]> {
  if (settings.publications.length > 0 || settings.plugin !== 'pgoutput') return []
  return unpublished(await listableTables(upstream, settings, publicationNames(settings)))
}

/** `added`; with rows that were committed before, and so never sent: `filled`; `not now`: a lock, or it has changed. */
export type Adding = 'added' | 'filled' | 'not now'

/**
 * Pure: whether the daemon can add the table by itself. Without the capture nothing gives it a replica identity: then it has
 * to have one, or its UPDATE and DELETE would begin to fail upstream.
 */
export function mayAdd(table: ListableTable, settings: FollowSettings, captured: boolean): boolean {
  return mayList(table) && (captured || table.identified || settings.noIdentity === 'insert-only')
}

/**
 * Puts a table into the follow's publications, in a transaction of `upstream` (no connection that others use). Under its
 * lock nobody writes, so that each row either was there before, which is told, or is sent.
 */
export async function addTable(
  upstream: pg.Client,
  settings: FollowSettings,
  prepared: Prepared,
  table: ListableTable,
): Promise<Adding> {
  const name = `${quoteIdentifier(table.schema)}.${quoteIdentifier(table.name)}`
  try {
    return await inTransaction(upstream, 'upstream', async () => {
      await ask(upstream, 'upstream', "SET LOCAL lock_timeout = '3s'")
      await ask(upstream, 'upstream', `LOCK TABLE ONLY ${name} IN SHARE ROW EXCLUSIVE MODE`)
      // What has the name may be another thing by now, of somebody who would like code of his to run with our rights.
      const row = await askOne(
        upstream,
        'upstream',
        `SELECT c.relkind = 'r' AND c.oid = $1::oid AND pg_has_role(c.relowner, 'USAGE') AS same
           FROM pg_class c WHERE c.oid = to_regclass($2)`,
        [table.oid, name],
      )
      if (row?.same !== 't') return 'not now'
      if (prepared.captured) {
        await ask(upstream, 'upstream', 'CALL follower.keep_publications($1::oid[])', [`{${table.oid}}`])
        await ask(upstream, 'upstream', 'CALL follower.keep_identity($1::oid[])', [`{${table.oid}}`])
      } else
        for (const [index, publication] of publicationNames(settings).entries())
          if (table.identified || index > 0)
            await ask(
              upstream,
              'upstream',
              `ALTER PUBLICATION ${quoteIdentifier(publication)} ADD TABLE ONLY ${name}`,
            )
      const left = (await findUnpublished(upstream, settings)).some(({ oid }) => oid === table.oid)
      if (left) return 'not now'
      const [rows] = await filledTables(upstream, 'upstream', [table])
      return rows?.filled ? 'filled' : 'added'
    })
  } catch (error) {
    // Busy, gone, added by somebody else, or the rights went away again: the next look knows.
    const state = sqlstate(error) ?? ''
    if (['55P03', '40P01', '42P01', '3F000', '42710', '42501', '42809'].includes(state)) return 'not now'
    throw error
  }
}

import type pg from 'pg'
import type { CopyStep } from '../copy/archive.ts'
import { ExitCode, FollowerError } from '../errors.ts'
import { quoteIdentifier, quoteLiteral } from '../postgres/identifier.ts'
import { sql } from '../postgres/sql.ts'
import { sqlstate } from '../postgres/sqlstate.ts'
import type { Logger } from '../telemetry/log.ts'
import { finding } from './findings.ts'
import { ask, column, inTransaction, type Row } from './query.ts'

/** Each stays locked (ACCESS SHARE) until the end of the transaction that reads it. */
const atOnce = 50

/**
 * What each sequence of the caller's snapshot has to be set to, as of now: no snapshot holds a position. Extensions' sequences that this role
 * may not read are left out, and told. Throws FollowerError (FLW-129, exit 6) with others that it may not read.
 */
export async function findSequences(upstream: pg.Client, log: Logger): Promise<readonly Row[]> {
  const found = await ask(upstream, 'upstream', sql('query/sequences'))
  checkReadable(found)
  const closed = found.filter((row) => row.readable === 'f')
  if (closed.length > 0)
    log.warn(
      { code: 'FLW-129', count: closed.length, sequences: closed.slice(0, 20).map(nameOf) },
      'sequences of extensions that the upstream role may not read keep the position that CREATE EXTENSION gives them',
    )
  return found.filter((row) => row.readable !== 'f')
}

/** Throws FollowerError (FLW-129, exit 6) with sequences that this role may not read. */
export async function checkSequences(upstream: pg.Client): Promise<void> {
  checkReadable(await ask(upstream, 'upstream', sql('query/sequences')))
}

function checkReadable(found: readonly Row[]): void {
  const closed = found.filter((row) => row.readable === 'f' && row.member === 'f')
  const [first] = closed
  if (!first) return
  const role = quoteIdentifier(column(first, 'role'))
  const names = closed.map(nameOf)
  const schemas = new Set(
    closed.filter((row) => row.reachable === 'f').map((row) => quoteIdentifier(column(row, 'schema'))),
  )
  throw finding({
    code: 'FLW-129',
    message: `${closed.length === 1 ? 'a sequence' : `${closed.length} sequences`} can’t be read upstream: downstream they would begin anew, with values that are taken`,
    detail: [...names.slice(0, 20), ...(names.length > 20 ? [`and ${names.length - 20} more`] : [])].join(
      '\n',
    ),
    fix: [
      ...(schemas.size > 0
        ? [`GRANT USAGE ON SCHEMA ${[...schemas].join(', ')} TO ${role};   -- upstream`]
        : []),
      `GRANT SELECT ON SEQUENCE ${names.join(', ')} TO ${role};   -- upstream`,
      'or load the schema yourself, and set the positions:  follower start --copy data …',
    ],
  })
}

/** The steps that set them, outside of any transaction of the caller's. Throws FollowerError (FLW-128, exit 6) where one has gone. */
export async function readPositions(upstream: pg.Client, sequences: readonly Row[]): Promise<CopyStep[]> {
  const steps: CopyStep[] = []
  for (let i = 0; i < sequences.length; i += atOnce) {
    const some = sequences.slice(i, i + atOnce)
    const each = some.map((row, n) => `SELECT ${n} AS n, last_value, is_called FROM ${nameOf(row)}`)
    const found = await inTransaction(upstream, 'upstream', async () => {
      await ask(upstream, 'upstream', "SET LOCAL lock_timeout = '3s'")
      return ask(upstream, 'upstream', each.join(' UNION ALL '))
    }).catch((error: unknown) => {
      throw ['42P01', '3F000', '55P03'].includes(sqlstate(error) ?? '') ? schemaChanged(error) : error
    })
    for (const row of found) {
      const sequence = some[Number(row.n)]!
      const [value, called] = [column(row, 'last_value'), row.is_called === 't']
      if (!called && value === sequence.start) continue
      const name = nameOf(sequence)
      const statement = `SELECT pg_catalog.setval(${quoteLiteral(name)}, ${value}, ${called})`
      steps.push({ wave: 'objects', label: `SEQUENCE SET ${name}`, statement })
    }
  }
  return steps
}

/** FLW-128, exit 6: what was read is not, or not surely, that of the snapshot. */
export function schemaChanged(cause?: unknown): FollowerError {
  const held = sqlstate(cause) === '55P03'
  return new FollowerError(
    held
      ? 'the schema can’t be read: a transaction upstream holds a lock on a part of it'
      : 'the schema changed upstream while it was read',
    {
      code: 'FLW-128',
      exit: ExitCode.preflight,
      effect: 'nothing was changed downstream',
      fix: [
        held
          ? "start again once that is over:  SELECT pid, relation::regclass FROM pg_locks WHERE mode = 'AccessExclusiveLock';   -- upstream"
          : 'start again; or with pg_dump, which locks every table while it reads:  --pg-dump PATH',
      ],
      sqlstate: sqlstate(cause),
      cause,
    },
  )
}

function nameOf(row: Row): string {
  return `${quoteIdentifier(column(row, 'schema'))}.${quoteIdentifier(column(row, 'name'))}`
}

import type pg from 'pg'
import { type CopyStep, objectAt } from '../copy/archive.ts'
import { ExitCode, FollowerError } from '../errors.ts'
import type { FollowSettings } from '../model/follow.ts'
import { quoteIdentifier, quoteLiteral } from '../postgres/identifier.ts'
import { isTransient, sqlstate } from '../postgres/sqlstate.ts'
import { type DumpedSchema, type DumpTools, dumpSchema } from './pg-dump.ts'
import { ask, column } from './query.ts'
import { type Snapshot, underSnapshot } from './snapshot.ts'

/** The whole schema as of the snapshot, with what no schema holds: positions of sequences, and that views are filled. */
export async function readSchema(
  settings: FollowSettings,
  upstream: pg.Client,
  tools: DumpTools,
  snapshot: Snapshot,
): Promise<DumpedSchema> {
  const dumped = await dumpSchema(tools, settings.upstream, settings.copying, snapshot.name)
  const more = await underSnapshot(upstream, snapshot.name, async () => [
    ...(await sequences(upstream)),
    ...(await views(upstream)),
  ])
  return { before: dumped.before, after: [...dumped.after, ...more] }
}

async function sequences(upstream: pg.Client): Promise<CopyStep[]> {
  const found = await ask(
    upstream,
    'upstream',
    "SELECT schemaname, sequencename, last_value FROM pg_sequences WHERE last_value IS NOT NULL AND schemaname <> 'follower' ORDER BY 1, 2",
  )
  return found.map((row) => {
    const name = `${quoteIdentifier(column(row, 'schemaname'))}.${quoteIdentifier(column(row, 'sequencename'))}`
    const statement = `SELECT pg_catalog.setval(${quoteLiteral(name)}, ${column(row, 'last_value')})`
    return { wave: 'objects', label: `SEQUENCE SET ${name}`, statement }
  })
}

/** In the order in which they were made, so that each finds filled what it reads. */
async function views(upstream: pg.Client): Promise<CopyStep[]> {
  const found = await ask(
    upstream,
    'upstream',
    `SELECT n.nspname AS schema, c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind = 'm' AND c.relispopulated AND n.nspname <> 'follower' ORDER BY c.oid`,
  )
  return found.map((row) => {
    const name = `${quoteIdentifier(column(row, 'schema'))}.${quoteIdentifier(column(row, 'name'))}`
    return {
      wave: 'last',
      label: `MATERIALIZED VIEW DATA ${name}`,
      statement: `REFRESH MATERIALIZED VIEW ${name}`,
    }
  })
}

/**
 * Makes the schema downstream, in the caller's transaction, on a connection that nobody else uses; notes the steps that come after
 * the rows. Throws FollowerError (FLW-126, exit 6) with the object that failed.
 */
export async function loadSchema(downstream: pg.Client, name: string, schema: DumpedSchema): Promise<void> {
  await run(downstream, schema.before)
  await ask(
    downstream,
    'downstream',
    `INSERT INTO follower.copy_step (follow, number, wave, label, statement)
     SELECT $1, s.number, s.wave, s.label, s.statement
       FROM unnest($2::text[], $3::text[], $4::text[]) WITH ORDINALITY s (wave, label, statement, number)`,
    [
      name,
      schema.after.map((step) => step.wave),
      schema.after.map((step) => step.label),
      schema.after.map((step) => step.statement),
    ],
  )
}

async function run(downstream: pg.Client, script: string): Promise<void> {
  try {
    await downstream.query(script)
  } catch (error) {
    const { message, position, detail, hint } = error as Error & {
      position?: string
      detail?: string
      hint?: string
    }
    const object = position === undefined ? undefined : objectAt(script, Number(position))
    const state = sqlstate(error)
    throw new FollowerError(`the schema could not be made downstream: ${message}`, {
      code: 'FLW-126',
      exit: ExitCode.preflight,
      detail: [object && `at ${object}`, detail, hint].filter(Boolean).join('\n'),
      effect: 'nothing of it was made: all of it is one transaction',
      fix: remedies(state, message),
      sqlstate: state,
      transient: isTransient(error) && state !== '53200',
      cause: error,
    })
  }
}

function remedies(state: string | undefined, message: string): string[] {
  const again = 'then start again'
  const role = /^role "(.*)" does not exist$/.exec(message)?.[1]
  if (role !== undefined)
    return [
      `CREATE ROLE ${quoteIdentifier(role)};   -- downstream, ${again}`,
      'or leave owners and rights away:  follower start --copy all --no-owner --no-privileges …',
    ]
  if (state === '53200')
    return [
      'ALTER SYSTEM SET max_locks_per_transaction = 1024;   -- downstream, needs a restart; as many objects are made in one transaction',
    ]
  if (state?.startsWith('42') && /already exists/.test(message))
    return [
      'use an empty database downstream',
      'or, where the schema is there:  follower start --copy data …',
    ]
  if (state === '58P01' || state === '0A000')
    return [`install what is missing (an extension, a collation) on the downstream’s server, ${again}`]
  return [`remove the cause downstream, ${again}`]
}

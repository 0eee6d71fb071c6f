import type pg from 'pg'
import { type CopyStep, objectAt, plainPlaces } from '../copy/archive.ts'
import { ExitCode, FollowerError } from '../errors.ts'
import type { FollowSettings } from '../model/follow.ts'
import { quoteIdentifier } from '../postgres/identifier.ts'
import { isTransient, sqlstate } from '../postgres/sqlstate.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Ends } from './ends.ts'
import { checkCarried, readOwnSchema } from './own-schema.ts'
import { type DumpedSchema, type DumpTools, dumpSchema, findDumpTools } from './pg-dump.ts'
import { ask, column } from './query.ts'
import { checkSequences, findSequences, readPositions } from './sequences.ts'
import { type Snapshot, underSnapshot } from './snapshot.ts'

/** How a schema is read: by pg_dump, or from the catalogs. */
export type SchemaSource = DumpTools | 'catalogs'

/**
 * How the schema of an upstream of that version is to be read; changes nothing. Throws FollowerError (exit 6): FLW-124 where there is no
 * fitting pg_dump, and objects that need it; FLW-129 where sequences can't be read.
 */
export async function schemaSource(
  settings: FollowSettings,
  upstream: pg.Client,
  version: number,
  log: Logger,
): Promise<SchemaSource> {
  const major = Math.trunc(version / 10000)
  await checkSequences(upstream)
  const tools = await findDumpTools(settings.copying.pgDump, major)
  if (tools) {
    log.info({ pgDump: tools.dump, major: tools.major }, 'the schema is read by pg_dump')
    return tools
  }
  await checkCarried(upstream, major)
  const why =
    settings.copying.pgDump === undefined ? 'no fitting pg_dump was found' : 'as --pg-dump none says'
  log.info(`the schema is read from the catalogs, without pg_dump: ${why}`)
  return 'catalogs'
}

/** The whole schema as of the snapshot, with what no schema holds: positions of sequences, and that views are filled. */
export async function readSchema(
  settings: FollowSettings,
  ends: Ends,
  source: SchemaSource,
  snapshot: Snapshot,
  majors: { readonly upstream: number; readonly downstream: number },
  log: Logger,
): Promise<DumpedSchema> {
  const dumped =
    source === 'catalogs'
      ? await readOwnSchema(ends, snapshot.name, settings.copying, majors)
      : await dumpSchema(source, settings.upstream, settings.copying, snapshot.name)
  if (dumped.leftOut && dumped.leftOut.length > 0)
    log.warn(
      { count: dumped.leftOut.length, leftOut: dumped.leftOut.slice(0, 20) },
      'a part of the schema is left out: indexes that are not valid, rights on what this server does not have',
    )
  const { upstream } = ends
  const [found, filled] = await underSnapshot(upstream, snapshot.name, async () => [
    await findSequences(upstream, log),
    await views(upstream),
  ])
  const positions = await readPositions(upstream, found)
  return { before: dumped.before, after: [...dumped.after, ...positions, ...filled] }
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
  await ask(downstream, 'downstream', plainPlaces)
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

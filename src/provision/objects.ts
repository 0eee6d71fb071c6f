import { createHash } from 'node:crypto'
import { readdirSync } from 'node:fs'
import type pg from 'pg'
import type { End } from '../postgres/end.ts'
import { quoteLiteral } from '../postgres/identifier.ts'
import { sql } from '../postgres/sql.ts'
import { ask, askOne } from './query.ts'

/** Serialises starts and cleanups that touch schema follower of one database: 'follower' as eight bytes. */
const schemaLock = Buffer.from('follower').readBigInt64BE(0).toString()

/** Waits for every other start or cleanup in this database; until the end of the transaction. */
export async function lockSchema(client: pg.Client, end: End): Promise<void> {
  await ask(client, end, 'SELECT pg_advisory_xact_lock($1)', [schemaLock])
}

/** The SQL files of a directory below sql/, in order of their names. */
function sqlFiles(directory: string): readonly string[] {
  return readdirSync(new URL(`../../sql/${directory}/`, import.meta.url))
    .filter((file) => file.endsWith('.sql'))
    .toSorted()
    .map((file) => `${directory}/${file.slice(0, -'.sql'.length)}`)
}

interface ObjectSet {
  readonly directories: readonly string[]
  /** Holds the comment that names the installed version. */
  readonly object: { readonly kind: 'SCHEMA' | 'TABLE'; readonly name: string; readonly lookup: string }
  readonly label: string
}

const sets: Readonly<Record<End, ObjectSet>> = {
  upstream: {
    directories: ['both', 'upstream'],
    object: {
      kind: 'SCHEMA',
      name: 'follower',
      lookup: "obj_description(to_regnamespace('follower'), 'pg_namespace')",
    },
    label: 'follower capture',
  },
  downstream: {
    directories: ['both', 'downstream'],
    object: {
      kind: 'TABLE',
      name: 'follower.progress',
      lookup: "obj_description(to_regclass('follower.progress'), 'pg_class')",
    },
    label: 'follower progress',
  },
}

/** The statements that make the objects of one end, and the comment that says afterwards which they are. */
function objectsOf(end: End): { readonly mark: string; readonly statements: readonly string[] } {
  const { directories, object, label } = sets[end]
  const texts = directories.flatMap(sqlFiles).map(sql)
  const mark = `${label} ${createHash('sha256').update(texts.join('\n')).digest('hex')}`
  const comment = `COMMENT ON ${object.kind} ${object.name} IS ${quoteLiteral(mark)}`
  // The functions of sql/both are no use without the schema, and they may come first in the order of names.
  return { mark, statements: ['CREATE SCHEMA IF NOT EXISTS follower', ...texts, comment] }
}

/** The comment on schema follower where exactly these files are installed upstream. */
export function captureMark(): string {
  return objectsOf('upstream').mark
}

/**
 * Creates or replaces follower's own objects at one end, inside the caller's transaction, under lockSchema.
 * Does nothing where the comment says that exactly these files are installed. Returns whether it did something.
 */
export async function installObjects(client: pg.Client, end: End): Promise<boolean> {
  const { mark, statements } = objectsOf(end)
  const installed = await askOne(client, end, `SELECT ${sets[end].object.lookup} AS mark`)
  if (installed?.mark === mark) return false
  for (const text of statements) await ask(client, end, text)
  return true
}

/**
 * The script, for psql, that a superuser runs once in the upstream database: what installObjects does, whatever the session's
 * settings, and the hand-over to `role` (sql/upstream/70_hand_over.sql). May be run again.
 */
export function captureScript(role: string | undefined): string {
  const { statements } = objectsOf('upstream')
  const handOver = role === undefined ? [] : [`CALL follower.hand_over(${quoteLiteral(role)})`]
  return [
    "-- follower's capture of schema changes. Run this as a superuser in the database that is followed:",
    '--   psql -X -v ON_ERROR_STOP=1 "host=... dbname=... user=postgres"',
    'BEGIN;',
    'SET LOCAL search_path = pg_catalog, pg_temp;',
    'SET LOCAL standard_conforming_strings = on;',
    'SET LOCAL client_min_messages = warning;',
    "SET LOCAL lock_timeout = '10s';",
    `SELECT pg_advisory_xact_lock(${schemaLock});`,
    ...[...statements, ...handOver].map((text) => text.trimEnd().replace(/;?$/, ';')),
    'COMMIT;',
  ].join('\n')
}

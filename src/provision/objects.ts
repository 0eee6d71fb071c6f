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

/**
 * Creates or replaces follower's own objects at one end, inside the caller's transaction, under lockSchema.
 * Does nothing where the comment says that exactly these files are installed. Returns whether it did something.
 */
export async function installObjects(client: pg.Client, end: End): Promise<boolean> {
  const { directories, object, label } = sets[end]
  const texts = directories.flatMap(sqlFiles).map(sql)
  const mark = `${label} ${createHash('sha256').update(texts.join('\n')).digest('hex')}`
  const installed = await askOne(client, end, `SELECT ${object.lookup} AS mark`)
  if (installed?.mark === mark) return false
  // The functions of sql/both are no use without the schema, and they may come first in the order of names.
  await ask(client, end, 'CREATE SCHEMA IF NOT EXISTS follower')
  for (const text of texts) await ask(client, end, text)
  await ask(client, end, `COMMENT ON ${object.kind} ${object.name} IS ${quoteLiteral(mark)}`)
  return true
}

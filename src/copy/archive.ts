/** An entry of an archive of pg_dump, as `pg_restore --list` shows it. */
export interface ArchiveEntry {
  readonly id: string
  /** Type, schema, name and owner: `INDEX public orders_pkey shop`. */
  readonly text: string
  readonly line: string
}

/** A statement that is run once the rows are there. */
export interface CopyStep {
  readonly wave: StepWave
  /** For people. */
  readonly label: string
  readonly statement: string
}

/**
 * What may run at the same time, and when: what a large schema has before the rows; then, after the rows, indexes side by side; then all else, in order; both before anything of the stream is applied.
 * Foreign keys, and what depends on them or reads tables, only once all rows are there.
 */
export type StepWave = 'schema' | 'indexes' | 'objects' | 'foreign keys' | 'last'
export const schemaWaves = ['schema'] as const satisfies readonly StepWave[]
export const earlyWaves = ['schema', 'indexes', 'objects'] as const satisfies readonly StepWave[]
export const lateWaves = ['foreign keys', 'last'] as const satisfies readonly StepWave[]

/** What has no place of its own goes where it is at the upstream, whatever the role's or the database's settings are downstream. */
export const plainPlaces = "SET default_tablespace = ''; SET default_table_access_method = 'heap'"

export const sideBySide: readonly StepWave[] = ['indexes', 'foreign keys']

/** Pure: reads `pg_restore --list`. https://www.postgresql.org/docs/current/app-pgrestore.html */
export function parseList(text: string): ArchiveEntry[] {
  return text.split('\n').flatMap((line) => {
    const [, id, rest] = /^(\d+); \d+ \d+ (.*)$/.exec(line) ?? []
    return id === undefined || rest === undefined ? [] : [{ id, text: rest, line }]
  })
}

/** Pure: what is follower's own stays where it is; so do publications and subscriptions. */
export function isWanted({ text }: ArchiveEntry): boolean {
  return !/^(COMMENT|ACL|SECURITY LABEL)?( ?- )?(EVENT TRIGGER (- )?follower_|SCHEMA (- )?follower |PUBLICATION|SUBSCRIPTION)/.test(
    text,
  )
}

/** The text that pg_restore writes before an entry when it is verbose; the statements of the entry follow. */
const header =
  /^--\n-- TOC entry (\d+) \(class \d+ OID \d+\)\n(?:-- Dependencies: [^\n]*\n)?-- Name: [^\n]*\n(?:-- Data Pos: [^\n]*\n)?--\n/gm

/** Settings that pg_restore writes before the header of the entry that they are for, where they change. */
const setting = /\n(SET default_(?:tablespace|table_access_method) = [^\n;]*);\s*$/

/**
 * Pure: cuts the script of a verbose pg_restore into the statements of each entry, by its id. Throws where the headers are not those of the
 * entries in their order, such as where a name or a comment contains the text of one.
 */
export function splitScript(script: string, entries: readonly ArchiveEntry[]): ReadonlyMap<string, string> {
  const found = [...script.matchAll(header)]
  const known = entries.map((entry) => entry.id)
  let at = -1
  const parts = new Map<string, string>()
  const settings = new Map<string, string>()
  const take = (text: string): string => {
    let rest = text
    const taken: string[] = []
    for (let match = setting.exec(rest); match; match = setting.exec(rest)) {
      taken.unshift(match[1]!)
      rest = rest.slice(0, match.index + 1)
    }
    const before = [...settings.values()].map((each) => `${each.replace('SET ', 'SET LOCAL ')};\n`).join('')
    for (const each of taken) settings.set(each.split(' ')[1]!, each)
    return before + rest.trim()
  }
  take(script.slice(0, found[0]?.index))
  for (const [i, match] of found.entries()) {
    const place = known.indexOf(match[1]!)
    if (place <= at) throw new Error(`the script of pg_restore has entry ${match[1]} where it should not be`)
    at = place
    const end = found[i + 1]?.index ?? script.length
    parts.set(match[1]!, take(script.slice(match.index + match[0].length, end)))
  }
  return parts
}

const footer =
  /\n(?:-- Completed on [^\n]*\n)?\s*--\n-- PostgreSQL database dump complete\n--\s*(?:\\unrestrict \S+\s*)?$/

/** Pure: the steps of the entries that come after the rows. */
export function stepsOf(entries: readonly ArchiveEntry[], script: string): CopyStep[] {
  // What ends the script is no statement of an entry.
  const body = script.replace(footer, '\n')
  const statements = splitScript(body, entries)
  return entries.map((entry) => {
    const statement = statements.get(entry.id)
    if (!statement) throw new Error(`the script of pg_restore has nothing for ${entry.text}`)
    return { wave: waveOf(entry.text), label: entry.text, statement }
  })
}

function waveOf(text: string): StepWave {
  if (/^(INDEX|CONSTRAINT) /.test(text) && !text.startsWith('INDEX ATTACH ')) return 'indexes'
  if (text.startsWith('FK CONSTRAINT ')) return 'foreign keys'
  // It may be that of a foreign key.
  if (/^COMMENT .*CONSTRAINT /.test(text)) return 'last'
  return 'objects'
}

/** Pure: the script of what comes before the rows, without the settings of the session at its head, and without what is for psql only. */
export function bareScript(script: string): string {
  const first = script.search(/^--\n-- Name: /m)
  if (first < 0) return ''
  const kept = [...script.slice(0, first).matchAll(/^SET default_[a-z_]+ = [^\n]*;$/gm)].map((it) => it[0])
  return [...kept, script.slice(first)].join('\n').replace(/^\\unrestrict \S+\s*$/m, '')
}

/** Pure: what the statement at that place (1 is the first character) is of: `TABLE public.orders`. */
export function objectAt(script: string, position: number): string | undefined {
  const before = script.slice(0, position)
  const [last] = [...before.matchAll(/^-- Name: (.*); Type: (.*); Schema: (.*); Owner: .*$/gm)].slice(-1)
  if (!last) return undefined
  const [, name, type, schema] = last
  return `${type} ${schema === '-' ? '' : `${schema}.`}${name}`
}

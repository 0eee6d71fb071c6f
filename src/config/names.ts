import type { TablePattern } from '../model/follow.ts'
import { ValueProblem } from './value-problem.ts'

/** PostgreSQL cuts longer identifiers (NAMEDATALEN - 1 bytes), so two could become one. */
const maxBytes = 63

/** The second publication of a follow (insert-only tables) is the name with this behind it. */
const longestSuffix = '_insert_only'

/** The name of a follow: it names a slot, and slots allow lower-case letters, digits and underscores only. */
export function parseFollowName(text: string): string {
  const max = maxBytes - longestSuffix.length
  if (!/^[a-z0-9_]+$/.test(text))
    throw new ValueProblem(
      `a name has lower-case letters, digits and underscores only (it names a replication slot)${offer(text)}`,
    )
  if (text.length > max) throw new ValueProblem(`a name has at most ${max} characters`)
  return text
}

/** https://www.postgresql.org/docs/current/warm-standby.html#STREAMING-REPLICATION-SLOTS-MANIPULATION */
export function parseSlotName(text: string): string {
  if (!/^[a-z0-9_]{1,63}$/.test(text))
    throw new ValueProblem(
      `a slot's name has 1 to 63 lower-case letters, digits and underscores${offer(text)}`,
    )
  return text
}

function offer(text: string): string {
  const near = text.toLowerCase().replace(/[^a-z0-9_]+/g, '_')
  return /[a-z0-9]/.test(near) ? `; did you mean ${near.slice(0, maxBytes - longestSuffix.length)}?` : ''
}

/** Publications as SQL writes names: `a, "My publication"`. */
export function parsePublications(text: string): string[] {
  const parser = new NameParser(text)
  const names: string[] = []
  do names.push(parser.identifier())
  while (parser.take(','))
  parser.end()
  return names
}

/**
 * Tables as SQL writes names: `public.orders, "My schema"."Table, one", audit.*`. What is not quoted is
 * folded to lower case. https://www.postgresql.org/docs/current/sql-syntax-lexical.html
 */
export function parseTables(text: string): TablePattern[] {
  const parser = new NameParser(text)
  const patterns: TablePattern[] = []
  do {
    const schema = parser.identifier()
    if (!parser.take('.'))
      throw new ValueProblem(
        `${schema} has no schema; write public.${schema}, or ${schema}.* for a whole schema`,
      )
    const table = parser.take('*') ? '*' : parser.identifier()
    patterns.push({ schema, table })
  } while (parser.take(','))
  parser.end()
  return patterns
}

/** Reads a list of identifiers from left to right. */
class NameParser {
  private readonly text: string
  private rest: string

  constructor(text: string) {
    this.text = text
    this.rest = text.trim()
  }

  /** Consumes a sign, with white space around it. */
  take(sign: ',' | '.' | '*'): boolean {
    if (!this.rest.startsWith(sign)) return false
    this.rest = this.rest.slice(1).trimStart()
    return true
  }

  identifier(): string {
    const match = /^(?:"((?:[^"]|"")+)"|([\p{L}_][\p{L}\p{N}_$]*))\s*/u.exec(this.rest)
    if (!match) throw new ValueProblem(`a name is expected ${this.place()}`)
    this.rest = this.rest.slice(match[0].length)
    const name =
      match[1]?.replaceAll('""', '"') ?? (match[2] ?? '').replace(/[A-Z]+/g, (s) => s.toLowerCase())
    if (Buffer.byteLength(name) > maxBytes) throw new ValueProblem(`${name} is longer than ${maxBytes} bytes`)
    if (name === '*') throw new ValueProblem('a table named * cannot be listed')
    return name
  }

  end(): void {
    if (this.rest !== '') throw new ValueProblem(`a comma is expected ${this.place()}`)
  }

  private place(): string {
    return this.rest === '' ? `after ${this.text}` : `at ${this.rest}`
  }
}

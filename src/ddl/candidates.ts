import type { DdlMessage, DdlObject } from '../model/ddl-message.ts'
import { textSource } from './pg-context.ts'
import { parseStatements, type Statement, stringsOf } from './statement.ts'
import type { DdlTransactionState } from './transaction.ts'

/** A statement that may be the one that fired the event. */
export interface Candidate {
  readonly statement: Statement
  /** Takes this statement as the one: later events of the same text come after it. */
  accept(): void
}

export interface Candidates {
  /** In the order in which they are to be tried. */
  readonly list: readonly Candidate[]
  /** True where only the comparison of states can tell which one it is. */
  readonly ambiguous: boolean
}

/** Finds the bodies of the SQL-language functions of a name. */
export type FindSources = (functionName: string) => Promise<readonly string[]>

/**
 * The statements that may have fired a message's event: those of its text with its command tag and, where any names
 * it, its object. The events of one string come in the order of its statements, so the search begins behind the last
 * accepted one and wraps around (a loop executes a string again).
 */
export async function findCandidates(
  message: DdlMessage,
  state: DdlTransactionState,
  findSources: FindSources,
): Promise<Candidates> {
  const texts = await textsOf(message, state, findSources)
  const list: Candidate[] = []
  const seen = new Set<string>()
  let control = false
  for (const [text, statements] of texts) {
    const group = `${message.statement_time}\n${text}`
    const next = state.ordinals.get(group) ?? 0
    const possible = statements
      .map((statement, index) => ({ statement, index }))
      .filter(({ statement }) => statement.tag === message.tag && !statement.temporary)
    const named = possible.filter(({ statement }) => namesObject(statement, message.objects))
    const chosen = named.length > 0 ? named : possible
    for (const { statement, index } of [
      ...chosen.filter((each) => each.index >= next),
      ...chosen.filter((each) => each.index < next),
    ]) {
      if (seen.has(statement.text)) continue
      seen.add(statement.text)
      list.push({ statement, accept: () => state.ordinals.set(group, index + 1) })
    }
    control ||= statements.some((statement) => statement.transactionControl)
  }
  return { list, ambiguous: list.length > 1 && (texts.length > 1 || control) }
}

/** Texts that parse, with their statements. */
async function textsOf(
  message: DdlMessage,
  state: DdlTransactionState,
  findSources: FindSources,
): Promise<[string, Statement[]][]> {
  const source = textSource(message.context)
  const parsed = (texts: readonly string[]): [string, Statement[]][] =>
    texts.flatMap((text) => {
      const statements = parseStatements(text)
      return statements?.some(({ tag }) => tag === message.tag) ? [[text, statements]] : []
    })
  switch (source.kind) {
    case 'query':
      return parsed([message.query ?? state.texts.get(message.query_hash) ?? ''])
    case 'texts':
      return parsed(source.texts)
    case 'sql function': {
      const sources = await findSources(source.name)
      // Overloaded: nothing says which one.
      if (sources.length !== 1) return []
      const statement = parseStatements(sources[0]!)?.[source.statement - 1]
      return statement?.tag === message.tag ? [[sources[0]!, [statement]]] : []
    }
    case 'none':
      return []
  }
}

/** True where a string of the parse tree is the last name of one of the objects. */
function namesObject(statement: Statement, objects: readonly DdlObject[]): boolean {
  const strings = stringsOf(statement.node)
  return objects.some(({ names }) => {
    const last = names.at(-1)
    if (last === undefined) return false
    if (strings.has(last)) return true
    // Types come as one text: schema.name, quoted where needed.
    return names.length === 1 && [...strings].some((name) => last === name || typeName(last) === name)
  })
}

function typeName(qualified: string): string {
  const match = /(?:^|\.)("(?:[^"]|"")+"|[^".]+)$/.exec(qualified)?.[1] ?? qualified
  return match.startsWith('"') ? match.slice(1, -1).replaceAll('""', '"') : match
}

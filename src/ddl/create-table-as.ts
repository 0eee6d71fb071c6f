import type { DdlMessage, ObjectState } from '../model/ddl-message.ts'
import { quoteIdentifier } from '../postgres/identifier.ts'
import { scan } from './parser.ts'
import type { Statement } from './statement.ts'

/**
 * CREATE TABLE AS or SELECT INTO as CREATE TABLE … AS … WITH NO DATA: the query is analysed, for names and types, but
 * not executed; its rows come in the stream. undefined where the statement is neither.
 */
export function withoutData(statement: Statement): string | undefined {
  const bytes = Buffer.from(statement.text, 'utf8')
  const tokens = scan(statement.text).filter(({ tokenName }) => !/COMMENT$/.test(tokenName))
  const word = (at: number): string => {
    const token = tokens.at(at)
    return token ? bytes.toString('utf8', token.start, token.end).toLowerCase() : ''
  }
  if ('CreateTableAsStmt' in statement.node) {
    const clause = word(-1) !== 'data' ? 0 : word(-2) === 'with' ? 2 : word(-3) === 'with' ? 3 : 0
    const end = tokens.at(-1 - clause)?.end ?? bytes.length
    return `${bytes.toString('utf8', 0, end)} WITH NO DATA`
  }
  const into = statement.node.SelectStmt?.intoClause as
    | { rel?: { location?: number; relpersistence?: string } }
    | undefined
  const location = into?.rel?.location
  const first = tokens.findIndex(({ start }) => start === location)
  const begin = tokens.findLastIndex((_, at) => at < first && word(at) === 'into')
  if (first < 0 || begin < 0) return undefined
  let last = first
  while (word(last + 1) === '.') last += 2
  const name = bytes.toString('utf8', tokens[first]!.start, tokens[last]!.end)
  const before = bytes.toString('utf8', 0, tokens[begin]!.start)
  const after = bytes.toString('utf8', tokens[last]!.end, tokens.at(-1)!.end)
  const unlogged = into?.rel?.relpersistence === 'u' ? 'UNLOGGED ' : ''
  return `CREATE ${unlogged}TABLE ${name} AS ${before}${after} WITH NO DATA`
}

/** False only for CREATE TABLE AS … WITH NO DATA. */
export function hasData(statement: Statement | undefined): boolean {
  const into = statement?.node.CreateTableAsStmt?.into as { skipData?: boolean } | undefined
  return into?.skipData !== true
}

/**
 * CREATE TABLE from the snapshot of a CREATE TABLE AS, for where its query can't be analysed downstream: parameters, a
 * prepared statement, a temporary or unfollowed table. Such a table has columns and options, nothing else.
 * `order`: names of the columns as far as known, in their order.
 */
export function tableFromState(message: DdlMessage, order: readonly string[] = []): string | undefined {
  const table = message.objects.find(({ type, state }) => type === 'table' && state !== null)
  if (!table?.state) return undefined
  const name = table.names.map(quoteIdentifier).join('.')
  const options = Object.entries(table.state).flatMap(([aspect, value]) =>
    aspect.startsWith('option ')
      ? [`${aspect.slice('option '.length)} = '${value.replaceAll("'", "''")}'`]
      : [],
  )
  const storage = options.length > 0 ? ` WITH (${options.join(', ')})` : ''
  return `CREATE TABLE ${name} (${columns(table.state, order).join(', ')})${storage}`
}

function columns(state: ObjectState, order: readonly string[]): string[] {
  const place = (column: string): number => {
    const at = order.findIndex((name) => quoteIdentifier(name) === column)
    return at < 0 ? order.length : at
  }
  return Object.entries(state)
    .flatMap(([aspect, type]) => {
      const column = /^column (.+)\.type$/s.exec(aspect)?.[1]
      return column === undefined ? [] : [{ column, type }]
    })
    .sort((a, b) => place(a.column) - place(b.column))
    .map(({ column, type }) => {
      const collation = state[`column ${column}.collation`]
      return `${column} ${type}${collation === undefined ? '' : ` COLLATE ${collation}`}`
    })
}

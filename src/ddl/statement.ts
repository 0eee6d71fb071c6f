import type { ParseResult } from 'libpg-query'
import { commandTag, type ParseNode } from './command-tag.ts'
import { parse, scan } from './parser.ts'

/** One statement of a text. */
export interface Statement {
  readonly text: string
  /** Raw parse tree of PostgreSQL 18's grammar, one key: the node's type. */
  readonly node: ParseNode
  /** Command tag as event triggers see it; undefined for what is no DDL. */
  readonly tag: string | undefined
  /** True where it names a temporary relation. */
  readonly temporary: boolean
  /** COMMIT, ROLLBACK, SAVEPOINT, …: what follows it may belong to another transaction. */
  readonly transactionControl: boolean
}

/** Splits a text into statements. undefined where it doesn't parse. Positions of the parser are bytes of UTF-8. */
export function parseStatements(text: string): Statement[] | undefined {
  const bytes = Buffer.from(text, 'utf8')
  let parsed: ParseResult
  try {
    if (text.trim() === '' || text.includes('\0')) return []
    parsed = parse(text)
  } catch {
    return undefined
  }
  const statements: Statement[] = []
  for (const raw of parsed.stmts ?? []) {
    const start = raw.stmt_location ?? 0
    const end = raw.stmt_len ? start + raw.stmt_len : bytes.length
    const node = raw.stmt as ParseNode | undefined
    if (!node) continue
    statements.push({
      text: bytes.toString('utf8', start, end).trim(),
      node,
      tag: commandTag(node),
      temporary: namesTemporary(node),
      transactionControl: 'TransactionStmt' in node,
    })
  }
  return statements
}

/** Every string in a parse tree: names, among others. */
export function stringsOf(tree: unknown): Set<string> {
  const strings = new Set<string>()
  for (const { value } of nodesOf(tree)) if (typeof value === 'string') strings.add(value)
  return strings
}

/** Calls `visit` for each node of a tree with the node's type and fields. */
export function walk(tree: unknown, visit: (type: string, fields: Record<string, unknown>) => void): void {
  for (const { key, value } of nodesOf(tree))
    if (/^[A-Z]/.test(key) && typeof value === 'object' && value !== null && !Array.isArray(value))
      visit(key, value as Record<string, unknown>)
}

/** All values below a tree, in no order. Not recursive: a text may be nested deeper than our stack, and still be good. */
function* nodesOf(tree: unknown): Generator<{ readonly key: string; readonly value: unknown }> {
  const waiting: unknown[] = [tree]
  while (waiting.length > 0) {
    const node = waiting.pop()
    if (typeof node !== 'object' || node === null) continue
    for (const [key, value] of Object.entries(node)) {
      yield { key: Array.isArray(node) ? '' : key, value }
      waiting.push(value)
    }
  }
}

/**
 * The statement without CONCURRENTLY (and without FINALIZE of a DETACH), which can't run in a transaction block:
 * the follower is the only writer, and the plain form is atomic with the progress.
 */
export function withoutConcurrently(statement: Statement): string {
  if (!isConcurrent(statement.node)) return statement.text
  const bytes = Buffer.from(statement.text, 'utf8')
  const words = scan(statement.text).filter((token) => token.keywordKind !== 0)
  const detach = 'AlterTableStmt' in statement.node
  const isWord = (token: { start: number; end: number }): boolean => {
    const word = bytes.toString('utf8', token.start, token.end).toLowerCase()
    return word === 'concurrently' || (detach && word === 'finalize')
  }
  // After INDEX or VIEW it comes before any name; in DETACH it is the last word.
  const word = detach ? words.findLast(isWord) : words.find(isWord)
  if (!word) return statement.text
  return Buffer.concat([bytes.subarray(0, word.start), bytes.subarray(word.end)]).toString('utf8')
}

function isConcurrent(node: ParseNode): boolean {
  for (const type of ['IndexStmt', 'DropStmt', 'RefreshMatViewStmt']) if (node[type]?.concurrent) return true
  const commands = node.AlterTableStmt?.cmds
  return (
    Array.isArray(commands) &&
    commands.some((command) => {
      const { subtype, def } = command.AlterTableCmd ?? {}
      return subtype === 'AT_DetachPartitionFinalize' || Boolean(def?.PartitionCmd?.concurrent)
    })
  )
}

/** Only the target counts: a view on a temporary table becomes temporary without saying so. */
function namesTemporary(node: ParseNode): boolean {
  const fields = Object.values(node)[0] ?? {}
  const into = fields.into as { rel?: { relpersistence?: string } } | undefined
  const target = [fields.relation, fields.sequence, fields.view, into?.rel]
  return target.some(
    (relation) => (relation as { relpersistence?: string } | undefined)?.relpersistence === 't',
  )
}

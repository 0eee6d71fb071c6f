/** Where the text of a statement is to be looked for. */
export type TextSource =
  /** current_query() is it. */
  | { readonly kind: 'query' }
  /** One of these: the text in the context is not escaped, so its end is a guess. */
  | { readonly kind: 'texts'; readonly texts: readonly string[] }
  /** The n-th statement (from 1) of an SQL-language function. */
  | { readonly kind: 'sql function'; readonly name: string; readonly statement: number }
  | { readonly kind: 'none' }

/** Bytes of text to be tried, over all guesses of the end. */
const guessLimit = 16 * 1024 * 1024

const ownFrame = /^PL\/pgSQL function .*\) line \d+ at [^\n]*$/
const ownSchema = /^PL\/pgSQL function "?follower"?\./
const statementLabel = 'SQL statement "'

/**
 * Reads GET DIAGNOSTICS … PG_CONTEXT of the event trigger function: the frame directly under our own says what ran
 * the statement. Nothing deeper is read, and labels other than PostgreSQL's untranslated ones give no text.
 * https://www.postgresql.org/docs/current/plpgsql-control-structures.html#PLPGSQL-CALL-STACK
 */
export function textSource(context: string): TextSource {
  const rest = underOwnFrames(context)
  if (rest === '') return { kind: 'query' }
  if (rest.startsWith(statementLabel)) return { kind: 'texts', texts: possibleTexts(rest) }
  const sqlFunction = /^SQL function "([^\n]*)" statement (\d{1,6})(?:\n|$)/.exec(rest)
  if (sqlFunction) return { kind: 'sql function', name: sqlFunction[1]!, statement: Number(sqlFunction[2]) }
  return { kind: 'none' }
}

/** The first frame is that of the event trigger function; it is named without schema where that is in the path. */
function underOwnFrames(context: string): string {
  let at = 0
  for (let first = true; at < context.length; first = false) {
    const newline = context.indexOf('\n', at)
    const line = newline < 0 ? context.slice(at) : context.slice(at, newline)
    if (!ownFrame.test(line) || !(first || ownSchema.test(line))) break
    at = newline < 0 ? context.length : newline + 1
  }
  return context.slice(at)
}

/** The statement ends at a quote that ends a line; which one is for the parser to say. */
function possibleTexts(rest: string): string[] {
  const texts: string[] = []
  let budget = guessLimit
  for (let end = rest.indexOf('"', statementLabel.length); end >= 0; end = rest.indexOf('"', end + 1)) {
    if (end + 1 < rest.length && rest[end + 1] !== '\n') continue
    const text = rest.slice(statementLabel.length, end)
    budget -= text.length
    if (budget < 0) break
    texts.push(text)
  }
  return texts
}

import type { ParseResult, ScanResult } from 'libpg-query'

let parser: typeof import('libpg-query') | undefined

/**
 * Loads PostgreSQL's parser (WASM); to be awaited before anything else of this file. Not before the first schema change: compiling it costs
 * a start more than all of our own code.
 */
export async function loadParser(): Promise<void> {
  if (parser) return
  const module = await import('libpg-query')
  await module.loadModule()
  parser = module
}

function loaded(): typeof import('libpg-query') {
  if (!parser) throw new Error('the parser is not loaded')
  return parser
}

/** Raw parse trees of all statements. Positions are bytes of UTF-8. Throws where the text doesn't parse. */
export function parse(text: string): ParseResult {
  return loaded().parseSync(text)
}

/** The tokens of a text, comments among them. Positions are bytes of UTF-8. Throws where the text has none. */
export function scan(text: string): ScanResult['tokens'] {
  return loaded().scanSync(text).tokens
}

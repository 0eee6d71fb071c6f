import { readFileSync } from 'node:fs'

const cache = new Map<string, string>()

/**
 * The text of a file below the package's sql/ directory: `sql('query/server')` is sql/query/server.sql.
 * src/postgres/ and dist/postgres/ are equally deep, so one relative path serves both.
 */
export function sql(path: string): string {
  let text = cache.get(path)
  if (text === undefined) {
    text = readFileSync(new URL(`../../sql/${path}.sql`, import.meta.url), 'utf8')
    cache.set(path, text)
  }
  return text
}

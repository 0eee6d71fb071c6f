import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

/** What runs: for `follower version`, the metric follower_build_info and the first line of the log. */
export interface Build {
  readonly version: string
  /** Commit of the sources, as the image's build put it into FOLLOWER_REVISION. */
  readonly revision: string
  readonly node: string
  /** Version of libpg-query: its major is the PostgreSQL major whose grammar is parsed. */
  readonly pgParser: string
}

export function readBuild(): Build {
  const require = createRequire(import.meta.url)
  return {
    version: versionOf(new URL('../../package.json', import.meta.url)),
    revision: process.env.FOLLOWER_REVISION ?? 'unknown',
    node: process.versions.node,
    pgParser: versionOf(require.resolve('libpg-query/package.json')),
  }
}

function versionOf(file: string | URL): string {
  const parsed: unknown = JSON.parse(readFileSync(file, 'utf8'))
  return parsed && typeof parsed === 'object' && 'version' in parsed ? String(parsed.version) : 'unknown'
}

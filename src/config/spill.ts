import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { leastMemoryLimit } from '../model/memory.ts'
import { ValueProblem } from './value-problem.ts'

const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']

/** Bytes of a size in PostgreSQL's units, each 1024 of the one before: `500MB`, `10 GB`. */
export function parseSize(text: string): number {
  const [, number, unit] = /^(\d+(?:\.\d+)?) ?([a-z]*)$/i.exec(text.trim()) ?? []
  const power = units.indexOf(unit ?? '')
  if (number === undefined || power < 0)
    throw new ValueProblem(`${text} is no size such as 500MB or 10GB (${units.join(', ')})`)
  return Math.floor(Number(number) * 1024 ** power)
}

/** As parseSize, for what a follow may keep in memory. */
export function parseMemory(text: string): number {
  const bytes = parseSize(text)
  if (bytes < leastMemoryLimit) throw new ValueProblem(`${text} is less than 16MB, the least`)
  return bytes
}

/** Where large transactions wait unless the user says where: systemd's CacheDirectory=, or a place for temporary files. */
export function spillDirectory(env: Readonly<Record<string, string | undefined>>): string {
  return env.CACHE_DIRECTORY?.split(':')[0] || env.TMPDIR || tmpdir()
}

/** A warning where the directory takes no files; it matters only to transactions that don't fit into memory. */
export async function spillProblem(directory: string): Promise<string | undefined> {
  try {
    await access(directory, constants.W_OK | constants.X_OK)
    return undefined
  } catch (error) {
    return `no room on disk for large transactions: ${(error as Error).message}; name a directory by --spill-directory`
  }
}

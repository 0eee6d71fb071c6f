import { availableParallelism } from 'node:os'
import { parseSize } from './spill.ts'
import { ValueProblem } from './value-problem.ts'

/** Both servers work for each of them. */
export function defaultJobs(): number {
  return Math.min(8, Math.max(2, availableParallelism()))
}

export const defaultSplit = 256 * 1024 * 1024

export function parseJobs(text: string): number {
  const jobs = Number(text)
  if (!/^\d+$/.test(text) || jobs < 1 || jobs > 64)
    throw new ValueProblem(`${text} is no number from 1 to 64`)
  return jobs
}

export function parseSplit(text: string): number {
  const bytes = parseSize(text)
  if (bytes < 8192) throw new ValueProblem(`${text} is less than a block of 8kB`)
  return bytes
}

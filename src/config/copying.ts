import { availableParallelism } from 'node:os'
import { z } from 'zod'
import { ExitCode, FollowerError } from '../errors.ts'
import type { FollowSettings, TablePattern } from '../model/follow.ts'
import { parseTables } from './names.ts'
import { parseOptions, via } from './schema.ts'
import { parseSize } from './spill.ts'
import { ValueProblem } from './value-problem.ts'

/** Both servers work for each of them; where there are few cores, one goes on while another waits for the disk. */
export function defaultJobs(): number {
  return Math.min(8, Math.max(4, availableParallelism()))
}

export const defaultSplit = 128 * 1024 * 1024

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

/** A schema is copied whole or not at all. Throws FollowerError exit 2. */
export function checkCopy(settings: FollowSettings): void {
  if (settings.copy !== 'all') return
  const parts = [
    ...(settings.tables.length > 0 ? ['--tables'] : []),
    ...(settings.publications.length > 0 ? ['--publication'] : []),
  ]
  if (parts.length === 0) return
  throw new FollowerError(`--copy all goes without ${parts.join(' and ')}`, {
    code: 'FLW-013',
    exit: ExitCode.usage,
    detail:
      'it brings the schema of the whole database: some tables alone would lack their types, functions and schemas',
    effect: 'nothing was started',
    fix: [
      `leave ${parts.join(' and ')} out`,
      'or load the schema of these tables yourself:  follower start --copy data …',
    ],
  })
}

const requestSchema = z.strictObject({ tables: via(parseNames) })

/** The tables that `follower copy` names. Throws FollowerError exit 2. */
export function readCopyRequest(tables: string | undefined): readonly TablePattern[] {
  return parseOptions(requestSchema, { tables: tables ?? '' }).tables
}

function parseNames(text: string): readonly TablePattern[] {
  if (text.trim() === '') throw new ValueProblem('which tables: public.orders,public.lines')
  const tables = parseTables(text)
  const whole = tables.find(({ table }) => table === '*')
  if (whole) throw new ValueProblem(`name the tables of ${whole.schema} one by one`)
  return tables
}

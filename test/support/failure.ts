import { expect } from 'vitest'
import type { Follower } from './follower.ts'

/** The error that a process ended with, as the last line of its log has it. */
export interface Failure {
  readonly code: string
  readonly exit: number
  readonly message: string
  readonly detail: string
  readonly effect: string
  readonly fix: string
  readonly sqlstate: string | undefined
  readonly context: Readonly<Record<string, string | number>>
}

/** A line of the JSON log. */
export interface Line {
  readonly level: string
  readonly msg: string
  readonly code?: string
  readonly err?: Omit<Failure, 'fix'> & { readonly fix: readonly string[] }
  readonly [name: string]: unknown
}

/** What the process has logged so far. */
export function log(follower: Follower): Line[] {
  return follower.stderr.flatMap((line) => (line.startsWith('{') ? [JSON.parse(line) as Line] : []))
}

/**
 * Waits for the end of the process, which must be an error with this exit code, complete: what, what it means
 * for the data, and what to do.
 */
export async function failure(follower: Follower, exit: number): Promise<Failure> {
  const ended = await follower.exit
  const last = log(follower).at(-1)
  expect(ended, follower.output).toEqual({ code: exit, signal: null })
  expect(last?.level).toBe('fatal')
  const error = last?.err
  if (!error) throw new Error(`no error in the last line:\n${follower.output}`)
  expect(error.exit).toBe(exit)
  expect(error.code).toBe(last.code)
  expect(error.code).toMatch(/^FLW-\d{3}$/)
  expect(error.message).toBe(last.msg)
  expect(error.effect).toMatch(/./)
  expect(error.fix.length).toBeGreaterThan(0)
  return { ...error, detail: error.detail ?? '', fix: error.fix.join('\n') }
}

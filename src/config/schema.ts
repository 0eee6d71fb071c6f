import { z } from 'zod'
import { ExitCode, FollowerError } from '../errors.ts'
import { unknownWord, ValueProblem } from './value-problem.ts'

/** A text that `parse` turns into a value; its ValueProblem becomes the issue. */
export function via<T>(parse: (text: string) => T) {
  return z.string().transform((text, context) => {
    try {
      return parse(text)
    } catch (error) {
      if (!(error instanceof ValueProblem)) throw error
      context.addIssue({ code: 'custom', message: error.message, input: text })
      return z.NEVER
    }
  })
}

/** One of some words. */
export function choice<const W extends string>(what: string, words: readonly W[]) {
  return via((text) => {
    const word = words.find((each) => each === text)
    if (word === undefined) throw unknownWord(text, what, words)
    return word
  })
}

/** `on` or `off`. */
export const onOff = choice('switch', ['on', 'off']).transform((word) => word === 'on')

/** The keys of options as Commander makes them of flags, back to flags. */
export function flagOf(key: string): string {
  if (key === 'identity' || key === 'wait') return `--no-${key}`
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
}

/** Parses options; every problem at once, as one FollowerError exit 2. */
export function parseOptions<T extends z.ZodType>(schema: T, options: unknown): z.output<T> {
  const result = schema.safeParse(options)
  if (result.success) return result.data
  const problems = result.error.issues.map(
    (issue) => `${flagOf(String(issue.path[0] ?? ''))}: ${issue.message}`,
  )
  const [only, ...others] = problems
  throw new FollowerError(
    others.length === 0 ? String(only) : `${problems.length} options have no valid value`,
    {
      code: 'FLW-012',
      exit: ExitCode.usage,
      ...(others.length === 0 ? {} : { detail: problems.join('\n') }),
      effect: 'nothing was started',
      fix: ['follower start --help'],
    },
  )
}

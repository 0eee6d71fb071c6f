import { ExitCode, FollowerError } from '../errors.ts'

/** What a finding says; all of them are exit 6, and nothing was changed. */
export interface Finding {
  readonly code: `FLW-${number}`
  readonly message: string
  readonly detail?: string
  readonly effect?: string
  readonly fix: readonly string[]
}

/** As the error that it becomes. */
export function finding(found: Finding): FollowerError {
  return new FollowerError(found.message, {
    code: found.code,
    exit: ExitCode.preflight,
    effect: found.effect ?? 'nothing was changed',
    fix: found.fix,
    ...(found.detail ? { detail: found.detail } : {}),
  })
}

/** Nothing for no finding, the finding itself for one, else one error that tells all of them. */
export function oneError(found: readonly FollowerError[]): FollowerError | undefined {
  if (found.length <= 1) return found[0]
  return new FollowerError(`${found.length} checks failed before anything was created`, {
    code: 'FLW-100',
    exit: ExitCode.preflight,
    detail: found
      .map((error) => [`${error.code} ${error.message}`, ...indented(error.detail)].join('\n'))
      .join('\n'),
    effect: 'nothing was changed',
    fix: found.flatMap((error) => [`${error.code}:`, ...error.fix.map((line) => `  ${line}`)]),
    context: { codes: found.map((error) => error.code).join(' ') },
  })
}

function indented(text: string | undefined): string[] {
  return text === undefined ? [] : text.split('\n').map((line) => `  ${line}`)
}

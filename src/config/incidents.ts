import { z } from 'zod'
import { ExitCode, FollowerError } from '../errors.ts'
import type { Conninfo } from '../model/conninfo.ts'
import { type Lsn, parseLsn } from '../model/lsn.ts'
import { parseConninfo } from '../postgres/conninfo.ts'
import { parseFollowName } from './names.ts'
import { parseOptions, via } from './schema.ts'
import type { Environment } from './settings.ts'
import { ValueProblem } from './value-problem.ts'

/** Commands that talk to a follow through its downstream database need no other. */
export interface DownstreamEnd {
  readonly name: string
  readonly downstream: Conninfo
}

const schema = z.strictObject({
  name: via(parseFollowName).prefault('follower'),
  downstream: z.string(),
})
const skipSchema = z.strictObject({
  lsn: via(parseExactLsn),
  reason: z.string().regex(/\S/, 'say why, for whoever asks later'),
})

/** What `retry`, `skip` and `incidents` were told of the follow. Throws FollowerError exit 2, and as parseConninfo. */
export function readDownstreamEnd(
  options: { readonly name?: string; readonly downstream?: string },
  env: Environment,
): DownstreamEnd {
  const text = options.downstream ?? env.FOLLOWER_DOWNSTREAM
  if (!text)
    throw new FollowerError('--downstream missing', {
      code: 'FLW-011',
      exit: ExitCode.usage,
      detail: 'what has stopped a follow stands in its downstream database',
      effect: 'nothing was changed',
      fix: ['say --downstream as for start, or set FOLLOWER_DOWNSTREAM'],
    })
  const { name, downstream } = parseOptions(schema, { name: options.name, downstream: text })
  return { name, downstream: parseConninfo(downstream, env) }
}

/** What `follower skip` leaves out, and why. Throws FollowerError exit 2. */
export function readSkip(options: {
  readonly lsn?: string | undefined
  readonly reason?: string | undefined
}): {
  readonly lsn: Lsn
  readonly reason: string
} {
  return parseOptions(skipSchema, { lsn: options.lsn ?? '', reason: options.reason ?? '' })
}

function parseExactLsn(text: string): Lsn {
  const lsn = parseLsn(text)
  if (lsn === undefined)
    throw new ValueProblem(`${text || 'nothing'} is not an LSN such as 16/B374D848; follower status shows it`)
  return lsn
}

import { printableLines } from './model/printable.ts'

/**
 * The one error type that reaches a user, and the exit codes of the process.
 *
 * A message says what happened; `detail` why; `effect` what it means for the data; `fix` what to run.
 * Messages of PostgreSQL are passed on verbatim with their SQLSTATE.
 */

/** Exit codes of the process. systemd must not restart on 2, 3, 6, 7 and 8. */
export const ExitCode = {
  ok: 0,
  internal: 1,
  usage: 2,
  config: 3,
  upstream: 4,
  downstream: 5,
  preflight: 6,
  slot: 7,
  apply: 8,
  threshold: 9,
  differs: 10,
  held: 11,
  timeout: 12,
} as const

export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode]

export interface FollowerErrorOptions {
  /** `FLW-nnn`, stable, documented in docs/errors.md. */
  code: `FLW-${number}`
  exit: ExitCode
  /** Why: facts that were measured, one line each. */
  detail?: string | undefined
  /** What it means for the data. */
  effect?: string | undefined
  /** Commands or SQL that remedy it, in order. */
  fix?: readonly string[]
  /** SQLSTATE of the server's error, if a server reported it. */
  sqlstate?: string | undefined
  /** Places and names for machines: lsn, xid, relation, key, … Never a secret, never a row value. */
  context?: Readonly<Record<string, string | number>>
  /** True where trying again later may succeed without anybody's act. */
  transient?: boolean
  /** The row at fault, by column: for the incident table, where the user asked for it. Never logged. */
  row?: Readonly<Record<string, string | null>> | undefined
  cause?: unknown
}

export class FollowerError extends Error {
  override readonly name = 'FollowerError'
  readonly code: `FLW-${number}`
  readonly exit: ExitCode
  readonly detail: string | undefined
  readonly effect: string | undefined
  readonly fix: readonly string[]
  readonly sqlstate: string | undefined
  readonly context: Readonly<Record<string, string | number>>
  readonly transient: boolean
  readonly row: Readonly<Record<string, string | null>> | undefined

  constructor(message: string, options: FollowerErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = options.code
    this.exit = options.exit
    this.detail = options.detail
    this.effect = options.effect
    this.fix = options.fix ?? []
    this.sqlstate = options.sqlstate
    this.context = options.context ?? {}
    this.transient = options.transient ?? false
    this.row = options.row
  }

  /** The form for machines. */
  toJSON(): Record<string, unknown> {
    return {
      code: this.code,
      message: this.message,
      detail: this.detail,
      effect: this.effect,
      fix: this.fix,
      sqlstate: this.sqlstate,
      context: this.context,
    }
  }
}

/** The form for people: `error[FLW-207]: what`, then indented detail, effect and fix lines. */
export function formatError(error: FollowerError): string {
  const lines = [`error[${error.code}]: ${error.message}`]
  const add = (label: string, text: string): void => {
    const [first, ...rest] = text.split('\n')
    lines.push(`  ${label.padEnd(8)} ${first}`, ...rest.map((line) => `           ${line}`))
  }
  if (error.detail) add('detail', error.detail)
  if (error.sqlstate) add('sqlstate', error.sqlstate)
  if (error.effect) add('effect', error.effect)
  if (error.fix.length > 0) add('fix', error.fix.join('\n'))
  add('more', `docs/errors.md, ${error.code}`)
  // Names of tables, and what servers say of them, are somebody else's.
  return printableLines(lines.join('\n'))
}

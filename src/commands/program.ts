import { Command, CommanderError } from 'commander'
import { ExitCode, FollowerError, formatError } from '../errors.ts'
import { readBuild } from '../telemetry/build.ts'
import { redact } from '../telemetry/redact.ts'
import { addCleanup } from './cleanup.ts'
import { addCopy } from './copy.ts'
import { addIncidents } from './incidents.ts'
import type { Outcome } from './outcome.ts'
import { addPrint } from './print.ts'
import { addStart } from './start.ts'
import { addStatus } from './status.ts'
import { addVersion, versionLine } from './version.ts'

const examples = `
Examples:
  follower start --upstream postgres://app@db1/shop --downstream postgres://app@db2/shop
  follower status --upstream postgres://app@db1/shop --downstream postgres://app@db2/shop
  follower start --help`

/** Runs one command line (without node and script); resolves with the process's exit code. */
export async function main(args: readonly string[]): Promise<number> {
  const outcome: Outcome = { exit: ExitCode.ok }
  try {
    await createProgram(outcome).parseAsync(args, { from: 'user' })
    return outcome.exit
  } catch (error) {
    // Help that was asked for ends with 0; help since no command was given is a usage error.
    if (error instanceof CommanderError && /^commander\.(help|helpDisplayed|version)$/.test(error.code))
      return error.exitCode === 0 ? ExitCode.ok : ExitCode.usage
    return report(asFollowerError(error), args.includes('--json'))
  }
}

function createProgram(outcome: Outcome): Command {
  const program = new Command('follower')
    .description(
      'One command makes one PostgreSQL database follow another, rows and schema, and keeps it so.',
    )
    .version(versionLine(readBuild()), '--version', 'what is installed')
    .exitOverride()
    .configureOutput({ outputError: () => {} })
    .addHelpText('after', examples)
  addStart(program, outcome)
  addStatus(program, outcome)
  addIncidents(program, outcome)
  addCopy(program)
  addCleanup(program, outcome)
  addPrint(program, outcome)
  addVersion(program)
  return program
}

/** Errors are for people on stderr, and for machines on stdout where they asked for JSON. */
function report(error: FollowerError, json: boolean): ExitCode {
  if (json)
    process.stdout.write(
      `${redact(JSON.stringify({ schema: 'follower.error/1', exit: error.exit, error }))}\n`,
    )
  else process.stderr.write(`${redact(formatError(error))}\n`)
  return error.exit
}

function asFollowerError(error: unknown): FollowerError {
  if (error instanceof FollowerError) return error
  if (error instanceof CommanderError) {
    const [first = '', ...rest] = error.message.replace(/^error: /, '').split('\n')
    const near = /Did you mean (?:one of )?(.*)\?/.exec(rest.join(' '))?.[1]
    return new FollowerError(first, {
      code: 'FLW-010',
      exit: ExitCode.usage,
      effect: 'nothing was started',
      fix: [...(near ? [`did you mean ${near}?`] : []), 'follower --help'],
      cause: error,
    })
  }
  return new FollowerError(`internal error: ${error instanceof Error ? error.message : String(error)}`, {
    code: 'FLW-900',
    exit: ExitCode.internal,
    ...(error instanceof Error && error.stack ? { detail: error.stack } : {}),
    fix: ['please report it with the text above'],
    cause: error,
  })
}

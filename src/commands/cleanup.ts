import { createInterface } from 'node:readline/promises'
import type { Command } from 'commander'
import { type FollowEnds, readFollowEnds } from '../config/settings.ts'
import { ExitCode, FollowerError } from '../errors.ts'
import { printableLines } from '../model/printable.ts'
import { cleanup } from '../provision/cleanup.ts'
import { redact } from '../telemetry/redact.ts'
import { addEnds, type EndOptions, warn } from './ends.ts'
import type { Outcome } from './outcome.ts'
import { withReachable } from './reach.ts'

const examples = `
Examples:
  follower cleanup --upstream postgres://app@db1/shop --downstream postgres://app@db2/shop
  follower cleanup --name shop --upstream "host=db1 dbname=shop" --downstream "host=db2 dbname=shop" --yes

Tables and rows stay as they are, at both ends. To follow again, the downstream needs a new copy.
Exit codes: 0 removed; 4 or 5 an end is out of reach, the other one was cleaned; 11 a follower is running.`

/** `follower cleanup`: removes what start made at both ends. */
export function addCleanup(program: Command, outcome: Outcome): void {
  addEnds(program.command('cleanup').description('end a follow: remove what start made at both ends'))
    .option('--yes', 'do not ask')
    .option('--json', 'as JSON, schema follower.cleanup/1')
    .addHelpText('after', examples)
    .action(async ({ yes, json, ...options }: EndOptions & { yes?: true; json?: true }) => {
      const follow = readFollowEnds(options, process.env)
      warn(options)
      if (!yes) await confirm(follow)
      const { createLogger } = await import('../telemetry/log.ts')
      const log = createLogger({ level: 'warn', format: 'auto' })
      await withReachable(follow, 'cleanup', async ({ ends, failures }) => {
        const report = await cleanup(follow, ends, log)
        for (const failure of failures)
          process.stderr.write(`warning: ${printableLines(redact(failure.message))}\n`)
        if (json) process.stdout.write(`${JSON.stringify({ schema: 'follower.cleanup/1', ...report })}\n`)
        else {
          const lines = [
            ...report.removed.map((each) => `removed  ${each}`),
            ...report.remains.map((each) => `remains  ${each}`),
          ]
          process.stdout.write(
            `${printableLines(lines.join('\n')) || `nothing of ${follow.name} is there`}\n`,
          )
        }
        outcome.exit = failures[0]?.exit ?? ExitCode.ok
      })
    })
}

/** Asks a person on a terminal; anybody else has to say --yes. */
async function confirm(follow: FollowEnds): Promise<void> {
  const effect = `the position of ${follow.name} is forgotten: to follow again, the downstream needs a new copy`
  const refuse = (message: string) =>
    new FollowerError(message, {
      code: 'FLW-015',
      exit: ExitCode.usage,
      detail: `${follow.upstream.display} → ${follow.downstream.display}\n${effect}`,
      effect: 'nothing was removed',
      fix: ['follower cleanup --yes …'],
    })
  if (!process.stdin.isTTY) throw refuse('cleanup needs --yes where nobody can be asked')
  const prompt = createInterface({ input: process.stdin, output: process.stderr })
  try {
    const answer = await prompt.question(
      `End the follow ${follow.name} (${follow.upstream.display} → ${follow.downstream.display})?\n${effect}. [y/N] `,
    )
    if (!/^y(es)?$/i.test(answer.trim())) throw refuse('cleanup was not confirmed')
  } finally {
    prompt.close()
  }
}

import type { Command } from 'commander'
import { readFollowEnds } from '../config/settings.ts'
import { ExitCode, type FollowerError } from '../errors.ts'
import { printableLines } from '../model/printable.ts'
import { type FollowPhase, readState } from '../provision/state.ts'
import { redact } from '../telemetry/redact.ts'
import { addEnds, type EndOptions, warn } from './ends.ts'
import type { Outcome } from './outcome.ts'
import { withReachable } from './reach.ts'
import { statusText } from './status-text.ts'

const examples = `
Examples:
  follower status --upstream postgres://app@db1/shop --downstream postgres://app@db2/shop
  follower status --name shop --upstream "host=db1 dbname=shop" --downstream "host=db2 dbname=shop" --json | jq .lagBytes

Exit codes: 0 following, starting or stopped; 2 no such follow; 4 or 5 an end is out of reach; 7 the slot is lost or missing;
8 a transaction can't be applied.`

/** `follower status`: reads both databases, with or without a running daemon. */
export function addStatus(program: Command, outcome: Outcome): void {
  addEnds(program.command('status').description('show a follow, read from its two databases'))
    .option('--json', 'as JSON, schema follower.status/1')
    .addHelpText('after', examples)
    .action(async ({ json, ...options }: EndOptions & { json?: true }) => {
      const follow = readFollowEnds(options, process.env)
      warn(options)
      await withReachable(follow, 'status', async ({ ends, failures }) => {
        const status = await readState(follow, ends)
        for (const failure of failures)
          process.stderr.write(`warning: ${printableLines(redact(failure.message))}\n`)
        process.stdout.write(`${json ? JSON.stringify(status) : statusText(status)}\n`)
        outcome.exit = exitOf(status.state, failures)
      })
    })
}

function exitOf(state: FollowPhase, failures: readonly FollowerError[]): ExitCode {
  if (state === 'slot lost' || state === 'slot missing') return ExitCode.slot
  if (failures[0]) return failures[0].exit
  if (state === 'halted') return ExitCode.apply
  return state === 'absent' ? ExitCode.usage : ExitCode.ok
}

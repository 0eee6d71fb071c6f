import { type Command, Option } from 'commander'
import { readGrantsSettings } from '../config/grants.ts'
import { ExitCode } from '../errors.ts'
import type { Conninfo } from '../model/conninfo.ts'
import { printableLines } from '../model/printable.ts'
import { downstreamGrants, ownersOf, upstreamGrants } from '../provision/grants.ts'
import { listableTables } from '../provision/listing.ts'
import { captureScript } from '../provision/objects.ts'
import { redact } from '../telemetry/redact.ts'
import { addEnds, type EndOptions, repeated, warn } from './ends.ts'
import type { Outcome } from './outcome.ts'
import { withReachable } from './reach.ts'

const captureExamples = `
Examples:
  follower print capture --role app_follower | psql -X -v ON_ERROR_STOP=1 "host=db1 dbname=shop user=postgres"

Run it again after an upgrade of follower. It connects to nothing by itself.`

const grantsExamples = `
Examples:
  follower print grants --upstream postgres://f@db1/shop --downstream postgres://f@db2/shop
  follower print grants --upstream "$UP" --downstream "$DOWN" --tables 'public.*' --end upstream | psql -X "host=db1 dbname=shop user=postgres"

Reads both databases and changes nothing. What is there already is printed as a comment.
Exit codes: 0 printed; 4 or 5 an end is out of reach, the other one was printed.`

/** `follower print …`: SQL for whoever may do what follower's roles may not. */
export function addPrint(program: Command, outcome: Outcome): void {
  const print = program.command('print').description('print the SQL that a superuser has to run')
  print
    .command('capture')
    .description('what captures schema changes upstream, for a role that is no superuser')
    .addOption(new Option('--role <role>', 'the upstream role of the follow (default: a superuser)'))
    .addHelpText('after', captureExamples)
    .action(({ role }: { role?: string }) => {
      process.stdout.write(`${captureScript(role)}\n`)
    })
  addEnds(print.command('grants').description('what the roles of a follow lack at both ends'))
    .addOption(new Option('--tables <list>', 'as of start (repeatable; default: all)').argParser(repeated))
    .addOption(new Option('--upstream-role <role>', 'default: the user of --upstream'))
    .addOption(new Option('--downstream-role <role>', 'default: the user of --downstream'))
    .addOption(new Option('--end <end>', 'upstream or downstream only (default: both)'))
    .addHelpText('after', grantsExamples)
    .action(async (options: EndOptions & Record<string, unknown>) => {
      const { follow, tables, roles, ends: wanted } = readGrantsSettings(options, process.env)
      warn(options)
      await withReachable(follow, 'print', async ({ ends, failures }) => {
        const { upstream, downstream } = ends
        const scripts: string[] = []
        if (upstream && wanted.includes('upstream'))
          scripts.push(await upstreamGrants(upstream, of(follow.upstream, roles.upstream), tables))
        if (downstream && wanted.includes('downstream')) {
          const above = upstream ? await listableTables(upstream, { tables }, []) : []
          const authors = ownersOf(above.filter((table) => !table.ownerIsSuperuser))
          scripts.push(
            await downstreamGrants(downstream, of(follow.downstream, roles.downstream), tables, authors),
          )
        }
        for (const failure of failures)
          process.stderr.write(`warning: ${printableLines(redact(failure.message))}\n`)
        process.stdout.write(scripts.map((text) => `${text}\n`).join('\n'))
        outcome.exit = failures[0]?.exit ?? ExitCode.ok
      })
    })
}

function of({ host, port, database }: Conninfo, role: string): { role: string; place: string } {
  return { role, place: `host=${host} port=${port} dbname=${database}` }
}

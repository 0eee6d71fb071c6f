import type { Command } from 'commander'
import { readDownstreamEnd, readSkip } from '../config/incidents.ts'
import { ExitCode, FollowerError } from '../errors.ts'
import { formatLsn } from '../model/lsn.ts'
import { askRetry, askSkip, readIncidents, readSkips } from '../provision/incidents.ts'
import { isFollowed } from '../provision/lock.ts'
import { addEnds, type EndOptions, warn } from './ends.ts'
import { incidentsText, incidentText } from './incident-text.ts'
import type { Outcome } from './outcome.ts'
import { withDownstream } from './reach.ts'

const retryExamples = `
Examples:
  follower retry --downstream postgres://app@db2/shop
  follower retry --name shop --downstream "host=db2 dbname=shop"

Only the downstream is needed. Exit codes: 0 asked, or nothing has stopped the follow; 5 the downstream is out of reach.`

const skipExamples = `
Examples:
  follower skip --downstream postgres://app@db2/shop --lsn 4C/5D00F3E8 --reason "test rows, agreed with Ann"

Leaves out exactly the transaction that has stopped the follow, for good: all its rows and schema changes. The LSN is the one that
follower status shows. What comes later may need what is left out. Only the downstream is needed.
Exit codes: 0 asked; 2 the follow is not stopped there: nothing is skipped; 5 the downstream is out of reach.`

const incidentsExamples = `
Examples:
  follower incidents list --downstream postgres://app@db2/shop
  follower incidents show 17 --downstream postgres://app@db2/shop --json

Exit codes: 0 shown; 2 no such incident; 5 the downstream is out of reach.`

const shown = 50

type Options = EndOptions & { readonly json?: true }

/** `follower retry`, `skip` and `incidents`: what has stopped a follow, through its downstream database. */
export function addIncidents(program: Command, outcome: Outcome): void {
  addEnds(program.command('retry').description('try again now what has stopped a follow'))
    .option('--json', 'as JSON, schema follower.retry/1')
    .addHelpText('after', retryExamples)
    .action(retry)
  addEnds(
    program.command('skip').description('leave out, for good, the transaction that has stopped a follow'),
  )
    .option('--lsn <lsn>', 'the end of its commit, as follower status shows it')
    .option('--reason <text>', 'kept with it')
    .option('--json', 'as JSON, schema follower.skip/1')
    .addHelpText('after', skipExamples)
    .action(skip)
  const incidents = program
    .command('incidents')
    .description('what has stopped a follow, and what was skipped')
  addEnds(incidents.command('list').description('the latest incidents and skips'))
    .option('--json', 'as JSON, schema follower.incidents/1')
    .addHelpText('after', incidentsExamples)
    .action(list)
  addEnds(incidents.command('show').description('one incident in full').argument('<id>'))
    .option('--json', 'as JSON, schema follower.incident/1')
    .addHelpText('after', incidentsExamples)
    .action(async (id: string, options: Options) => {
      outcome.exit = await show(id, options)
    })
}

async function retry({ json, ...options }: Options): Promise<void> {
  const end = readDownstreamEnd(options, process.env)
  warn(options)
  await withDownstream(end, 'retry', async (client) => {
    const incident = await askRetry(client, end.name)
    const running = await isFollowed(client, end.name)
    const text =
      incident === undefined
        ? `nothing has stopped ${end.name}`
        : `incident ${incident} of ${end.name} is tried again ${running ? 'now' : 'at the next start: no follower is running'}`
    write(json, { schema: 'follower.retry/1', name: end.name, incident: incident ?? null, running }, text)
  })
}

async function skip({
  json,
  lsn: lsnText,
  reason: reasonText,
  ...options
}: Options & { lsn?: string; reason?: string }): Promise<void> {
  const { lsn, reason } = readSkip({ lsn: lsnText, reason: reasonText })
  const end = readDownstreamEnd(options, process.env)
  warn(options)
  await withDownstream(end, 'skip', async (client) => {
    const result = await askSkip(client, end.name, lsn, reason)
    const running = await isFollowed(client, end.name)
    const text = `the transaction at ${formatLsn(lsn)} is skipped ${running ? 'now' : 'at the next start: no follower is running'}${result === 'asked' ? '' : ' (it was asked for already)'}`
    write(json, { schema: 'follower.skip/1', name: end.name, lsn: formatLsn(lsn), running }, text)
  })
}

async function list({ json, ...options }: Options): Promise<void> {
  const end = readDownstreamEnd(options, process.env)
  warn(options)
  await withDownstream(end, 'incidents', async (client) => {
    const incidents = await readIncidents(client, end.name, shown)
    const skips = await readSkips(client, end.name, shown)
    const { name } = end
    write(json, { schema: 'follower.incidents/1', name, incidents, skips }, incidentsText(incidents, skips))
  })
}

async function show(id: string, { json, ...options }: Options): Promise<ExitCode> {
  const end = readDownstreamEnd(options, process.env)
  warn(options)
  await withDownstream(end, 'incidents', async (client) => {
    const all = await readIncidents(client, end.name, Number.MAX_SAFE_INTEGER)
    const incident = all.find((each) => String(each.id) === id)
    if (!incident) throw noIncident(end.name, id)
    write(json, { schema: 'follower.incident/1', name: end.name, incident }, incidentText(incident))
  })
  return ExitCode.ok
}

function noIncident(name: string, id: string): FollowerError {
  return new FollowerError(`the follow "${name}" has no incident ${id}`, {
    code: 'FLW-341',
    exit: ExitCode.usage,
    effect: 'nothing was changed',
    fix: [`follower incidents list --name ${name} …`],
  })
}

function write(json: true | undefined, data: object, text: string): void {
  process.stdout.write(`${json ? JSON.stringify(data) : text}\n`)
}

import { type Command, Option } from 'commander'
import { readStartSettings } from '../config/settings.ts'
import { spillProblem } from '../config/spill.ts'
import { addEnds, argvWarnings, type EndOptions, repeated } from './ends.ts'
import type { Outcome } from './outcome.ts'

const examples = `
Examples:
  follower start --upstream postgres://app@db1/shop --downstream postgres://app@db2/shop
  follower start --name shop --upstream "host=db1 dbname=shop" --downstream "host=db2 dbname=shop" --tables 'public.*,audit.log'
  follower start --upstream "$UP" --downstream "$DOWN" --until now      # catch up, then exit 0
  follower start --upstream "$UP" --downstream "$DOWN" --on-conflict insert_exists=skip

Passwords: a passfile (PGPASSFILE, ~/.pgpass), PGPASSWORD or FOLLOWER_UPSTREAM, not the command line.
Signals: the first SIGTERM or SIGINT stops in order (exit 0), the second one at once (exit 143 or 130).
Exit codes: docs/cli.md. Errors: docs/errors.md.`

/** Descriptions in the order of --help; the values are checked in src/config/settings.ts. */
const options: readonly (readonly [flags: string, description: string])[] = [
  ['--ddl <switch>', 'on or off: replay schema changes (default: on)'],
  ['--until <position>', 'end once this is applied: now, or an LSN (default: never)'],
  [
    '--copy <what>',
    'all: schema and rows; data: rows into tables that are there; none: they are your business',
  ],
  ['--copy-jobs <n>', 'copy so many tables, or parts of them, at a time (default: by cores, 4 to 8)'],
  ['--copy-split <size>', 'copy larger tables in parts of this size (default: 128MB)'],
  ['--pg-dump <path>', 'the pg_dump that reads the schema; none: without (default: one that fits, or none)'],
  ['--no-owner', 'what is copied belongs to the downstream role (default: owners are kept)'],
  ['--no-privileges', 'no GRANTs are copied'],
  ['--overwrite', 'remove the rows that are downstream before the copy (default: refuse)'],
  ['--no-identity <mode>', 'tables without a replica identity: refuse, full or insert-only'],
  [
    '--on-rewrite <mode>',
    'a schema change that computes new values for rows: halt or replay (default: halt)',
  ],
  [
    '--ordinary-triggers <mode>',
    'where the role may not set session_replication_role, at a table with triggers: halt or fire (default: halt)',
  ],
  [
    '--on-error <mode>',
    'what cannot be applied: halt (wait for the remedy, try again) or exit 8 (default: halt; with --until: exit)',
  ],
  ['--incident-rows', 'keep the row at fault in follower.incident downstream (default: its key only)'],
  [
    '--streaming <switch>',
    'on or off: large transactions are sent before their commit (default: on with pgoutput)',
  ],
  ['--synchronous-commit <switch>', 'on or off, downstream; exactly once with both (default: on)'],
  ['--backlog <way>', 'pull a large one in windows, or stream it (default: pull)'],
  [
    '--plugin <name>',
    'what decodes the WAL upstream: pgoutput, or wal2json with its limits (default: pgoutput)',
  ],
  ['--nan-as-null', 'with wal2json: NaN and Infinity of numbers become NULL (default: refuse)'],
  [
    '--binary <switch>',
    'on or off: values in binary where types allow it; quicker, the same bytes (default: on)',
  ],
  ['--slot <name>', 'use this slot, which exists (default: make one)'],
  ['--application-name <name>', 'of the connections (default: follower/NAME)'],
  ['--no-wait', 'exit 11 where another follower holds the follow (default: wait)'],
  ['--accept-new-upstream', 'the upstream was moved on purpose (pg_upgrade, restore): take it as the same'],
  [
    '--spill-directory <path>',
    'where large transactions wait (default: $CACHE_DIRECTORY, or temporary files)',
  ],
  ['--memory-limit <size>', 'of buffers, such as 256MB (default: 128MB)'],
  ['--spill-limit <size>', 'of one transaction on disk, such as 50GB (default: what the disk holds)'],
  [
    '--web-listen <address>',
    'metrics and probes: host:port or off (default: 127.0.0.1:9577) [FOLLOWER_WEB_LISTEN]',
  ],
  [
    '--log-level <level>',
    'trace, debug, info, warn, error, fatal or silent (default: info) [FOLLOWER_LOG_LEVEL]',
  ],
  ['--log-format <format>', 'auto, json or pretty (default: auto: pretty on a terminal)'],
]
const repeatable: typeof options = [
  ['--tables <list>', 'these only: public.orders,"My schema".* (repeatable; default: all)'],
  ['--publication <list>', 'use these publications, which exist (repeatable; default: make one)'],
  ['--on-conflict <list>', 'insert_exists=skip,update_missing=overwrite, … (repeatable; default: halt)'],
]

/** `follower start`: the daemon, in the foreground. */
export function addStart(program: Command, outcome: Outcome): void {
  const command = program.command('start').description('follow: rows and schema, exactly once, until stopped')
  addEnds(command)
  for (const [flags, description] of repeatable)
    command.addOption(new Option(flags, description).argParser(repeated))
  for (const [flags, description] of options) {
    const option = new Option(flags, description)
    // Commander takes every --no-… for a switch that is on by default.
    command.addOption(flags.startsWith('--no-identity') ? option.default('refuse') : option)
  }
  command.addHelpText('after', examples).action(async (given: EndOptions & Record<string, unknown>) => {
    const { follow, daemon } = readStartSettings(given, process.env)
    const warnings = await Promise.all([
      follow.upstream.passfileProblem?.(),
      follow.downstream.passfileProblem?.(),
      spillProblem(follow.spill.directory),
    ])
    const problems = [...new Set(warnings)].filter((problem) => problem !== undefined)
    // Half of what there is to load, and no other command needs it.
    const { runDaemon } = await import('../daemon/daemon.ts')
    outcome.exit = await runDaemon(follow, daemon, [...argvWarnings(given), ...problems])
  })
}

import { type Command, Option } from 'commander'
import { carriesPassword } from '../config/argv.ts'

/** Collects the values of an option that may be given several times. */
export function repeated(value: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), value]
}

/** What Commander makes of the options of addEnds. */
export interface EndOptions {
  readonly name?: string
  readonly upstream?: string
  readonly downstream?: string
}

/** The options that every command about a follow has. */
export function addEnds(command: Command): Command {
  return command
    .addOption(new Option('--name <name>', 'name of the follow, and of its slot (default: follower)'))
    .addOption(
      new Option(
        '--upstream <conninfo>',
        'database to follow: URI or keyword=value text [FOLLOWER_UPSTREAM]',
      ),
    )
    .addOption(new Option('--downstream <conninfo>', 'database that follows [FOLLOWER_DOWNSTREAM]'))
}

/** One warning for each conninfo whose password stood on the command line. */
export function argvWarnings(options: EndOptions): string[] {
  return (['upstream', 'downstream'] as const).flatMap((end) => {
    const text = options[end]
    if (text === undefined || !carriesPassword(text)) return []
    return [
      `--${end} has a password on the command line, where shells keep it; use a passfile or FOLLOWER_${end.toUpperCase()}`,
    ]
  })
}

/** argvWarnings on stderr, for commands without a log. */
export function warn(options: EndOptions): void {
  for (const warning of argvWarnings(options)) process.stderr.write(`warning: ${warning}\n`)
}

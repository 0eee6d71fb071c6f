import { type Command, Option } from 'commander'
import { carriesPassword } from '../config/argv.ts'

/** Collects the values of an option that may be given several times. */
export function repeated(value: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), value]
}

/** The options that every command about a follow has. */
export function addEnds(command: Command): Command {
  return command
    .addOption(new Option('--name <name>', 'name of the follow, and of its slot (default: follower)'))
    .addOption(
      new Option(
        '--upstream <conninfo>',
        'database to follow: URI, keyword=value or service=… [FOLLOWER_UPSTREAM]',
      ),
    )
    .addOption(new Option('--downstream <conninfo>', 'database that follows [FOLLOWER_DOWNSTREAM]'))
}

/** One warning for each conninfo whose password stood on the command line. */
export function argvWarnings(options: Readonly<Record<string, unknown>>): string[] {
  return ['upstream', 'downstream'].flatMap((end) => {
    const text = options[end]
    if (typeof text !== 'string' || !carriesPassword(text)) return []
    return [
      `--${end} has a password on the command line, where shells keep it; use a passfile or FOLLOWER_${end.toUpperCase()}`,
    ]
  })
}

import type { Command } from 'commander'
import { type Build, readBuild } from '../telemetry/build.ts'

/** One line for people: what `follower --version` says, too. */
export function versionLine({ version, revision, node, pgParser }: Build): string {
  return `follower ${version} (revision ${revision}, node ${node}, PostgreSQL grammar ${pgParser})`
}

/** `follower version`. */
export function addVersion(program: Command): void {
  program
    .command('version')
    .description('what is installed')
    .option('--json', 'as JSON')
    .addHelpText('after', '\nExamples:\n  follower version\n  follower version --json')
    .action(({ json }: { json?: true }) => {
      const build = readBuild()
      process.stdout.write(
        `${json ? JSON.stringify({ schema: 'follower.version/1', ...build }) : versionLine(build)}\n`,
      )
    })
}

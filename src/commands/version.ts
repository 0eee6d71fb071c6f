import type { Command } from 'commander'
import { readBuild } from '../telemetry/build.ts'

/** `follower version`. */
export function addVersion(program: Command): void {
  program
    .command('version')
    .description('what is installed')
    .option('--json', 'as JSON')
    .addHelpText('after', '\nExamples:\n  follower version\n  follower version --json')
    .action(({ json }: { json?: true }) => {
      const { version, revision, node, pgParser } = readBuild()
      process.stdout.write(
        json
          ? `${JSON.stringify({ schema: 'follower.version/1', version, revision, node, pgParser })}\n`
          : `follower ${version} (revision ${revision}, node ${node}, PostgreSQL grammar ${pgParser})\n`,
      )
    })
}

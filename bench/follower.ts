import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { noWays, type Ways } from '../src/apply/ways.ts'
import type { Consumer } from './consumer.ts'
import { run } from './sql.ts'

/** dist/ of the project; this file runs from .cache/bench/bench. */
const cli = fileURLToPath(new URL('../../../dist/cli.js', import.meta.url))

/** For a look inside, as `--cpu-prof --cpu-prof-dir=profiles`. */
const nodeOptions = process.env.BENCH_NODE_OPTIONS?.split(' ') ?? []

/** This project, with its defaults and the arguments given. */
export function follower(name: string, args: readonly string[] = []): Consumer {
  return {
    name,
    plugin: 'pgoutput',
    applies: true,
    async start(place, begun) {
      const child = spawn(
        process.execPath,
        [
          ...nodeOptions,
          cli,
          ...['start', '--upstream', place.up.conninfo(place.upstreamDatabase)],
          ...['--downstream', place.down.conninfo(place.downstreamDatabase), '--name', place.slot],
          ...['--slot', place.slot, '--publication', 'bench', '--ddl', 'off', '--copy', 'none'],
          ...['--log-format', 'json', '--web-listen', '127.0.0.1:0', ...args],
        ],
        { stdio: ['ignore', 'pipe', 'pipe'] },
      )
      const said: string[] = []
      const following = new Promise<void>((resolve, reject) => {
        for (const stream of [child.stdout, child.stderr])
          createInterface({ input: stream }).on('line', (line) => {
            said.push(line)
            // The stream has been asked for: what it took to come this far is shown as its start.
            if (line.includes('"following ')) resolve()
          })
        child.once('exit', () => reject(new Error(`follower ended:\n${said.slice(-20).join('\n')}`)))
      })
      await following
      begun()
      return {
        pids: [child.pid!],
        ways: () => waysOf(said),
        stop: async () => {
          if (child.exitCode !== null) throw new Error(`follower ended:\n${said.slice(-20).join('\n')}`)
          child.kill('SIGTERM')
          await once(child, 'exit')
          // The publication for all tables has it, too, and a subscription that is made later would miss it.
          await run(place.up.conninfo(place.upstreamDatabase), 'DROP SCHEMA follower CASCADE')
        },
      }
    },
  }
}

/** From the metrics, whose address it has logged. Throws where nothing is counted. */
async function waysOf(said: readonly string[]): Promise<Ways> {
  const url = said.map((line) => /"web":"([^"]+)"/.exec(line)?.[1]).find((it) => it !== undefined)
  if (url === undefined) throw new Error('follower has logged no address of its metrics')
  const text = await (await fetch(`${url}/metrics`)).text()
  const ways = noWays()
  for (const [, way, n] of text.matchAll(/^follower_apply_rows_by_way_total\{.*way="(\w+)"\} (\d+)/gm))
    ways[way as keyof Ways] += Number(n)
  if (ways.copied + ways.net + ways.ordered === 0) throw new Error('the metrics of follower count no changes')
  return ways
}

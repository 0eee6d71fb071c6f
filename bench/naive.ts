import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Consumer } from './consumer.ts'

const program = fileURLToPath(new URL('./naive-daemon.js', import.meta.url))

/** What the npm package pg-logical-replication alone would do: each row a statement that is waited for. */
export const naive: Consumer = {
  name: 'naive, pg-logical-replication',
  plugin: 'pgoutput',
  applies: true,
  mayDiffer: true,
  async start(place, begun) {
    const child = spawn(
      process.execPath,
      [
        program,
        place.up.conninfo(place.upstreamDatabase),
        place.down.conninfo(place.downstreamDatabase),
        place.slot,
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    )
    await new Promise<void>((resolve, reject) => {
      createInterface({ input: child.stdout }).once('line', () => resolve())
      child.once('exit', (code) => reject(new Error(`the naive follower ended with ${code}`)))
    })
    begun()
    return {
      pids: [child.pid!],
      stop: async () => {
        if (child.exitCode !== null) throw new Error(`the naive follower ended with ${child.exitCode}`)
        child.kill('SIGKILL')
        await once(child, 'exit')
      },
    }
  },
}

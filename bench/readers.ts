import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { debianBinDir } from '../src/demo/binaries.ts'
import type { Consumer } from './consumer.ts'
import { run } from './sql.ts'

/** Debian's, since the embedded PostgreSQL has no client programs. */
const program = debianBinDir(15) && `${debianBinDir(15)}/pg_recvlogical`

/**
 * PostgreSQL's own reader of a slot, which throws everything away: nothing that reads the walsender is faster. Undefined
 * where it is not installed.
 * https://www.postgresql.org/docs/current/app-pgrecvlogical.html
 */
export const recvlogical: Consumer | undefined = program
  ? {
      name: 'pg_recvlogical to /dev/null',
      plugin: 'pgoutput',
      applies: false,
      async start(place, begun) {
        const [end] = await run(
          place.up.conninfo(place.upstreamDatabase),
          'SELECT pg_current_wal_flush_lsn() AS lsn',
        )
        begun()
        const child = spawn(
          program,
          [
            ...[
              '-d',
              place.up.conninfo(place.upstreamDatabase),
              '--slot',
              place.slot,
              '--start',
              '-f',
              '/dev/null',
            ],
            ...['-o', 'proto_version=1', '-o', 'publication_names=bench', '-o', 'binary=true'],
            ...['--no-loop', '--endpos', String(end?.lsn)],
          ],
          { stdio: ['ignore', 'ignore', 'inherit'] },
        )
        const done = once(child, 'exit').then(([code]) => {
          if (code !== 0) throw new Error(`pg_recvlogical ended with ${code}`)
        })
        return { pids: [], done, stop: async () => void child.kill() }
      },
    }
  : undefined

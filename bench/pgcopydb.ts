import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Consumer, Place } from './consumer.ts'
import { run } from './sql.ts'

const directories = new Map<string, string>()

/**
 * `pgcopydb follow` of Debian: wal2json to files of JSON, those to files of SQL, those to the downstream. Undefined where it is not installed.
 * https://pgcopydb.readthedocs.io/en/latest/ref/pgcopydb_follow.html
 */
export const pgcopydbFollow: Consumer | undefined =
  spawnSync('pgcopydb', ['--version']).status === 0
    ? {
        name: 'pgcopydb follow',
        plugin: undefined,
        applies: true,
        mayDiffer: true,
        async prepare(place) {
          directories.set(place.slot, mkdtempSync(path.join(tmpdir(), 'follower-bench-')))
          call(['stream', 'setup', ...ends(place), '--not-consistent'])
          // It updates this table, which stands in the publication of all tables, too.
          await run(upstreamOf(place), 'ALTER TABLE pgcopydb.sentinel REPLICA IDENTITY FULL')
          call(['stream', 'sentinel', 'set', 'apply', '--source', upstreamOf(place)])
        },
        async start(place, begun) {
          const [end] = await run(upstreamOf(place), 'SELECT pg_current_wal_flush_lsn() AS lsn')
          begun()
          const child = spawn(
            'pgcopydb',
            ['follow', ...ends(place), '--resume', '--not-consistent', '--endpos', String(end?.lsn)],
            { stdio: ['ignore', 'ignore', 'pipe'], detached: true },
          )
          let said = ''
          child.stderr.setEncoding('utf8').on('data', (text: string) => {
            said = (said + text).slice(-20_000)
          })
          const ended = once(child, 'close').then(([code]) => {
            if (code !== 0) throw new Error(`pgcopydb follow ended with ${code}:\n${said}`)
          })
          ended.catch(() => {})
          return {
            pids: [child.pid!],
            failed: ended,
            stop: async () => {
              // 0.10 replays its last file for ever when the stream has ended before it: all of it, by its group.
              if (child.exitCode === null) process.kill(-child.pid!, 'SIGKILL')
              await ended.catch(() => {})
              rmSync(directories.get(place.slot)!, { recursive: true, force: true })
            },
          }
        },
      }
    : undefined

function upstreamOf(place: Place): string {
  return place.up.conninfo(place.upstreamDatabase)
}

function ends(place: Place): string[] {
  return [
    ...['--source', upstreamOf(place), '--target', place.down.conninfo(place.downstreamDatabase)],
    ...['--dir', path.join(directories.get(place.slot)!, 'work')],
    ...['--slot-name', place.slot, '--origin', place.slot],
  ]
}

function call(args: readonly string[]): void {
  const { status, stderr } = spawnSync('pgcopydb', args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`pgcopydb ${args.slice(0, 2).join(' ')} ended with ${status}:\n${stderr}`)
}

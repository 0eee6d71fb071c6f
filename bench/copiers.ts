import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { CopySource } from './copy-source.ts'
import { run as sql } from './sql.ts'
import { cpuSeconds, peakMemory } from './usage.ts'

/** dist/ of the project; this file runs from .cache/bench/bench. */
const cli = fileURLToPath(new URL('../../../dist/cli.js', import.meta.url))

/** What came of a copy, at its end. */
export interface Copied {
  /** Of its own processes. */
  readonly cpuSeconds: number
  readonly peakMiB: number
  /** Takes away what it leaves at both ends; not measured. */
  leave?(): Promise<void>
}

/** What copies a database. */
export interface Copier {
  readonly name: string
  /** What stands downstream before the clock runs. */
  prepare(source: CopySource): string
  /** Copies; resolves when all rows and indexes are there. */
  copy(upstream: string, downstream: string, name: string): Promise<Copied>
}

/**
 * This project, with its defaults, from the start of the process on: schema, rows, indexes, constraints, what has changed meanwhile. It follows
 * then; `statistics`: and has run ANALYZE, which it does beside the stream.
 */
export function follower(statistics: boolean): Copier {
  return {
    name: statistics ? 'follower, until ANALYZE is done' : 'follower',
    prepare: () => '',
    async copy(upstream, downstream, name) {
      const ends = ['--upstream', upstream, '--downstream', downstream, '--name', name]
      const args = [cli, 'start', ...ends, '--copy', 'all', '--log-format', 'json', '--web-listen', 'off']
      const it = run(process.execPath, statistics ? [...args, '--until', 'now'] : args)
      await (statistics ? it.end : it.said('"following '))
      return {
        ...it.taken(),
        async leave() {
          it.stop()
          await it.end
          await run(process.execPath, [cli, 'cleanup', ...ends, '--yes']).end
        },
      }
    },
  }
}

/** The tables of a subscription are there before, with their indexes, as its documentation has it; their making is not measured. */
export const tablesync: Copier = {
  name: 'native subscription',
  prepare: ({ tables, indexes }) => `${tables}; ${indexes}`,
  async copy(upstream, downstream, name) {
    await sql(upstream, 'CREATE PUBLICATION bench FOR ALL TABLES')
    await sql(
      downstream,
      `CREATE SUBSCRIPTION ${name} CONNECTION '${upstream}' PUBLICATION bench WITH (binary = true)`,
    )
    for (;;) {
      const [left] = await sql(
        downstream,
        "SELECT count(*)::int AS n FROM pg_subscription_rel WHERE srsubstate <> 'r'",
      )
      if (left?.n === 0) break
      await sleep(20)
    }
    return {
      ...{ cpuSeconds: 0, peakMiB: 0 },
      async leave() {
        await sql(downstream, `DROP SUBSCRIPTION ${name}`)
        await sql(upstream, 'DROP PUBLICATION bench')
      },
    }
  },
}

/** Debian's pgcopydb, which brings the schema, too. Undefined where it is not installed. */
export const pgcopydb: Copier | undefined =
  spawnSync('pgcopydb', ['--version']).status === 0
    ? {
        name: 'pgcopydb clone',
        prepare: () => '',
        async copy(upstream, downstream) {
          const directory = mkdtempSync(path.join(tmpdir(), 'follower-bench-'))
          try {
            const it = run('pgcopydb', [
              ...[
                'clone',
                '--source',
                upstream,
                '--target',
                downstream,
                '--dir',
                path.join(directory, 'work'),
              ],
              '--not-consistent',
            ])
            await it.end
            return it.taken()
          } finally {
            rmSync(directory, { recursive: true, force: true })
          }
        },
      }
    : undefined

interface Running {
  /** Rejects with what it said where its end is no good one. */
  readonly end: Promise<void>
  /** Once that text has come. */
  said(text: string): Promise<void>
  /** So far, or in all; looked at ten times a second. */
  taken(): Copied
  stop(): void
}

function run(program: string, args: readonly string[]): Running {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-20_000)
    })
  let taken: Copied = { cpuSeconds: 0, peakMiB: 0 }
  const look = (): void => {
    try {
      taken = { cpuSeconds: cpuSeconds([child.pid!]), peakMiB: peakMemory(child.pid!) }
    } catch {
      // It has just ended.
    }
  }
  const timer = setInterval(look, 100)
  const end = once(child, 'close').then(([code]) => {
    clearInterval(timer)
    if (code !== 0) throw new Error(`${program} ${args[0]} ended with ${code}:\n${said}`)
  })
  return {
    end,
    said: async (text) => {
      while (!said.includes(text)) await Promise.race([sleep(5), end])
    },
    taken: () => taken,
    stop: () => child.kill('SIGTERM'),
  }
}

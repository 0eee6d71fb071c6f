import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const cli = fileURLToPath(new URL('../cli.js', import.meta.url))

/** The built `follower start` between two databases, as a process of its own. */
export class Daemon {
  readonly #args: readonly string[]
  readonly #log: string
  #child: ChildProcess | undefined
  #failed: (error: Error) => void = () => {}
  /** Rejects where the process ends and nobody asked for it. */
  readonly failure: Promise<never>

  constructor(upstream: string, downstream: string, log: string, more: readonly string[]) {
    this.#args = [
      'start',
      '--upstream',
      upstream,
      '--downstream',
      downstream,
      '--web-listen',
      'off',
      '--on-error',
      'exit',
      ...more,
    ]
    this.#log = log
    this.failure = new Promise((_, reject) => {
      this.#failed = reject
    })
    this.failure.catch(() => {})
    process.once('exit', () => this.#child?.kill('SIGKILL'))
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }

  start(): void {
    const log = openSync(this.#log, 'a')
    // Detached: a Ctrl-C at the terminal is for the demo, which then ends everything itself.
    const child = spawn(process.execPath, [cli, ...this.#args], {
      stdio: ['ignore', log, log],
      detached: true,
    })
    closeSync(log)
    this.#child = child
    child.once('exit', (code, signal) => {
      if (this.#child !== child) return
      const end = readFileSync(this.#log, 'utf8').split('\n').slice(-15).join('\n')
      this.#failed(
        new Error(`follower ended by itself (${signal ?? `exit code ${code}`}); its log ends with:\n${end}`),
      )
    })
  }

  /** Resolves with the exit code, or the name of the signal that ended it. */
  async stop(signal: 'SIGTERM' | 'SIGKILL'): Promise<number | string | null> {
    const child = this.#child
    this.#child = undefined
    if (!child) return null
    const exit = new Promise<number | string | null>((resolve) =>
      child.once('exit', (code, by) => resolve(code ?? by)),
    )
    child.kill(signal)
    return exit
  }

  /** Lets it outlive this process. */
  release(): void {
    this.#child?.unref()
    this.#child = undefined
  }
}

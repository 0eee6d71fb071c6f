import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { cleanUp } from './cleanup.ts'
import { Poll } from './sql.ts'
import { waitUntil } from './wait.ts'

const cli = fileURLToPath(new URL('../../dist/cli.js', import.meta.url))

export interface RunOptions {
  /** Added to the environment; undefined takes a variable away. */
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly cwd?: string
  /** What to run instead of the built program: an installed one, or another Node. */
  readonly program?: readonly [file: string, ...args: string[]]
}

export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/**
 * Starts the BUILT program (`npm run build`), as a user would, but for two defaults where the arguments don't say: no port,
 * and the end of the process at what can't be applied, which a test can wait for. Killed at the end of the test (or file).
 */
export function runFollower(args: readonly string[], options: RunOptions = {}): Follower {
  const given = (flag: string): boolean => args.some((arg) => arg.startsWith(flag))
  const quiet = given('--web-listen') ? [] : ['--web-listen', 'off']
  const ends = given('--on-error') ? [] : ['--on-error', 'exit']
  return new Follower(args[0] === 'start' ? ['start', ...quiet, ...ends, ...args.slice(1)] : args, options)
}

/** Runs a command to its end. */
export async function followerCommand(
  args: readonly string[],
  options: RunOptions = {},
): Promise<Exit & { stdout: string; stderr: string }> {
  const it = runFollower(args, options)
  const exit = await it.exit
  return { ...exit, stdout: it.stdout.join('\n'), stderr: it.stderr.join('\n') }
}

/** One running process of follower. */
export class Follower {
  /** Lines so far. */
  readonly stdout: string[] = []
  readonly stderr: string[] = []
  /** Resolves at the end of the process, after its last line. */
  readonly exit: Promise<Exit>
  readonly child: ChildProcess
  readonly #args: readonly string[]
  #ended: Exit | undefined

  constructor(args: readonly string[], options: RunOptions) {
    this.#args = args
    const env: NodeJS.ProcessEnv = { ...process.env, NO_COLOR: '1', ...options.env }
    // Vitest sets NODE_ENV and friends; a user does not.
    for (const name of ['NODE_ENV', 'NODE_OPTIONS', 'VITEST', 'TEST'])
      if (!options.env?.[name]) delete env[name]
    const [file, ...before] = options.program ?? [process.execPath, cli]
    this.child = spawn(file, [...before, ...args], {
      env,
      cwd: options.cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    collect(this.child.stdout!, this.stdout)
    collect(this.child.stderr!, this.stderr)
    this.exit = new Promise((resolve) => {
      this.child.once('close', (code, signal) => {
        this.#ended = { code, signal }
        resolve(this.#ended)
      })
    })
    cleanUp(() => this.kill9())
  }

  get pid(): number {
    return this.child.pid!
  }
  get running(): boolean {
    return this.#ended === undefined
  }
  /** All lines of both streams, for messages of failed tests. */
  get output(): string {
    return [...this.stdout, ...this.stderr].join('\n')
  }

  /** Waits until it streams: its slot is active upstream. Throws with the output if the process ends before. */
  async ready(options: { upstream?: string; slot?: string; timeout?: number } = {}): Promise<void> {
    const upstream = options.upstream ?? this.#option('--upstream') ?? process.env.FOLLOWER_UPSTREAM
    if (!upstream) throw new Error('ready() needs the upstream: not in the arguments')
    const poll = new Poll(upstream)
    await this.until(
      async () =>
        (await poll.value(
          `SELECT count(*) FROM pg_replication_slots s JOIN pg_stat_replication r ON r.pid = s.active_pid
           WHERE s.database = current_database() AND r.state IN ('streaming', 'catchup')
             AND s.slot_name = coalesce($1, s.slot_name)`,
          [options.slot ?? null],
        )) !== '0',
      'an active slot',
      options.timeout,
    ).finally(() => poll.end())
  }

  /** Waits for a line on either stream and returns it. */
  async line(pattern: RegExp, timeout?: number): Promise<string> {
    return this.until(
      () => [...this.stderr, ...this.stdout].find((it) => pattern.test(it)),
      String(pattern),
      timeout,
    )
  }

  /** Waits for something while the process lives. */
  async until<T>(look: () => Promise<T> | T, what: string, timeout = 40_000) {
    let found: Awaited<T> | undefined
    try {
      return await waitUntil(
        async () => {
          const ended = this.#ended
          found = await look()
          return found || ended
        },
        { timeout, what },
      ).then((result) => {
        if (!found) throw new Error(`follower ended with ${JSON.stringify(result)}`)
        return found as Exclude<Awaited<T>, false | null | undefined | 0 | ''>
      })
    } catch (error) {
      throw new Error(`while waiting for ${what}: ${String(error)}\n${this.output}`)
    }
  }

  /** Sends a signal and waits for the end. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Exit> {
    this.child.kill(signal)
    return this.exit
  }

  async kill9(): Promise<Exit> {
    return this.stop('SIGKILL')
  }

  #option(name: string): string | undefined {
    const at = this.#args.findIndex((arg) => arg === name || arg.startsWith(`${name}=`))
    if (at < 0) return undefined
    return this.#args[at]!.includes('=') && this.#args[at]!.startsWith(`${name}=`)
      ? this.#args[at]!.slice(name.length + 1)
      : this.#args[at + 1]
  }
}

function collect(stream: Readable, lines: string[]): void {
  createInterface({ input: stream }).on('line', (line) => lines.push(line))
}

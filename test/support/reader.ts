import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { cleanUp } from './cleanup.ts'

/**
 * Reads the downstream of a load all the time. Each look is one snapshot, made by a query of two columns: `wrong`, a
 * text that is NULL in every committed state, and `grows`, an int[] of what never gets less.
 */
export class Reader {
  looks = 0
  readonly #conninfo: string
  readonly #look: string
  /** Told of each look: what never gets less. */
  readonly #seen: (grows: readonly number[]) => void
  readonly #running: Promise<void>
  #stopped = false
  #problem: string | undefined

  constructor(conninfo: string, look: string, seen: (grows: readonly number[]) => void = () => {}) {
    this.#conninfo = conninfo
    this.#look = look
    this.#seen = seen
    this.#running = this.#run()
    cleanUp(() => this.stop().catch(() => {}))
  }

  /** What was wrong first, so far. */
  get problem(): string | undefined {
    return this.#problem
  }

  /** Ends. Throws what was wrong. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#running
    if (this.#problem) throw new Error(this.#problem)
  }

  async #run(): Promise<void> {
    let session: pg.Client | undefined
    let before: readonly number[] = []
    while (!this.#stopped) {
      try {
        if (!session) {
          session = new pg.Client({ connectionString: this.#conninfo, application_name: 'reader' })
          session.on('error', () => {})
          await session.connect()
        }
        const { rows } = await session.query<{ wrong: string | null; grows: number[] }>(this.#look)
        const { wrong, grows: now } = rows[0]!
        this.looks++
        this.#seen(now)
        if (wrong) this.#problem ??= wrong
        if (before.some((n, i) => now[i]! < n)) this.#problem ??= `went back from ${before} to ${now}`
        before = now
        await sleep(20)
      } catch {
        // The server is down or comes up; what it shows afterwards is compared with what was seen before.
        await session?.end().catch(() => {})
        session = undefined
        await sleep(50)
      }
    }
    await session?.end().catch(() => {})
  }
}

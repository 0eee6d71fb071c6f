import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { isTransient, sqlstate } from '../../src/postgres/sqlstate.ts'
import { cleanUp } from './cleanup.ts'

export interface ReaderOptions {
  /** Told of each look: what never gets less; whether it is the first since the server was away; all of its row. */
  readonly seen?: (grows: readonly number[], anew: boolean, row: Readonly<Record<string, unknown>>) => void
  /** `--synchronous-commit off`: what was seen may be gone after a crash of the server, to come again. */
  readonly mayForget?: boolean
  /** Database, schemas and tables may not be there: then there is nothing to see. */
  readonly mayLack?: boolean
}

/** 3D000 invalid_catalog_name, 3F000 invalid_schema_name, 42P01 undefined_table. */
const lacking = ['3D000', '3F000', '42P01']

/**
 * Reads the downstream of a load all the time. Each look is one snapshot, made by a query of two columns: `wrong`, a
 * text that is NULL in every committed state, and `grows`, an int[] of what never gets less. No row: nothing to see now. Who
 * trusts in it looks at `looks`, too.
 */
export class Reader {
  looks = 0
  readonly #conninfo: string
  readonly #look: string
  readonly #options: ReaderOptions
  readonly #running: Promise<void>
  #stopped = false
  #problem: string | undefined

  constructor(conninfo: string, look: string, options: ReaderOptions = {}) {
    this.#conninfo = conninfo
    this.#look = look
    this.#options = options
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
    let anew = true
    while (!this.#stopped) {
      try {
        if (!session) {
          session = new pg.Client({ connectionString: this.#conninfo, application_name: 'reader' })
          session.on('error', () => {})
          await session.connect()
          anew = true
        }
        const { rows } = await session.query<{ wrong: string | null; grows: number[] }>(this.#look)
        const [row] = rows
        if (row) {
          const { wrong, grows: now } = row
          this.looks++
          this.#options.seen?.(now, anew, row)
          if (wrong) this.#problem ??= wrong
          if (!(anew && this.#options.mayForget) && before.some((n, i) => now[i]! < n))
            this.#problem ??= `went back from ${before} to ${now}`
          before = now
          anew = false
        }
        await sleep(20)
      } catch (error) {
        // The server is down or comes up; what it shows afterwards is compared with what was seen before.
        if (!this.#isExpected(error)) this.#problem ??= `the reader could not look: ${String(error)}`
        await session?.end().catch(() => {})
        session = undefined
        await sleep(50)
      }
    }
    await session?.end().catch(() => {})
  }

  #isExpected(error: unknown): boolean {
    return isTransient(error) || (this.#options.mayLack === true && lacking.includes(sqlstate(error) ?? ''))
  }
}

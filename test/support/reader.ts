import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { cleanUp } from './cleanup.ts'
import { sumOfBalances } from './load.ts'

/**
 * Reads the downstream of a load all the time. Each look is one snapshot: its balances must come to their sum, and
 * nothing that an earlier look saw may be gone.
 */
export class Reader {
  looks = 0
  readonly #conninfo: string
  readonly #running: Promise<void>
  #stopped = false
  #problem: string | undefined

  constructor(conninfo: string) {
    this.#conninfo = conninfo
    this.#running = this.#run()
    cleanUp(() => this.stop().catch(() => {}))
  }

  /** Ends. Throws what was wrong. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#running
    if (this.#problem) throw new Error(this.#problem)
  }

  async #run(): Promise<void> {
    let session: pg.Client | undefined
    let before = { entries: 0, hot: 0, last: [] as number[] }
    while (!this.#stopped) {
      try {
        if (!session) {
          session = new pg.Client({ connectionString: this.#conninfo, application_name: 'reader' })
          session.on('error', () => {})
          await session.connect()
        }
        const { rows } = await session.query(
          `SELECT (SELECT count(*) FROM ledger)::int AS entries, (SELECT sum(n) FROM hot)::int AS hot,
                  (SELECT sum(balance) FROM account)::int AS sum,
                  ARRAY(SELECT (SELECT max(n) FROM ledger WHERE writer = w) FROM generate_series(0, 3) w) AS last`,
        )
        const now = rows[0]
        this.looks++
        if (now.sum !== sumOfBalances) this.#problem ??= `balances come to ${now.sum}, not ${sumOfBalances}`
        const back =
          now.entries < before.entries ||
          now.hot < before.hot ||
          before.last.some((n, writer) => now.last[writer] < n)
        if (back) this.#problem ??= `went back from ${JSON.stringify(before)} to ${JSON.stringify(now)}`
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

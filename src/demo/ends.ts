import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'

export interface Copied {
  readonly tables: number
  readonly copied: number
  readonly rows: number
  readonly seconds: number
}

/** The demo's own connections to both databases, and what it asks them. */
export class Ends {
  readonly conninfos: readonly [upstream: string, downstream: string]
  readonly upstream: pg.Client
  readonly downstream: pg.Client

  private constructor(conninfos: readonly [string, string], upstream: pg.Client, downstream: pg.Client) {
    this.conninfos = conninfos
    this.upstream = upstream
    this.downstream = downstream
  }

  static async open(upstream: string, downstream: string): Promise<Ends> {
    return new Ends([upstream, downstream], await connect(upstream), await connect(downstream))
  }

  /** One statement on a connection of its own. */
  static async run(conninfo: string, text: string): Promise<void> {
    const client = await connect(conninfo)
    await client.query(text).finally(() => client.end())
  }

  async close(): Promise<void> {
    await Promise.all([this.upstream.end(), this.downstream.end()])
  }

  /** Waits until a walsender serves the slot. */
  async streaming(): Promise<void> {
    await until('the slot to stream', 60, async () => {
      const { rowCount } = await this.upstream.query(
        "SELECT FROM pg_replication_slots s JOIN pg_stat_replication r ON r.pid = s.active_pid WHERE r.state = 'streaming'",
      )
      return rowCount === 1
    })
  }

  /** How far the initial copy is; undefined before it has begun. */
  async copied(): Promise<Copied | undefined> {
    const { rows: there } = await this.downstream.query<{ there: boolean }>(
      "SELECT to_regclass('follower.copied_table') IS NOT NULL AS there",
    )
    if (!there[0]?.there) return undefined
    const { rows } = await this.downstream.query<Copied>(
      `SELECT count(*)::int AS tables, count(*) FILTER (WHERE state = 'copied')::int AS copied, sum(rows)::int AS rows,
              extract(epoch FROM max(updated_at) - min(begun_at))::float8 AS seconds FROM follower.copied_table`,
    )
    return rows[0]?.seconds == null ? undefined : rows[0]
  }

  /** Where the upstream's WAL is now. */
  async position(): Promise<string> {
    const { rows } = await this.upstream.query<{ lsn: string }>('SELECT pg_current_wal_lsn() AS lsn')
    return rows[0]!.lsn
  }

  /** Bytes of upstream's WAL that downstream has not applied. */
  async lag(): Promise<number> {
    const { rows } = await this.downstream.query<{ lag: string }>(
      'SELECT pg_wal_lsn_diff($1, lsn) AS lag FROM follower.progress',
      [await this.position()],
    )
    return Math.max(0, Number(rows[0]?.lag ?? 0))
  }

  /** Waits until everything before that position is applied downstream. */
  async caughtUp(lsn: string): Promise<void> {
    await until(`downstream to reach ${lsn}`, 60, async () => {
      const { rowCount } = await this.downstream.query('SELECT FROM follower.progress WHERE lsn >= $1', [lsn])
      return rowCount === 1
    })
  }
}

async function until(what: string, seconds: number, look: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + seconds * 1000
  while (!(await look())) {
    if (Date.now() > deadline) throw new Error(`waited ${seconds} s in vain for ${what}`)
    await sleep(50)
  }
}

async function connect(connectionString: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString, application_name: 'follower demo' })
  client.on('error', () => {})
  await client.connect()
  return client
}

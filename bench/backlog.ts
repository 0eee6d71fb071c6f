import type { Cluster } from '../src/demo/cluster.ts'
import type { Consumer, Place } from './consumer.ts'
import { endOfLoad } from './drain.ts'
import { run } from './sql.ts'
import type { Workload } from './workloads.ts'

/** One consumer's turn: where and on which slot. */
export interface Turn {
  readonly consumer: Consumer
  readonly slot: string
}

/** A backlog upstream, written once, that each turn drains from a slot of its own into a database of its own. */
export class Backlog {
  private readonly up: Cluster
  private readonly down: Cluster
  private readonly workload: Workload
  private readonly database: string

  constructor(up: Cluster, down: Cluster, workload: Workload) {
    this.up = up
    this.down = down
    this.workload = workload
    this.database = `bench_${workload.name.toLowerCase()}`
  }

  /** Makes tables, slots and the backlog; resolves with how many seconds the load took. */
  async write(turns: readonly Turn[]): Promise<number> {
    for (const server of [this.up, this.down]) {
      await run(server.conninfo(), `CREATE DATABASE ${this.database}`)
      await run(server.conninfo(this.database), `${this.workload.tables}; ${endOfLoad}`)
      await run(server.conninfo(this.database), 'VACUUM ANALYZE')
    }
    const upstream = this.up.conninfo(this.database)
    await run(upstream, 'CREATE PUBLICATION bench FOR ALL TABLES')
    for (const turn of turns) {
      const { consumer, slot } = turn
      if (consumer.plugin)
        await run(upstream, `SELECT pg_create_logical_replication_slot('${slot}', '${consumer.plugin}')`)
      if (consumer.prepare) {
        await this.copyDownstream(turn)
        await consumer.prepare(this.placeOf(turn))
      }
    }
    const began = performance.now()
    // A procedure that commits has to be a query of its own.
    const hasty = `${upstream}?options=${encodeURIComponent('-c synchronous_commit=off')}`
    await Promise.all(this.workload.load.map((text) => run(hasty, text)))
    const seconds = (performance.now() - began) / 1000
    await run(upstream, 'INSERT INTO bench_end VALUES (1)')
    return seconds
  }

  /** A fresh copy of the downstream for one turn. */
  async place(turn: Turn): Promise<Place> {
    if (turn.consumer.applies && !turn.consumer.prepare) await this.copyDownstream(turn)
    return this.placeOf(turn)
  }

  private async copyDownstream({ slot }: Turn): Promise<void> {
    await run(this.down.conninfo(), `CREATE DATABASE ${slot} TEMPLATE ${this.database} STRATEGY FILE_COPY`)
  }

  private placeOf({ slot }: Turn): Place {
    return { up: this.up, down: this.down, upstreamDatabase: this.database, downstreamDatabase: slot, slot }
  }

  /** Removes what a turn left. */
  async leave({ consumer, slot }: Turn): Promise<void> {
    if (consumer.applies) await run(this.down.conninfo(), `DROP DATABASE ${slot} WITH (FORCE)`)
    await run(
      this.up.conninfo(this.database),
      `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '${slot}' AND NOT active`,
    )
  }

  async remove(): Promise<void> {
    for (const server of [this.up, this.down])
      await run(server.conninfo(), `DROP DATABASE ${this.database} WITH (FORCE)`)
  }
}

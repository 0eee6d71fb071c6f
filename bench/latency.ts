import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { Cluster } from '../src/demo/cluster.ts'
import type { Consumer } from './consumer.ts'
import { run } from './sql.ts'
import { committed, load, type Steady, seen, steadyLoad, steadyTables, watch } from './steady.ts'
import { type CpuUse, cpuSeconds, peakMemory, stolenSeconds } from './usage.ts'

/** Milliseconds from a commit upstream until the row is visible downstream, of one turn. */
export interface Latency {
  readonly p50: number
  readonly p99: number
  readonly max: number
  /** What the load came to, which is to be what was asked for. */
  readonly perSecond: number
  readonly cpu: CpuUse
  readonly peakMiB: number
}

/** Everything is warm then. */
const warmUpSeconds = 1

/** One consumer under one steady load, between databases of its own. */
export async function latency(
  up: Cluster,
  down: Cluster,
  consumer: Consumer,
  { perSecond, writers }: Steady,
  seconds: number,
  slot: string,
): Promise<Latency> {
  const [upstream, downstream] = [up.conninfo(slot), down.conninfo(slot)]
  for (const server of [up, down]) {
    await run(server.conninfo(), `CREATE DATABASE ${slot}`)
    await run(server.conninfo(slot), steadyTables)
  }
  await run(upstream, `${steadyLoad}; CREATE PUBLICATION bench FOR ALL TABLES`)
  await run(upstream, `SELECT pg_create_logical_replication_slot('${slot}', '${consumer.plugin}')`)
  for (const server of [up, down]) await run(server.conninfo(), 'CHECKPOINT')
  const place = { up, down, upstreamDatabase: slot, downstreamDatabase: slot, slot }
  const running = await consumer.start(place, () => {})
  const observer = new pg.Client({ connectionString: downstream })
  await observer.connect()
  try {
    const rows = Math.round(((seconds + warmUpSeconds) * perSecond) / writers)
    const watching = observer.query(watch(writers, rows))
    // It fails after the writers may have.
    watching.catch(() => {})
    await sleep(500)
    const cpu = () => ({
      upstream: cpuSeconds([up.pid!]),
      downstream: cpuSeconds([down.pid!]),
      consumer: running.pids.length > 0 ? cpuSeconds(running.pids) : 0,
      stolen: stolenSeconds(),
    })
    const before = cpu()
    const began = performance.now()
    await Promise.all(
      Array.from({ length: writers }, (_, i) => run(upstream, load(i + 1, writers, rows, perSecond))),
    )
    const took = (performance.now() - began) / 1000
    await watching
    const after = cpu()
    const { rows: looks } = await observer.query<Look>(seen)
    const commits = (await run(upstream, committed)) as unknown as Commit[]
    return {
      ...summary(commits, looks, (warmUpSeconds * perSecond) / writers),
      perSecond: (rows * writers) / took,
      cpu: {
        upstream: after.upstream - before.upstream,
        downstream: after.downstream - before.downstream,
        consumer: after.consumer - before.consumer,
        stolen: after.stolen - before.stolen,
      },
      peakMiB: Math.max(0, ...running.pids.map(peakMemory)),
    }
  } finally {
    await observer.end()
    await running.stop()
    await run(down.conninfo(), `DROP DATABASE ${slot} WITH (FORCE)`)
    await run(
      upstream,
      `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '${slot}' AND NOT active`,
    )
    await run(up.conninfo(), `DROP DATABASE ${slot} WITH (FORCE)`)
  }
}

interface Commit {
  readonly writer: number
  readonly n: number
  readonly at: number
}

interface Look {
  readonly writer: number
  readonly above: number
  readonly upto: number
  readonly before: number
  readonly at: number
}

/** Of the rows of each writer after the first `warmUp`. */
function summary(commits: readonly Commit[], looks: readonly Look[], warmUp: number) {
  const times = new Map(commits.map(({ writer, n, at }) => [`${writer}/${n}`, at]))
  const all: number[] = []
  for (const { writer, above, upto, before, at } of looks)
    for (let n = Math.max(above, Math.floor(warmUp)) + 1; n <= upto; n++) {
      const commit = times.get(`${writer}/${n}`)
      if (commit === undefined) throw new Error(`row ${n} of writer ${writer} is not upstream`)
      // Somewhere between the two looks, but not before it was committed.
      all.push(1000 * ((Math.max(before, commit) + at) / 2 - commit))
    }
  const sorted = Float64Array.from(all).sort()
  const at = (share: number): number => sorted[Math.ceil(share * sorted.length) - 1]!
  return { p50: at(0.5), p99: at(0.99), max: at(1) }
}

import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { Ways } from '../src/apply/ways.ts'
import type { Consumer, Place, Running } from './consumer.ts'
import { run } from './sql.ts'
import { type CpuUse, cpuSeconds, peakMemory, stolenSeconds } from './usage.ts'
import type { Workload } from './workloads.ts'

/** What one consumer took for one backlog. */
export interface Drained {
  /** From the request for the stream until the last commit is visible (or read). */
  readonly seconds: number
  /** Before that, from the consumer's start. */
  readonly startSeconds: number
  readonly cpu: CpuUse
  /** Of the consumer's own process; 0 where it has none. */
  readonly peakMiB: number
  /** How many changes were applied which way, where the consumer tells. */
  readonly ways?: Ways
  /** How the rows differ at the two ends. */
  readonly difference?: string
}

/** Lets a consumer drain what its slot holds, and compares both ends. Throws where they differ. */
export async function drain(consumer: Consumer, place: Place, workload: Workload): Promise<Drained> {
  const servers = { upstream: [place.up.pid!], downstream: [place.down.pid!] }
  // What the load left to write must not be somebody's burden.
  for (const server of [place.up, place.down]) await run(server.conninfo(), 'CHECKPOINT')
  const began = performance.now()
  let ready = began
  const before = { upstream: 0, downstream: 0, stolen: 0 }
  const running = await consumer.start(place, () => {
    ready = performance.now()
    before.upstream = cpuSeconds(servers.upstream)
    before.downstream = cpuSeconds(servers.downstream)
    before.stolen = stolenSeconds()
  })
  const own = (): number => (running.pids.length > 0 ? cpuSeconds(running.pids) : 0)
  // Its start is measured neither in seconds nor here.
  const started = own()
  try {
    if (consumer.applies) await visible(place, running)
    else await running.done
    const seconds = (performance.now() - ready) / 1000
    const drained: Drained = {
      seconds,
      startSeconds: (ready - began) / 1000,
      cpu: {
        upstream: cpuSeconds(servers.upstream) - before.upstream,
        downstream: cpuSeconds(servers.downstream) - before.downstream,
        consumer: own() - started,
        stolen: stolenSeconds() - before.stolen,
      },
      peakMiB: Math.max(0, ...running.pids.map(peakMemory)),
    }
    if (!consumer.applies) return drained
    const difference = await compare(place, workload)
    // By now the last batch is counted.
    const ways = await running.ways?.()
    if (ways && ways.copied + ways.net + ways.ordered < workload.changes)
      throw new Error(`${workload.name} has fewer changes than ${workload.changes}: ${JSON.stringify(ways)}`)
    if (difference === undefined) return { ...drained, ...(ways && { ways }) }
    if (!consumer.mayDiffer) throw new Error(`${workload.name}, ${consumer.name}: ${difference}`)
    return { ...drained, difference }
  } finally {
    await running.stop()
  }
}

/** The last transaction of every backlog is a row of this table. */
export const endOfLoad = 'CREATE TABLE bench_end (n int PRIMARY KEY)'

async function visible(place: Place, running: Running): Promise<void> {
  let failure: Error | undefined
  running.failed?.catch((error: Error) => {
    failure = error
  })
  const client = new pg.Client({ connectionString: place.down.conninfo(place.downstreamDatabase) })
  await client.connect()
  try {
    const giveUp = performance.now() + 20 * 60_000
    for (;;) {
      if (performance.now() > giveUp) throw new Error(`${place.slot}: the end of the backlog has not come`)
      const { rows } = await client.query('SELECT 1 FROM bench_end')
      if (rows.length > 0) return
      if (failure) throw failure
      await sleep(10)
    }
  } finally {
    await client.end()
  }
}

/** Undefined where both ends are the same. */
async function compare(place: Place, workload: Workload): Promise<string | undefined> {
  const [up, down] = await Promise.all([
    run(place.up.conninfo(place.upstreamDatabase), workload.check),
    run(place.down.conninfo(place.downstreamDatabase), workload.check),
  ])
  const [above, below] = [JSON.stringify(up), JSON.stringify(down)]
  return above === below ? undefined : `upstream ${above}, downstream ${below}`
}

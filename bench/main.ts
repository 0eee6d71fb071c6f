import { writeFileSync } from 'node:fs'
import { cpus, loadavg, totalmem } from 'node:os'
import { exitOnSignals, startCluster } from '../src/demo/cluster.ts'
import type { Consumer } from './consumer.ts'
import { copies } from './copies.ts'
import { drains } from './drains.ts'
import { follower } from './follower.ts'
import { type LatencyResult, latencies, latencyJson, latencyTable, likeNative } from './latencies.ts'
import { native } from './native.ts'
import { readOptions, usage } from './options.ts'
import { peers } from './peers.ts'
import { recvlogical } from './readers.ts'
import { json, type Result, table } from './report.ts'
import { cpuTable, judge, targetTable } from './targets.ts'
import { growth, workloads } from './workloads.ts'

const options = readOptions()
if (!options) {
  console.info(usage)
  process.exit(0)
}

/** As in production, but for the size of things: what the data survive is on. */
const settings = {
  fsync: 'on',
  full_page_writes: 'on',
  autovacuum: 'on',
  shared_buffers: '512MB',
  max_wal_size: '8GB',
  checkpoint_timeout: '15min',
}

/** The first is what the others are compared with, turn by turn. */
const paired: readonly Consumer[] = [
  native,
  follower('follower'),
  follower(likeNative, ['--synchronous-commit', 'off']),
]
const single: readonly Consumer[] = recvlogical ? [recvlogical] : []

exitOnSignals()
const began = performance.now()
console.info(
  `${cpus().length} cores (${cpus()[0]?.model}), ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.versions.node}, load before ${loadavg()[0]?.toFixed(1)}; size ${options.size}, ${options.runs} runs, scale ${options.scale}`,
)
if (!recvlogical) console.info('LEFT OUT: pg_recvlogical, which is not installed (postgresql-client-15)')

const drained: Result[] = []
const grown: Result[] = []
const steady: LatencyResult[] = []
const all: object[] = []

const chosen = workloads(options.scale).filter(({ name }) => options.selected(name))
const growing = growth(options.growthScale).filter(({ name }) => options.selected(name))
if (chosen.length + growing.length > 0) {
  const [up, down] = await Promise.all([startCluster({ settings }), startCluster({ settings })])
  for (const workload of chosen) {
    const result = await drains({ up, down }, workload, paired, single, options.runs, show)
    drained.push(result)
    tell(result, native.name)
  }
  for (const workload of growing) {
    const result = await drains({ up, down }, workload, [paired[1]!], [], 1, show)
    grown.push(result)
    tell(result, native.name)
  }
  await Promise.all([up.destroy(), down.destroy()])
}
for await (const result of latencies(options, settings, show)) {
  steady.push(result)
  all.push(latencyJson(result))
  console.info(`\n${latencyTable(result)}`)
}
for await (const result of peers(options, settings, show)) tell(result, native.name)
for await (const { result, reference } of copies(options, settings, show)) tell(result, reference)

const judged = judge(
  { drained, growth: grown, latencies: steady },
  { native: native.name, follower: paired[1]!.name, reader: recvlogical?.name },
)
if (drained.length > 0)
  console.info(
    `\n${cpuTable(
      drained,
      paired.map(({ name }) => name),
    )}`,
  )
if (judged.length > 0) console.info(`\n${targetTable(judged)}`)
const seconds = (performance.now() - began) / 1000
console.info(`\nin ${Math.round(seconds)} s`)
if (options.json)
  writeFileSync(options.json, JSON.stringify({ ...options, seconds, results: all, targets: judged }, null, 1))
process.exit(0)

function tell(result: Result, reference: string): void {
  all.push(...json([result], reference))
  console.info(`\n${table(result, reference)}`)
}

/** What goes on at the moment; with a line end, something to stay. */
function show(text: string): void {
  if (text.endsWith('\n')) console.info(text.trimEnd())
  else if (process.stderr.isTTY) process.stderr.write(`\r${text.padEnd(78)}`)
}

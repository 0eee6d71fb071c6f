import { writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { parseArgs } from 'node:util'
import { type Cluster, exitOnSignals, startCluster } from '../src/demo/cluster.ts'
import { Backlog, type Turn } from './backlog.ts'
import type { Consumer } from './consumer.ts'
import { copies } from './copies.ts'
import { type Drained, drain } from './drain.ts'
import { follower } from './follower.ts'
import { native } from './native.ts'
import { recvlogical } from './readers.ts'
import { json, type Result, table } from './report.ts'
import { count, type Workload, workloads } from './workloads.ts'

const usage = `npm run bench -- [--quick] [--runs N] [--scale F] [--only W1,W3,C1] [--json FILE]`
const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    runs: { type: 'string' },
    scale: { type: 'string' },
    only: { type: 'string', default: '' },
    json: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) {
  console.info(usage)
  process.exit(0)
}
const runs = Number(values.runs ?? (values.quick ? 1 : 5))
const scale = Number(values.scale ?? (values.quick ? 0.2 : 1))

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
  follower('follower, synchronous_commit off', ['--synchronous-commit', 'off']),
]
const once: readonly Consumer[] = recvlogical ? [recvlogical] : []

exitOnSignals()
console.info(
  `${cpus().length} cores (${cpus()[0]?.model}), ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.versions.node}, ${runs} runs`,
)
if (!recvlogical) console.info('LEFT OUT: pg_recvlogical, which is not installed (postgresql-client-15)')
const [up, down] = await Promise.all([startCluster({ settings }), startCluster({ settings })])
const results: Result[] = []
for (const workload of workloads(scale).filter(({ name }) => !values.only || values.only.includes(name))) {
  const result = await measure(up, down, workload)
  results.push(result)
  console.info(`\n${table(result, native.name)}`)
}
await Promise.all([up.destroy(), down.destroy()])
const all = json(results, native.name)
for await (const { result, reference } of copies({ runs, scale, only: values.only }, settings, show)) {
  all.push(...json([result], reference))
  console.info(`\n${table(result, reference)}`)
}
if (values.json) writeFileSync(values.json, JSON.stringify({ runs, scale, results: all }, null, 1))
process.exit(0)

/** Each run lets the consumers drain the same backlog one after the other, every time another one first. */
async function measure(up: Cluster, down: Cluster, workload: Workload): Promise<Result> {
  const turns: Turn[] = []
  for (let run = 0; run < runs; run++)
    for (let i = 0; i < paired.length; i++) {
      const consumer = paired[(i + run) % paired.length]!
      turns.push({ consumer, slot: `b${turns.length}` })
    }
  for (const consumer of once) turns.push({ consumer, slot: `b${turns.length}` })
  const backlog = new Backlog(up, down, workload)
  const loadSeconds = await backlog.write(turns)
  const drained = new Map<string, Drained[]>([...paired, ...once].map(({ name }) => [name, []]))
  for (const turn of turns) {
    show(`${workload.name}: ${turn.consumer.name} … (${count(workload.changes)} changes)`)
    const place = await backlog.place(turn)
    drained.get(turn.consumer.name)!.push(await drain(turn.consumer, place, workload))
    await backlog.leave(turn)
  }
  show('')
  await backlog.remove()
  return { workload, loadSeconds, turns: drained }
}

function show(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r${text.padEnd(78)}`)
}

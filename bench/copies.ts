import { debianBinDir } from '../src/demo/binaries.ts'
import { type Cluster, startCluster } from '../src/demo/cluster.ts'
import { type Copier, follower, pgcopydb, tablesync } from './copiers.ts'
import { type CopySource, copySources } from './copy-source.ts'
import type { Drained } from './drain.ts'
import type { Options } from './options.ts'
import type { Result } from './report.ts'
import { run } from './sql.ts'
import { cpuSeconds, stolenSeconds } from './usage.ts'

/** Who is compared with whom, on which major: the first is the reference. */
interface Contest {
  readonly suffix: string
  readonly binDir: string | undefined
  readonly copiers: readonly Copier[]
}

/**
 * Copies whole databases: against the table synchronisation of a subscription on PostgreSQL 18, and against pgcopydb, which
 * is there for 15. `settings` as for the other workloads.
 */
export async function* copies(
  options: Options,
  settings: Readonly<Record<string, string>>,
  show: (text: string) => void,
): AsyncGenerator<{ readonly result: Result; readonly reference: string }> {
  const sources = copySources(options.copies.scale).filter(({ name }) => options.selected(name))
  if (sources.length === 0) return
  const debian = debianBinDir(15)
  const contests: Contest[] = [
    { suffix: '18', binDir: undefined, copiers: [tablesync, follower(false), follower(true)] },
  ]
  if (debian && pgcopydb)
    contests.push({
      suffix: '15',
      binDir: debian,
      copiers: [pgcopydb, tablesync, follower(false), follower(true)],
    })
  else show('LEFT OUT: pgcopydb on PostgreSQL 15, of which one is not installed\n')
  for (const contest of contests) {
    const start = () => startCluster({ settings, ...(contest.binDir && { binDir: contest.binDir }) })
    const [up, down] = await Promise.all([start(), start()])
    for (const source of sources) {
      const result = await measure(up, down, source, contest, options.copies.runs, show)
      yield { result, reference: contest.copiers[0]!.name }
    }
    await Promise.all([up.destroy(), down.destroy()])
  }
}

async function measure(
  up: Cluster,
  down: Cluster,
  source: CopySource,
  { copiers, suffix }: Contest,
  runs: number,
  show: (text: string) => void,
): Promise<Result> {
  const database = `bench_${source.name.toLowerCase()}`
  const began = performance.now()
  await run(up.conninfo(), `CREATE DATABASE ${database}`)
  await run(up.conninfo(database), `${source.tables}; ${source.rows}; ${source.indexes}`)
  await run(up.conninfo(database), 'VACUUM (ANALYZE, FREEZE)')
  const loadSeconds = (performance.now() - began) / 1000
  const turns = new Map<string, Drained[]>(copiers.map(({ name }) => [name, []]))
  for (let i = 0; i < runs; i++)
    for (let j = 0; j < copiers.length; j++) {
      const copier = copiers[(i + j) % copiers.length]!
      show(`${source.name} on ${suffix}: ${copier.name} …`)
      turns.get(copier.name)!.push(await turn(up, down, source, copier, database))
    }
  show('')
  await run(up.conninfo(), `DROP DATABASE ${database} WITH (FORCE)`)
  const workload = {
    ...{ name: source.name, title: `copy of ${source.title}, PostgreSQL ${suffix}` },
    ...{ changes: source.rowCount, transactions: 1 },
  }
  return { workload, loadSeconds, turns }
}

async function turn(
  up: Cluster,
  down: Cluster,
  source: CopySource,
  copier: Copier,
  database: string,
): Promise<Drained> {
  const [upstream, downstream] = [up.conninfo(database), down.conninfo('bench_copy')]
  await run(down.conninfo(), 'CREATE DATABASE bench_copy')
  const prepared = copier.prepare(source)
  if (prepared) await run(downstream, prepared)
  for (const server of [up, down]) await run(server.conninfo(), 'CHECKPOINT')
  const before = {
    upstream: cpuSeconds([up.pid!]),
    downstream: cpuSeconds([down.pid!]),
    stolen: stolenSeconds(),
  }
  const began = performance.now()
  const taken = await copier.copy(upstream, downstream, 'bench')
  const seconds = (performance.now() - began) / 1000
  const cpu = {
    upstream: cpuSeconds([up.pid!]) - before.upstream,
    downstream: cpuSeconds([down.pid!]) - before.downstream,
    consumer: taken.cpuSeconds,
    stolen: stolenSeconds() - before.stolen,
  }
  const [above, below] = [await run(upstream, source.check), await run(downstream, source.check)]
  if (JSON.stringify(above) !== JSON.stringify(below))
    throw new Error(`${copier.name}: upstream ${JSON.stringify(above)}, downstream ${JSON.stringify(below)}`)
  await taken.leave?.()
  await run(down.conninfo(), 'DROP DATABASE bench_copy WITH (FORCE)')
  return { seconds, startSeconds: 0, cpu, peakMiB: taken.peakMiB }
}

import { startCluster } from '../src/demo/cluster.ts'
import { follower } from './follower.ts'
import { type Latency, latency } from './latency.ts'
import { native } from './native.ts'
import type { Options } from './options.ts'
import { cells, median } from './report.ts'
import { type Steady, steady } from './steady.ts'

/** One steady load: the turns of each consumer, by its name. */
export interface LatencyResult {
  readonly load: Steady
  readonly turns: ReadonlyMap<string, readonly Latency[]>
}

/** Acknowledges like native: what latencies are compared with. */
export const likeNative = 'follower, synchronous_commit off'

/** 500 and 2 000 transactions a second, on servers of their own: they note when each transaction was committed. */
export async function* latencies(
  options: Options,
  settings: Readonly<Record<string, string>>,
  show: (text: string) => void,
): AsyncGenerator<LatencyResult> {
  const loads = [500, 2000].map(steady).filter(({ name }) => options.selected(name))
  if (loads.length === 0) return
  const all = { ...settings, track_commit_timestamp: 'on' }
  const [up, down] = await Promise.all([startCluster({ settings: all }), startCluster({ settings: all })])
  const consumers = [native, follower('follower'), follower(likeNative, ['--synchronous-commit', 'off'])]
  for (const load of loads) {
    const turns = new Map<string, Latency[]>(consumers.map(({ name }) => [name, []]))
    for (let run = 0; run < options.latency.runs; run++)
      for (let i = 0; i < consumers.length; i++) {
        const consumer = consumers[(i + run) % consumers.length]!
        show(`${load.name}: ${consumer.name} …`)
        const slot = `l${load.perSecond}_${run}_${i}`
        turns.get(consumer.name)!.push(await latency(up, down, consumer, load, options.latency.seconds, slot))
      }
    show('')
    yield { load, turns }
  }
  await Promise.all([up.destroy(), down.destroy()])
}

export function latencyTable({ load, turns }: LatencyResult): string {
  const lines = [
    `${load.name}  ${load.perSecond} transactions a second by ${load.writers} writers: milliseconds from commit to visible`,
    cells(['', 'p50', 'ratio', 'p99', 'ratio', 'max', 'rate', 'cpu up', 'own', 'down', 'stolen', 'MiB']),
  ]
  for (const [name, list] of turns) {
    const middle = (of: (turn: Latency) => number, digits: number): string =>
      median(list.map(of)).toFixed(digits)
    const ratio = (of: 'p50' | 'p99'): string =>
      name === native.name ? '' : median(latencyRatios(turns, name, of)).toFixed(2)
    lines.push(
      cells([
        name,
        ...[middle((turn) => turn.p50, 2), ratio('p50'), middle((turn) => turn.p99, 2), ratio('p99')],
        ...[Math.max(...list.map((turn) => turn.max)).toFixed(1), middle((turn) => turn.perSecond, 0)],
        middle((turn) => turn.cpu.upstream, 1),
        middle((turn) => turn.cpu.consumer, 1),
        middle((turn) => turn.cpu.downstream, 1),
        middle((turn) => turn.cpu.stolen, 1),
        Math.round(Math.max(...list.map((turn) => turn.peakMiB))).toString(),
      ]),
    )
  }
  return lines.join('\n')
}

/** How many times native's, run by run. */
export function latencyRatios(turns: LatencyResult['turns'], name: string, of: 'p50' | 'p99'): number[] {
  const [mine, theirs] = [turns.get(name) ?? [], turns.get(native.name) ?? []]
  return mine.flatMap((turn, i) => (theirs[i] ? [turn[of] / theirs[i][of]] : []))
}

/** Everything, for machines. */
export function latencyJson({ load, turns }: LatencyResult) {
  return {
    workload: load.name,
    transactions_per_second: load.perSecond,
    writers: load.writers,
    consumers: Object.fromEntries(
      [...turns].map(([name, list]) => [
        name,
        {
          p50_ratio: median(latencyRatios(turns, name, 'p50')),
          p99_ratio: median(latencyRatios(turns, name, 'p99')),
          turns: list,
        },
      ]),
    ),
  }
}

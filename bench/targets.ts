import { addWays, noWays } from '../src/apply/ways.ts'
import type { Drained } from './drain.ts'
import { type LatencyResult, latencyRatios, likeNative } from './latencies.ts'
import { cells, median, type Result, ratios } from './report.ts'

/** One line of the table at the end. */
export interface Judged {
  readonly workload: string
  readonly target: string
  readonly measured: string
  readonly met: boolean
}

export interface Measured {
  readonly drained: readonly Result[]
  readonly latencies: readonly LatencyResult[]
  readonly growth: readonly Result[]
}

interface Names {
  readonly native: string
  readonly follower: string
  readonly reader: string | undefined
}

const fasterThanNative: Readonly<Record<string, number>> = { W1: 1.5, W2: 3, W3: 3, W4: 2, W5: 2, W6: 2 }
const fasterThanReader = ['W2', 'W3']
const memoryMiB = 256
/** Of all changes, those that are copied or applied as a net change. */
const leastTogether = 0.95
const growthRatio = 2.2
/** RSS is never the same twice. */
const memoryRatio = 1.2

/** Judges whatever was measured. The targets are stated for --full on an idle machine with two cores. */
export function judge({ drained, latencies, growth }: Measured, names: Names): Judged[] {
  const judged: Judged[] = []
  for (const { workload, turns } of drained) {
    const least = fasterThanNative[workload.name]
    if (least !== undefined) {
      const ratio = median(ratios(turns, names.native, names.follower))
      judged.push({
        workload: workload.name,
        target: `${least.toFixed(1)} times as fast as native`,
        measured: ratio.toFixed(2),
        met: ratio >= least,
      })
    }
    const readers = names.reader ? (turns.get(names.reader) ?? []) : []
    if (readers.length > 0 && fasterThanReader.includes(workload.name)) {
      const part = seconds(turns.get(names.follower)) / seconds(readers)
      judged.push({
        workload: workload.name,
        target: `less time than ${names.reader}`,
        measured: `${part.toFixed(2)} of it`,
        met: part < 1,
      })
    }
  }
  for (const { load, turns } of latencies)
    for (const [of, most] of [
      ['p50', 2],
      ['p99', 1.5],
    ] as const) {
      const ratio = median(latencyRatios(turns, likeNative, of))
      judged.push({
        workload: load.name,
        target: `${of} at most ${most} times native's (off)`,
        measured: ratio.toFixed(2),
        met: ratio <= most,
      })
    }
  judged.push(...grown(growth, names.follower), ...together(drained, names.follower))
  const peaks = [...drained, ...growth, ...latencies].flatMap(({ turns }) =>
    [...turns].filter(([name]) => name.startsWith('follower')).flatMap(([, list]) => list.map(peak)),
  )
  if (peaks.length > 0) {
    const most = Math.max(...peaks)
    judged.push({
      workload: 'all',
      target: `RSS of follower under ${memoryMiB} MiB`,
      measured: `${Math.round(most)} MiB`,
      met: most < memoryMiB,
    })
  }
  return judged
}

function together(drained: readonly Result[], name: string): Judged[] {
  const ways = noWays()
  for (const { turns } of drained)
    for (const turn of turns.get(name) ?? []) addWays(ways, turn.ways ?? noWays())
  const { copied, net, ordered } = ways
  const all = copied + net + ordered
  if (all === 0) return []
  const share = (copied + net) / all
  return [
    {
      workload: 'all',
      target: `changes applied by table, ${100 * leastTogether} % of them`,
      measured: `${(100 * share).toFixed(2)} %`,
      met: share >= leastTogether,
    },
  ]
}

function grown([ten, twenty]: readonly Result[], name: string): Judged[] {
  if (!ten || !twenty) return []
  const [before, after] = [ten.turns.get(name) ?? [], twenty.turns.get(name) ?? []]
  const time = seconds(after) / seconds(before)
  const memory = Math.max(...after.map(peak)) / Math.max(...before.map(peak))
  return [
    {
      workload: 'G20',
      target: `at most ${growthRatio} times the seconds of G10`,
      measured: time.toFixed(2),
      met: time <= growthRatio,
    },
    {
      workload: 'G20',
      target: `at most ${memoryRatio} times the RSS of G10`,
      measured: memory.toFixed(2),
      met: memory <= memoryRatio,
    },
  ]
}

export function targetTable(judged: readonly Judged[]): string {
  return [
    cells(['target', '', 'measured', ''], 44),
    ...judged.map(({ workload, target, measured, met }) =>
      cells([`${workload.padEnd(6)}${target}`, '', measured, met ? 'met' : 'MISSED'], 44),
    ),
  ].join('\n')
}

/** CPU of all three in each workload, medians. */
export function cpuTable(results: readonly Result[], names: readonly string[]): string {
  const lines = [cells(['CPU seconds', 'upstream', 'own', 'downstream', 'sum'], 44)]
  for (const { workload, turns } of results)
    for (const name of names) {
      const list = turns.get(name) ?? []
      if (list.length === 0) continue
      const all = (['upstream', 'consumer', 'downstream'] as const).map((of) =>
        median(list.map((turn) => turn.cpu[of])),
      )
      const sum = all.reduce((a, b) => a + b, 0)
      lines.push(cells([`${workload.name}  ${name}`, ...[...all, sum].map((n) => n.toFixed(1))], 44))
    }
  return lines.join('\n')
}

function seconds(turns: readonly Drained[] = []): number {
  return median(turns.map((turn) => turn.seconds))
}

function peak({ peakMiB }: { readonly peakMiB: number }): number {
  return peakMiB
}

import type { Drained } from './drain.ts'
import type { Workload } from './workloads.ts'

/** All turns of one workload, by the consumer's name. */
export interface Result {
  readonly workload: Pick<Workload, 'name' | 'title' | 'changes' | 'transactions'>
  readonly loadSeconds: number
  readonly turns: ReadonlyMap<string, readonly Drained[]>
}

/** The table of one workload: medians, and the ratio to `reference` pair by pair. */
export function table({ workload, loadSeconds, turns }: Result, reference: string): string {
  const lines = [
    `${workload.name}  ${workload.title} (written in ${loadSeconds.toFixed(1)} s)`,
    cells(['', 'seconds', 'faster by', 'changes/s', 'cpu up', 'own', 'down', 'stolen', 'MiB', 'start']),
  ]
  for (const [name, list] of turns) {
    const seconds = median(list.map((turn) => turn.seconds))
    const cpu = (of: keyof Drained['cpu']): string => median(list.map((turn) => turn.cpu[of])).toFixed(1)
    const ratio = ratios(turns, reference, name)
    lines.push(
      cells([
        list.some((turn) => turn.difference) ? `${name}: ROWS DIFFER` : name,
        seconds.toFixed(2),
        ratio.length === 0 || name === reference ? '' : `${median(ratio).toFixed(2)}x`,
        Math.round(workload.changes / seconds).toString(),
        ...[cpu('upstream'), cpu('consumer'), cpu('downstream'), cpu('stolen')],
        Math.round(Math.max(...list.map((turn) => turn.peakMiB))).toString(),
        median(list.map((turn) => turn.startSeconds)).toFixed(1),
      ]),
    )
  }
  return lines.join('\n')
}

/** How many times as fast as the reference, run by run. */
export function ratios(turns: Result['turns'], reference: string, name: string): number[] {
  const [of, to] = [turns.get(name) ?? [], turns.get(reference) ?? []]
  return of.flatMap((turn, i) => (to[i] ? [to[i].seconds / turn.seconds] : []))
}

/** Everything, for machines. */
export function json(results: readonly Result[], reference: string) {
  return results.map(({ workload, loadSeconds, turns }) => ({
    workload: workload.name,
    title: workload.title,
    changes: workload.changes,
    transactions: workload.transactions,
    load_seconds: loadSeconds,
    consumers: Object.fromEntries(
      [...turns].map(([name, list]) => [
        name,
        { ratio: median(ratios(turns, reference, name)), turns: list },
      ]),
    ),
  }))
}

export function median(list: readonly number[]): number {
  const sorted = list.toSorted((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle]! : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2
}

/** One line: the first cell at the left, the others at the right. */
export function cells(list: readonly string[], first = 34): string {
  return list.map((cell, i) => (i === 0 ? cell.padEnd(first) : cell.padStart(11))).join('')
}

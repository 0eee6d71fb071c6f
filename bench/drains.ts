import type { Cluster } from '../src/demo/cluster.ts'
import { Backlog, type Turn } from './backlog.ts'
import type { Consumer } from './consumer.ts'
import { type Drained, drain } from './drain.ts'
import type { Result } from './report.ts'
import { count, type Workload } from './workloads.ts'

/**
 * Each run lets the paired consumers drain the same backlog one after the other, every time another one first; after that those of
 * `single` have one turn each.
 */
export async function drains(
  ends: { readonly up: Cluster; readonly down: Cluster },
  workload: Workload,
  paired: readonly Consumer[],
  single: readonly Consumer[],
  runs: number,
  show: (text: string) => void,
): Promise<Result> {
  const turns: Turn[] = []
  for (let run = 0; run < runs; run++)
    for (let i = 0; i < paired.length; i++) {
      const consumer = paired[(i + run) % paired.length]!
      turns.push({ consumer, slot: `b${turns.length}` })
    }
  for (const consumer of single) turns.push({ consumer, slot: `b${turns.length}` })
  const backlog = new Backlog(ends.up, ends.down, workload)
  show(`${workload.name}: writing … (${count(workload.changes)} changes)`)
  const loadSeconds = await backlog.write(turns)
  const drained = new Map<string, Drained[]>([...paired, ...single].map(({ name }) => [name, []]))
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

import { existsSync } from 'node:fs'
import { debianBinDir } from '../src/demo/binaries.ts'
import { startCluster } from '../src/demo/cluster.ts'
import { Backlog } from './backlog.ts'
import type { Consumer } from './consumer.ts'
import { type Drained, drain } from './drain.ts'
import { follower } from './follower.ts'
import { naive } from './naive.ts'
import { native } from './native.ts'
import type { Options } from './options.ts'
import { pgcopydbFollow } from './pgcopydb.ts'
import { pglogical } from './pglogical.ts'
import type { Result } from './report.ts'
import { workloads } from './workloads.ts'

/** Others that follow, all on PostgreSQL 15, since that is what Debian has them for. P1 is W1 for them, and so on. */
export async function* peers(
  options: Options,
  settings: Readonly<Record<string, string>>,
  show: (text: string) => void,
): AsyncGenerator<Result> {
  const chosen = workloads(options.peers.scale)
    .filter(({ name }) => ['W1', 'W2', 'W3'].includes(name))
    .map((workload) => ({ ...workload, name: workload.name.replace('W', 'P') }))
    .filter(({ name }) => options.selected(name))
  if (chosen.length === 0) return
  const binDir = debianBinDir(15)
  if (!binDir) {
    show(
      'LEFT OUT: pglogical, pgcopydb and native on PostgreSQL 15, which is not installed (postgresql-15)\n',
    )
    return
  }
  const hasPglogical = existsSync(`${binDir}/../lib/pglogical.so`)
  const consumers: Consumer[] = [native, follower('follower')]
  if (hasPglogical) consumers.push(pglogical)
  else show('LEFT OUT: pglogical, which is not installed (postgresql-15-pglogical)\n')
  if (!existsSync(`${binDir}/../lib/wal2json.so`))
    show('LEFT OUT: pgcopydb follow, whose wal2json is not installed (postgresql-15-wal2json)\n')
  else if (pgcopydbFollow) consumers.push(pgcopydbFollow)
  else show('LEFT OUT: pgcopydb follow, which is not installed (pgcopydb)\n')
  consumers.push(naive)
  for (const workload of chosen) {
    const able = consumers.filter((consumer) => consumer !== pgcopydbFollow || workload.name === 'P2')
    if (able.length < consumers.length)
      show(`LEFT OUT: pgcopydb follow in ${workload.name}, whose end it does not reach\n`)
    const turns = new Map<string, Drained[]>(able.map(({ name }) => [name, []]))
    let loadSeconds = 0
    for (let run = 0; run < options.peers.runs; run++)
      for (let i = 0; i < able.length; i++) {
        const consumer = able[(i + run) % able.length]!
        show(`${workload.name} on 15: ${consumer.name} …`)
        // Servers of its own, thrown away as they are: pglogical's supervisor lets nobody drop a database (PostgreSQL 15 waits for it).
        const own = consumer === pglogical ? { shared_preload_libraries: 'pglogical' } : {}
        const start = () => startCluster({ binDir, settings: { ...settings, ...own } })
        const [up, down] = await Promise.all([start(), start()])
        const turn = { consumer, slot: 'peer' }
        const backlog = new Backlog(up, down, workload)
        loadSeconds = await backlog.write([turn])
        const place = await backlog.place(turn)
        turns.get(consumer.name)!.push(await drain(consumer, place, workload))
        await Promise.all([up.destroy(), down.destroy()])
      }
    show('')
    yield { workload: { ...workload, title: `${workload.title}, PostgreSQL 15` }, loadSeconds, turns }
  }
}

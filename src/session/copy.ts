import type pg from 'pg'
import { fencedError } from '../apply/errors.ts'
import { earlyWaves, lateWaves, type StepWave, schemaWaves } from '../copy/archive.ts'
import { Copier } from '../copy/copier.ts'
import type { CopyTable } from '../copy/table.ts'
import { failpoint } from '../failpoints.ts'
import { formatLsn, type Lsn, lsnFromServer } from '../model/lsn.ts'
import { destroyClient } from '../postgres/socket.ts'
import { recordRound } from '../provision/copy-progress.ts'
import { publishedTables } from '../provision/copy-tables.ts'
import { createSlot } from '../provision/create-slot.ts'
import { markBehind, tablesBehind } from '../provision/late.ts'
import type { Prepared } from '../provision/prepare.ts'
import { takeEpoch, waitingTables } from '../provision/progress.ts'
import { ask, askOne, column } from '../provision/query.ts'
import { type Snapshot, temporarySlot, underSnapshot } from '../provision/snapshot.ts'
import type { CopyContext } from './context.ts'
import { copyError } from './copy-error.ts'
import { copyBeside } from './copy-online.ts'
import { CopyPorts } from './copy-port.ts'
import { CopyReport } from './copy-report.ts'
import { runSteps } from './copy-steps.ts'
import { runSession } from './session.ts'

/**
 * Copies the tables that wait for it: brings the downstream's position to the place that a snapshot shows, then their rows under
 * it. What has changed upstream between the snapshot and its copy goes on waiting, for the next call.
 *
 * `snapshot`: of the slot that was just made, where nothing has been applied yet. Otherwise that of a temporary slot: the stream is applied
 * up to its consistent point, schema changes and all, but for the rows of the tables that wait.
 */
export async function copyWaiting(
  context: CopyContext,
  prepared: Prepared,
  snapshot: Snapshot | undefined,
  started: () => void,
): Promise<void> {
  const { settings, connections, log, health, stop } = context
  const { upstream, lock, apply } = connections
  const abort = new AbortController()
  const cut = (): void => abort.abort()
  let taken = snapshot
  // Keys that are checked row by row allow no table to be behind the others.
  const beside = !snapshot && prepared.replicationRole === 'replica' && settings.until === undefined
  stop.addEventListener('abort', cut, { once: true })
  for (const client of [upstream, lock, apply]) client.once('end', cut)
  // The snapshot's own connection ends with this one.
  abort.signal.addEventListener('abort', () => destroyClient(upstream), { once: true })
  try {
    const ports = new CopyPorts(context, prepared, abort.signal)
    const steps = async (waves: readonly StepWave[]): Promise<void> => {
      health.waiting = 'the initial copy'
      const epoch = await take(context, prepared, taken?.lsn ?? 0n)
      await runSteps(context, ports, epoch, waves)
    }
    if (!taken) {
      started()
      // What a stream needs has to be there before it.
      await steps(earlyWaves)
      if (context.waiting.size > 0) {
        health.waiting = 'an open transaction upstream'
        taken = await createSlot(settings, upstream, log, temporarySlot(settings))
        if (!(await streamTo(context, prepared, taken, started)) || stop.aborted) return
      }
    } else {
      started()
      await steps(schemaWaves)
    }
    health.waiting = 'the initial copy'
    if (taken) await copyUnder(context, prepared, taken, ports, beside)
    // Indexes may take long, and need no snapshot that holds up vacuum.
    await taken?.close()
    await steps(earlyWaves)
    if (!(await isUnfinished(lock, settings.name))) await steps(lateWaves)
  } finally {
    stop.removeEventListener('abort', cut)
    for (const client of [upstream, lock, apply]) client.removeListener('end', cut)
    health.waiting = undefined
    await taken?.close()
  }
}

/** Applies the stream up to the snapshot's place, but for the rows of tables that wait. False where it did not come so far. */
async function streamTo(
  context: CopyContext,
  prepared: Prepared,
  { lsn }: Snapshot,
  started: () => void,
): Promise<boolean> {
  const { connections, log, health, waiting } = context
  log.info(
    { lsn: formatLsn(lsn), tables: waiting.size },
    'tables are still to be copied: first the stream, up to the snapshot of their rows',
  )
  const session = { ...context, connections: await connections.withStream() }
  const end = await runSession(session, prepared, lsn, started)
  health.upstreamConnected = true
  return end === 'reached'
}

/** The downstream stands at the snapshot's place: its tables are those that the snapshot shows. */
async function copyUnder(
  context: CopyContext,
  prepared: Prepared,
  snapshot: Snapshot,
  ports: CopyPorts,
  beside: boolean,
): Promise<void> {
  const { settings, connections, log } = context
  const { upstream, lock } = connections
  // A TRUNCATE that was applied meanwhile has left nothing to copy.
  const waiting = await waitingTables(lock, settings.name)
  const epoch = await take(context, prepared, snapshot.lsn)
  await requireThere(lock, settings.name, epoch, snapshot.lsn)
  const published = await underSnapshot(upstream, snapshot.name, () =>
    publishedTables(upstream, prepared.publications),
  )
  const tables = published.flatMap((table): CopyTable[] => {
    const known = waiting.get(table.oid)
    return known ? [{ ...table, begun: known.begun, overwrite: known.overwrite }] : []
  })
  const gone = [...waiting.keys()].filter((oid) => !tables.some((table) => table.oid === oid))
  await forget(lock, settings.name, epoch, gone)
  for (const oid of gone) {
    waiting.delete(oid)
    // Should it be published again, it is late.
    context.known?.delete(oid)
  }
  await markBehind(lock, settings.name, epoch, beside)
  await recordRound(lock, settings.name, epoch, tables)
  await ports.look(tables)
  const report = new CopyReport(context, tables)
  ports.report = report
  const lsn = formatLsn(snapshot.lsn)
  log.info({ lsn, tables: tables.length, jobs: settings.copying.jobs }, 'copying tables')
  const copy = (epoch: bigint): Promise<void> =>
    new Copier(
      tables,
      {
        ...{ name: settings.name, epoch, snapshot: snapshot.name, lsn },
        ...{ jobs: settings.copying.jobs, splitBytes: settings.copying.splitBytes },
        versions: { upstream: prepared.upstreamVersion, downstream: prepared.downstreamVersion },
      },
      ports,
    ).run()
  try {
    if (beside && tables.length > 0) await copyBeside({ ...context, waiting }, prepared, snapshot.lsn, copy)
    else await copy(epoch)
  } catch (error) {
    throw copyError(error, settings)
  } finally {
    report.close()
  }
  await failpoint('copy.done')
  report.summary()
}

/** Takes the follow for what comes now, and says so to whom an incident is to be told. */
async function take(context: CopyContext, prepared: Prepared, lsn: Lsn): Promise<bigint> {
  const epoch = await takeEpoch(context.connections.lock, context.settings.name)
  context.positioned({
    ...{ epoch, lsn, systemIdentifier: prepared.systemIdentifier, timeline: prepared.timeline },
  })
  return epoch
}

/** Rows of a snapshot belong to its place alone: elsewhere changes would be missing, or come twice. */
async function requireThere(lock: pg.Client, name: string, epoch: bigint, lsn: Lsn): Promise<void> {
  const row = await askOne(
    lock,
    'downstream',
    'SELECT lsn FROM follower.progress WHERE name = $1 AND epoch = $2',
    [...[name, String(epoch)]],
  )
  if (!row) throw fencedError()
  if (lsnFromServer(column(row, 'lsn')) !== lsn)
    throw new Error(`the follow stands at ${row.lsn}, the snapshot of its tables at ${formatLsn(lsn)}`)
}

/** Tables that are gone upstream, or published no more. */
async function forget(lock: pg.Client, name: string, epoch: bigint, oids: readonly number[]): Promise<void> {
  if (oids.length === 0) return
  await ask(
    lock,
    'downstream',
    `DELETE FROM follower.copied_table WHERE follow = $1 AND relation = ANY ($3::oid[])
        AND EXISTS (SELECT FROM follower.progress p WHERE p.name = $1 AND p.epoch = $2)`,
    [name, String(epoch), oids.map(String)],
  )
}

/** Whether tables wait, or are behind the follow. */
async function isUnfinished(lock: pg.Client, name: string): Promise<boolean> {
  return (await waitingTables(lock, name)).size > 0 || (await tablesBehind(lock, name)).length > 0
}

import { Applier } from '../apply/applier.ts'
import type { ApplyEvents } from '../apply/events.ts'
import { ApplySession } from '../apply/session.ts'
import { Waiting } from '../apply/waiting.ts'
import { formatLsn, type Lsn } from '../model/lsn.ts'
import { planner } from '../plan/rows.ts'
import { failpointOn } from '../postgres/failpoint.ts'
import { destroyClient } from '../postgres/socket.ts'
import { Tracker } from '../progress/tracker.ts'
import { type Position, takePosition } from '../provision/position.ts'
import type { Prepared } from '../provision/prepare.ts'
import { TransactionQueue } from '../transaction/queue.ts'
import { Acknowledger } from './acknowledge.ts'
import { pinApply, type SessionContext } from './context.ts'
import { DdlReplayer } from './ddl-port.ts'
import { Durability } from './durability.ts'
import { IncidentCloser, judgeReadOnly, takeSkips } from './incidents.ts'
import { CaptureKeys } from './keys.ts'
import { LateWatch, meetLate } from './late.ts'
import { Observer } from './observe.ts'
import { pluginOf } from './plugin.ts'
import { Pump } from './pump.ts'
import { Report } from './report.ts'
import { bufferLimit, makeSource, type Source, startStream } from './source.ts'
import { UnpublishedWatch } from './unpublished.ts'
import { Watch } from './watch.ts'

/** Changes of a batch from which on they are put together by table. Tests set it, so that small ones are, too. */
const togetherFrom = Number(process.env.FOLLOWER_TOGETHER_FROM ?? 100)

/** After the wish to stop, this long for the batch in hand; then it is rolled back. */
const drainMs = 7000

/**
 * Follows over one set of connections. Resolves with `reached` when everything up to `until` is durable downstream, with `copy` when tables
 * are to be copied, with `over` when told to stop; rejects with what ended it.
 */
export async function runSession(
  context: SessionContext,
  prepared: Prepared,
  until: Lsn | undefined,
  started: () => void,
): Promise<'reached' | 'copy' | 'over'> {
  const { settings, connections, log, metrics, health, stop, lost } = context
  const ends = { upstream: connections.upstream, downstream: connections.lock }
  const position = await takePosition(settings, ends, prepared)
  context.positioned(position)
  await pinApply(connections.apply, settings, prepared.replicationRole)
  // Where changes are asked for once more.
  const from = context.catchUp?.lsn ?? position.lsn
  const { source, pump, applier, acknowledger, observer, unpublished, late, close } = await wire(
    context,
    prepared,
    { ...position, lsn: from },
    context.catchUp ? position.lsn : until,
  )

  let drain: NodeJS.Timeout | undefined
  const onStop = (): void => {
    source.receiver.hold('stop', true)
    pump.stop()
    void failpointOn('shutdown.draining', connections.stream)
    drain = setTimeout(() => destroyClient(connections.apply), drainMs)
  }
  const onLost = (): void => pump.fail(lost.reason as Error)
  try {
    await startStream(context, source.receiver, from, prepared)
    started()
    health.set('streaming')
    log[context.loud ? 'info' : 'debug'](
      { slot: settings.slot, lsn: formatLsn(position.lsn), epoch: position.epoch.toString() },
      `following ${settings.upstream.display}`,
    )
    metrics.upstreamInfo.set(
      {
        server_version: String(prepared.upstreamVersion),
        system_id: position.systemIdentifier,
        ...{ slot: settings.slot, plugin: settings.plugin, binary: 'false' },
        protocol: pluginOf[settings.plugin].version,
      },
      1,
    )
    await observer.look()
    unpublished.begin()
    // The answer tells how far the upstream is, before anything happens there.
    acknowledger.send(true)
    stop.addEventListener('abort', onStop, { once: true })
    lost.addEventListener('abort', onLost, { once: true })
    if (stop.aborted) onStop()
    if (lost.aborted) onLost()
    await applier.run(pump)
    await acknowledger.acknowledge()
    if (pump.reached) return 'reached'
    return late.found ? 'copy' : 'over'
  } catch (error) {
    // The batch in hand was given up because somebody wants us to stop: that is a good end.
    if (!stop.aborted) throw await judgeReadOnly(error, connections.lock)
    log.info({ reason: (error as Error).message }, 'the batch in hand was rolled back')
    return 'over'
  } finally {
    clearTimeout(drain)
    stop.removeEventListener('abort', onStop)
    lost.removeEventListener('abort', onLost)
    close()
    // It ends now, and is not lost.
    connections.stream.removeAllListeners('end')
    await source.receiver.finish()
  }
}

interface Wired {
  readonly source: Source
  readonly pump: Pump
  readonly applier: Applier
  readonly acknowledger: Acknowledger
  readonly observer: Observer
  readonly unpublished: UnpublishedWatch
  readonly late: LateWatch
  close(): void
}

/** Joins the stages: source → decode → transaction → plan → apply → progress. */
async function wire(
  context: SessionContext,
  prepared: Prepared,
  position: Position,
  until: Lsn | undefined,
): Promise<Wired> {
  const { settings, connections, log, metrics, health } = context
  const { apply, lock, upstream, stream } = connections
  const failed = (error: Error): void => pump.fail(error)
  // All that may fail comes before the timers.
  const skips = await takeSkips(lock, settings.name, metrics)
  const incidents = new IncidentCloser(lock, settings.name, failed)
  await incidents.look()
  const { rows } = await apply.query<{ role: string; pid: string }>(
    'SELECT current_user AS role, pg_backend_pid() AS pid',
  )
  const queue = new TransactionQueue()
  const tracker = new Tracker(position.lsn)
  const { catchUp, copiedAt } = context
  const pump = new Pump({
    ...{ tracker, queue, until, skips, oneByOne: context.oneByOne },
    held: ({ ddl, sides }) =>
      copiedAt !== undefined &&
      (ddl ||
        sides.some(
          (side) => side.kind === 'truncate' && side.relations.some(({ oid }) => context.waiting.has(oid)),
        )),
  })
  const report = new Report(settings.name, metrics, health, log, tracker, queue)
  metrics.bufferLimitBytes.set(bufferLimit)

  const source = makeSource(context, {
    position: position.lsn,
    pump,
    queue,
    decoded: (transaction) => report.decoded(transaction),
    asked: () => acknowledger.send(false),
    ended: (error, again) => (again ? pump.failAfter(error) : pump.fail(error)),
  })
  report.receiver = source.receiver
  const acknowledger = new Acknowledger({
    receiver: source.receiver,
    client: stream,
    tracker,
    walSenderTimeoutMs: prepared.walSenderTimeoutMs,
    most: catchUp?.lsn ?? copiedAt,
    failed,
    sent: (replyRequested) => {
      metrics.keepalives.inc({ direction: 'sent', reply_requested: String(replyRequested) })
      // Nothing to do, and ready for more: a stream that is held back while nothing is left to apply would be stuck.
      if (tracker.unapplied === 0 && !source.receiver.isHeld) health.beat()
    },
  })
  const durability = new Durability({
    tracker,
    lock,
    synchronousCommit: settings.synchronousCommit,
    changed: () => {
      pump.notify()
      acknowledger.acknowledgeSoon()
    },
    failed,
  })
  const observer = new Observer({
    upstream,
    settings,
    tracker,
    metrics,
    health,
    log,
    waiting: (waiting) => {
      const begins = waiting && !pump.waiting
      pump.waiting = waiting
      if (begins) pump.notify()
    },
    failed,
  })

  const progressed = (): void => {
    incidents.progressed()
    durability.committed()
    health.beat()
    context.progressed()
    acknowledger.acknowledgeSoon()
    if (queue.bytes < bufferLimit / 2) source.receiver.hold('queue', false)
  }
  const events: ApplyEvents = {
    applied: (batch, milliseconds, unchanged, ways) => {
      tracker.committed(batch.length, batch[batch.length - 1]!.endLsn)
      queue.done(batch.length)
      progressed()
      report.applied(batch, milliseconds, unchanged, ways)
    },
    moved: (lsn) => {
      tracker.moved(lsn, performance.now())
      progressed()
      report.positions()
    },
    skipped: (transaction) => {
      tracker.committed(1, transaction.endLsn)
      queue.done()
      progressed()
      report.skipped(transaction)
    },
    conflict: report.conflict,
    cascaded: report.cascaded,
    redone: report.redone,
  }
  const session = new ApplySession({
    client: apply,
    relations: source.assembler.relations,
    planner,
    name: settings.name,
    epoch: position.epoch,
    position: position.lsn,
    replicationRole: prepared.replicationRole,
    ordinaryTriggers: settings.ordinaryTriggers,
    togetherFrom,
    waiting: new Waiting({
      ...{
        follow: settings.name,
        tables: context.waiting.keys(),
        known: context.known,
        only: catchUp?.tables,
      },
      late: (relation) => meetLate(apply, settings, relation, log),
    }),
    moves: catchUp ? 'tables' : 'follow',
    incidentRows: settings.incidentRows,
  })
  const silent = (error: Error): void => {
    // The batch in hand ends with a lost connection, and would say only that.
    log.warn({ err: error }, error.message)
    failed(error)
    destroyClient(apply)
    destroyClient(lock)
  }
  const watch = new Watch({ lock, applyPid: rows[0]?.pid ?? '', tracker, health, failed, silent })
  const ddl = new DdlReplayer({
    ...{ settings, prepared, log, metrics, health, known: context.known },
    client: apply,
    daemonRole: rows[0]?.role ?? '',
    keys: new CaptureKeys(upstream),
    pins: () => pinApply(apply, settings, prepared.replicationRole),
  })
  const unpublished = new UnpublishedWatch({
    ...{ upstream, settings, prepared, metrics, log },
    told: context.toldTables,
    copies: context.known !== undefined,
  })
  const late = new LateWatch({
    ...{ lock, upstream, settings, prepared, log, tracker, known: context.known, failed },
    // Where some wait already, the stream goes on to where they are copied.
    active: context.waiting.size === 0 && !catchUp,
    ask: () => acknowledger.send(true),
    stop: () => pump.stop(),
  })
  const applier = new Applier(session, settings.onConflict, ddl, events)
  const close = (): void => {
    const all = [
      acknowledger,
      durability,
      observer,
      report,
      watch,
      unpublished,
      late,
      source.assembler,
      queue,
    ]
    for (const each of all) each.close()
  }
  return { source, pump, applier, acknowledger, observer, unpublished, late, close }
}

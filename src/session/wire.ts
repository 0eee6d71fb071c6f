import { Applier } from '../apply/applier.ts'
import type { ApplyEvents } from '../apply/events.ts'
import { ApplySession } from '../apply/session.ts'
import { Waiting } from '../apply/waiting.ts'
import { transactionsIn } from '../model/changes.ts'
import type { Lsn } from '../model/lsn.ts'
import { planner } from '../plan/rows.ts'
import { destroyClient } from '../postgres/socket.ts'
import { Tracker } from '../progress/tracker.ts'
import type { Position } from '../provision/position.ts'
import type { Prepared } from '../provision/prepare.ts'
import { TransactionQueue } from '../transaction/queue.ts'
import { Acknowledger } from './acknowledge.ts'
import { BacklogWatch } from './backlog-watch.ts'
import { mayArrive, pinApply, type SessionContext } from './context.ts'
import { DdlReplayer } from './ddl-port.ts'
import { Durability } from './durability.ts'
import { IncidentCloser, takeSkips } from './incidents.ts'
import { CaptureKeys } from './keys.ts'
import { LateWatch, meetLate } from './late.ts'
import { Observer } from './observe.ts'
import { Pump } from './pump.ts'
import { Report } from './report.ts'
import { makeSource, type Source } from './source.ts'
import { UnpublishedWatch } from './unpublished.ts'
import { versionsOf } from './upstream-info.ts'
import { Watch } from './watch.ts'

/** Changes of a batch from which on they are put together by table. Tests set it, so that small ones are, too. */
const togetherFrom = Number(process.env.FOLLOWER_TOGETHER_FROM ?? 100)

/** The stages of one session, joined. */
export interface Wired {
  readonly source: Source
  readonly tracker: Tracker
  readonly pump: Pump
  readonly applier: Applier
  readonly acknowledger: Acknowledger
  readonly observer: Observer
  readonly unpublished: UnpublishedWatch
  readonly late: LateWatch
  readonly backlog: BacklogWatch
  /** What ended the way in. */
  readonly ended: (error: Error, again: boolean) => void
  close(): void
}

/** Joins the stages: source → decode → transaction → plan → apply → progress. */
export async function wire(
  context: SessionContext,
  prepared: Prepared,
  binary: boolean,
  position: Position,
  until: Lsn | undefined,
): Promise<Wired> {
  const { settings, connections, log, metrics, health } = context
  const { apply, lock, upstream, stream } = connections
  const failed = (error: Error): void => pump.fail(error)
  const ended = (error: Error, again: boolean): void => (again ? pump.failAfter(error) : pump.fail(error))
  // All that may fail comes before the timers.
  const skips = await takeSkips(lock, settings.name, metrics)
  const incidents = new IncidentCloser(lock, settings.name, failed)
  await incidents.look()
  const { rows } = await apply.query<{ role: string; pid: string }>(
    'SELECT current_user AS role, pg_backend_pid() AS pid',
  )
  const { catchUp, copiedAt } = context
  // Where one of them may be left out, or may have to wait, each is handed out by itself.
  const queue = new TransactionQueue(skips.size === 0 && !context.oneByOne && copiedAt === undefined)
  const tracker = new Tracker(position.lsn)
  const pump = new Pump({
    ...{ tracker, queue, until, skips, oneByOne: context.oneByOne },
    arrives: mayArrive(context) ? context.streams : undefined,
    batchBytes: settings.memory.batch,
    arrivingBytes: settings.memory.open / 2,
    hold: (held) => source.flow.hold('arriving', held),
    askAgain: ({ xid }, reason) => {
      context.streams.askAgain(xid)
      // It may end now, and is not lost.
      stream.removeAllListeners('end')
      source.flow.hold('stop', true)
      log.info({ xid }, `a large transaction is asked for again: ${reason}`)
    },
    held: ({ ddl, sides }) =>
      copiedAt !== undefined &&
      (ddl ||
        sides.some(
          (side) => side.kind === 'truncate' && side.relations.some(({ oid }) => context.waiting.has(oid)),
        )),
  })
  const report = new Report(settings.name, metrics, health, log, tracker, queue)
  metrics.bufferLimitBytes.set(settings.memory.queue)

  const source = makeSource(context, {
    position: position.lsn,
    ...{ pump, queue, binary },
    decoded: (transaction) => report.decoded(transaction),
    asked: () => acknowledger.send(false),
    ended,
  })
  report.flow = source.flow
  const acknowledger = new Acknowledger({
    receiver: source.receiver,
    flow: source.flow,
    client: stream,
    tracker,
    walSenderTimeoutMs: prepared.walSenderTimeoutMs,
    most: catchUp?.lsn ?? copiedAt,
    awaited: () => pump.waiting,
    failed,
    sent: (replyRequested, told) => {
      if (told) metrics.keepalives.inc({ direction: 'sent', reply_requested: String(replyRequested) })
      // Nothing to do, and ready for more: a stream that is held back while nothing is left to apply would be stuck.
      if (!tracker.busy && !source.flow.isHeld) health.beat()
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
  const backlog = new BacklogWatch({
    ...{ flow: source.flow, receiver: source.receiver, assembler: source.assembler, pump },
    mayPull: () => settings.backlog === 'pull' && context.pulling?.mayTry === true,
    stop: () => {
      log.info('the stream falls behind by its own slowness: the backlog is pulled')
      pump.stop()
    },
  })
  const observer = new Observer({
    upstream,
    settings,
    tracker,
    metrics,
    health,
    log,
    end: (walEnd) => backlog.look(walEnd, tracker.seen),
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
    if (queue.bytes < settings.memory.queue / 2) source.flow.hold('queue', false)
    if (context.values.mayReturn(tracker.applied, performance.now())) pump.stop()
  }
  const events: ApplyEvents = {
    applied: (batch, ...told) => {
      const { endLsn } = batch[batch.length - 1]!
      tracker.committed(transactionsIn(batch), endLsn)
      queue.done(endLsn)
      progressed()
      report.applied(batch, ...told)
    },
    moved: (lsn) => {
      tracker.moved(lsn, performance.now())
      progressed()
      report.positions()
    },
    skipped: (transaction) => {
      tracker.committed(1, transaction.endLsn)
      queue.done(transaction.endLsn)
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
    binary: binary ? versionsOf(prepared) : undefined,
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
  return { source, tracker, pump, applier, acknowledger, observer, unpublished, late, backlog, ended, close }
}

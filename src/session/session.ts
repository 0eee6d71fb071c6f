import { Applier } from '../apply/applier.ts'
import { ApplySession } from '../apply/session.ts'
import { decodePgoutput } from '../decode/pgoutput.ts'
import type { FollowSettings } from '../model/follow.ts'
import { formatLsn, type Lsn, lsnFromServer } from '../model/lsn.ts'
import { planner } from '../plan/rows.ts'
import { failpointOn } from '../postgres/failpoint.ts'
import { pins } from '../postgres/pins.ts'
import { destroyClient } from '../postgres/socket.ts'
import { sqlstate } from '../postgres/sqlstate.ts'
import { Tracker } from '../progress/tracker.ts'
import { takePosition } from '../provision/position.ts'
import { type Prepared, prepare } from '../provision/prepare.ts'
import { slotHolder } from '../provision/slot.ts'
import { Receiver } from '../stream/receiver.ts'
import type { Health } from '../telemetry/health.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { Assembler } from '../transaction/assembler.ts'
import { TransactionQueue } from '../transaction/queue.ts'
import { Acknowledger } from './acknowledge.ts'
import { type Connections, heldError } from './connections.ts'
import { DdlReplayer } from './ddl-port.ts'
import { Durability } from './durability.ts'
import { CaptureKeys } from './keys.ts'
import { Observer } from './observe.ts'
import { Pump } from './pump.ts'
import { Report } from './report.ts'

/** Received and not yet applied: from here the upstream is held back. */
const bufferLimit = 64 * 1024 * 1024
/** After the wish to stop, this long for the batch in hand; then it is rolled back. */
const drainMs = 7000

export interface SessionContext {
  readonly settings: FollowSettings
  readonly connections: Connections
  readonly log: Logger
  readonly metrics: Metrics
  readonly health: Health
  readonly stop: AbortSignal
  /** Set by the caller when a connection is lost. */
  readonly lost: AbortSignal
  /** Of an earlier session of this process: then nothing has to be created. */
  readonly prepared: Prepared | undefined
  readonly until: Lsn | undefined
}

/** Prepares both ends, unless an earlier session of this process did. */
export async function prepareEnds(context: SessionContext): Promise<Prepared> {
  const { settings, connections, log } = context
  if (context.prepared) return context.prepared
  return prepare(settings, { upstream: connections.upstream, downstream: connections.lock }, log)
}

/**
 * Follows over one set of connections: wires source, decode, transaction, apply and progress in this order.
 * Resolves when told to stop or when `until` is reached; rejects with what ended it.
 */
export async function runSession(
  context: SessionContext,
  prepared: Prepared,
  started: () => void,
): Promise<void> {
  const { settings, connections, log, metrics, health, stop } = context
  const { apply, lock, upstream, stream } = connections
  const position = await takePosition(settings, { upstream, downstream: lock }, prepared)
  const pinAll = async (): Promise<void> => {
    await apply.query(pins('downstream'))
    await apply.query(`SET session_replication_role = replica`)
    await apply.query(`SET synchronous_commit = ${settings.synchronousCommit ? 'on' : 'off'}`)
  }
  await pinAll()
  const daemonRole = (await apply.query<{ role: string }>('SELECT current_user AS role')).rows[0]?.role ?? ''

  const queue = new TransactionQueue()
  const tracker = new Tracker(position.lsn)
  const pump = new Pump(tracker, queue, context.until)
  const fail = (error: Error): void => pump.fail(error)
  const report = new Report(settings.name, metrics, log, tracker, queue)
  const assembler = new Assembler(position.lsn, {
    transaction: (transaction) => {
      if (failpointOn('stream.received', stream)) receiver.hold(true)
      metrics.decodedTransactions.inc({ kind: 'normal' })
      pump.transaction(transaction)
      if (queue.bytes > bufferLimit) receiver.hold(true)
    },
    passed: (endLsn, duplicate) => {
      if (duplicate) metrics.duplicatesSuppressed.inc({ downstream: settings.name })
      else pump.passed(endLsn, false)
    },
  })
  const receiver = new Receiver(stream, {
    wal: (buffer, offset, length) => decodePgoutput(buffer, offset, length, assembler),
    keepalive: (walEnd, replyRequested) => {
      metrics.keepalives.inc({ direction: 'received', reply_requested: String(replyRequested) })
      // P6: within a transaction a keepalive's position says nothing of it.
      if (!assembler.inTransaction) pump.passed(walEnd, replyRequested)
      if (replyRequested) acknowledger.send(false)
    },
    ended: fail,
  })
  metrics.bufferLimitBytes.set(bufferLimit)

  const acknowledger = new Acknowledger({
    receiver,
    client: stream,
    tracker,
    walSenderTimeoutMs: prepared.walSenderTimeoutMs,
    failed: fail,
    sent: (replyRequested) => {
      metrics.keepalives.inc({ direction: 'sent', reply_requested: String(replyRequested) })
      if (queue.length === 0 && tracker.unapplied === 0) health.beat()
    },
  })
  const durability = new Durability({
    tracker,
    lock,
    synchronousCommit: settings.synchronousCommit,
    changed: () => {
      pump.notify()
      acknowledger.acknowledge().catch(fail)
    },
    failed: fail,
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
    failed: fail,
  })

  const progressed = (): void => {
    durability.committed()
    report.positions()
    health.beat()
    health.lagSeconds = report.lagSeconds
    acknowledger.acknowledge().catch(fail)
    if (queue.bytes < bufferLimit / 2) receiver.hold(false)
  }
  const applier = new Applier(
    new ApplySession({
      client: apply,
      relations: assembler.relations,
      planner,
      name: settings.name,
      epoch: position.epoch,
      position: position.lsn,
    }),
    settings.onConflict,
    new DdlReplayer({
      settings,
      prepared,
      client: apply,
      daemonRole,
      keys: new CaptureKeys(upstream),
      pins: pinAll,
      log,
      metrics,
      health,
    }),
    {
      applied: (batch, milliseconds) => {
        tracker.committed(batch.length, batch[batch.length - 1]!.endLsn)
        progressed()
        report.applied(batch, milliseconds)
        health.set('streaming')
      },
      moved: (lsn) => {
        tracker.moved(lsn, performance.now())
        progressed()
      },
      conflict: report.conflict,
      redone: report.redone,
    },
  )

  let drain: NodeJS.Timeout | undefined
  const onStop = (): void => {
    receiver.hold(true)
    pump.stop()
    void failpointOn('shutdown.draining', stream)
    drain = setTimeout(() => destroyClient(apply), drainMs)
  }
  const onLost = (): void => fail(context.lost.reason as Error)
  try {
    await startStream(context, receiver, position.lsn, prepared)
    started()
    health.set('streaming')
    log.info(
      { slot: settings.slot, lsn: formatLsn(position.lsn), epoch: position.epoch.toString() },
      `following ${settings.upstream.display}`,
    )
    await observer.look()
    acknowledger.send(true)
    stop.addEventListener('abort', onStop, { once: true })
    context.lost.addEventListener('abort', onLost, { once: true })
    if (stop.aborted) onStop()
    if (context.lost.aborted) onLost()
    await applier.run(pump)
    await acknowledger.acknowledge()
  } catch (error) {
    // The batch in hand was given up because somebody wants us to stop: that is a good end.
    if (!stop.aborted) throw error
    log.info({ reason: (error as Error).message }, 'the batch in hand was rolled back')
  } finally {
    clearTimeout(drain)
    stop.removeEventListener('abort', onStop)
    context.lost.removeEventListener('abort', onLost)
    acknowledger.close()
    durability.close()
    observer.close()
    report.close()
    await receiver.finish()
  }
}

async function startStream(
  context: SessionContext,
  receiver: Receiver,
  start: Lsn,
  prepared: Prepared,
): Promise<void> {
  const { settings, connections } = context
  try {
    await receiver.start({
      slot: settings.slot,
      start,
      plugin: {
        proto_version: '1',
        publication_names: prepared.publications.map((name) => `"${name.replaceAll('"', '""')}"`).join(','),
        messages: 'true',
      },
    })
  } catch (error) {
    if (sqlstate(error) !== '55006') throw error
    const holder = await slotHolder(connections.upstream, settings.slot)
    const who = holder ? `pid ${holder.pid} (${holder.applicationName})` : 'another session'
    if (!settings.wait) throw heldError(settings.name, `the slot "${settings.slot}" is used by ${who}`)
    throw error
  }
}

/** The LSN that `--until now` means. */
export async function resolveUntil(context: SessionContext): Promise<Lsn | undefined> {
  const { settings, connections } = context
  if (settings.until !== 'now') return settings.until
  const { rows } = await connections.upstream.query<{ lsn: string }>('SELECT pg_current_wal_lsn() AS lsn')
  return rows[0] ? lsnFromServer(rows[0].lsn) : undefined
}

import { TextWanted } from '../apply/text-wanted.ts'
import { FollowerError } from '../errors.ts'
import type { Transaction } from '../model/changes.ts'
import type { Lsn } from '../model/lsn.ts'
import { failpointOn } from '../postgres/failpoint.ts'
import type { ServerError } from '../postgres/response.ts'
import { sqlstate } from '../postgres/sqlstate.ts'
import { pluginRefused } from '../provision/plugin.ts'
import type { Prepared } from '../provision/prepare.ts'
import { slotHolder } from '../provision/slot.ts'
import { Flow } from '../stream/flow.ts'
import { Receiver } from '../stream/receiver.ts'
import { Assembler } from '../transaction/assembler.ts'
import type { TransactionQueue } from '../transaction/queue.ts'
import { SpillFile } from '../transaction/spill.ts'
import { heldError, sessionKey } from './connections.ts'
import { mayArrive, type SessionContext } from './context.ts'
import { type Decode, pluginOf } from './plugin.ts'
import { publicationMissing } from './publication-missing.ts'
import type { Pump } from './pump.ts'
import { streamError } from './stream-error.ts'

/** The way in: stream, or pulled windows; decode, transaction, queue. */
export interface Source {
  readonly flow: Flow
  readonly receiver: Receiver
  readonly assembler: Assembler
  /** Takes one message of the plugin. */
  readonly wal: Decode
  /** Everything before it has arrived. */
  passed(lsn: Lsn): void
  /** What the server says beside the messages: logs it, or tells that from here on they lack something. */
  notice(notice: ServerError): FollowerError | undefined
  /** Large transactions come before their commit. */
  readonly streaming: boolean
}

export interface SourceOptions {
  readonly position: Lsn
  readonly pump: Pump
  readonly queue: TransactionQueue
  readonly binary: boolean
  readonly decoded: (transaction: Transaction) => void
  /** The upstream asks where we are. */
  readonly asked: () => void
  /** `again`: it would end there again. */
  readonly ended: (error: Error, again: boolean) => void
}

/** Wires the way in; nothing flows before `startStream`. */
export function makeSource(context: SessionContext, options: SourceOptions): Source {
  const { metrics, settings, connections } = context
  const { pump, queue } = options
  const flow = new Flow()
  const streaming = settings.streaming && !context.streams.off && mayArrive(context)
  context.streams.off = false
  context.streams.again = false
  /** The next session is sent whole transactions: those that are rolled back never come then. */
  const askForWhole = (reason: string): void => {
    context.log.info(`large transactions are asked for whole: ${reason}`)
    context.streams.off = true
    // It may end now, and is not lost.
    connections.stream.removeAllListeners('end')
    flow.hold('stop', true)
    pump.stop()
  }
  /** What is not committed yet, and may never be, is no reason to stop. */
  const lacksRoom = (error: Error): boolean =>
    streaming && error instanceof FollowerError && ['FLW-334', 'FLW-335'].includes(error.code)
  const assembler = new Assembler(options.position, {
    transaction: (transaction) => {
      options.decoded(transaction)
      pump.transaction(transaction)
      if (failpointOn('stream.received', connections.stream) !== undefined) flow.hold('stop', true)
      if (queue.bytes > settings.memory.queue) flow.hold('queue', true)
    },
    passed: (endLsn, duplicate) => {
      if (duplicate) metrics.duplicatesSuppressed.inc({ downstream: settings.name })
      else pump.passed(endLsn, false)
    },
    grows: (transaction) => pump.grows(transaction),
    dropped: () => pump.notify(),
    unclear: () => askForWhole('one has schema changes, and subtransactions that were rolled back'),
    memory: settings.memory.open,
    spill: () =>
      new SpillFile({
        ...settings.spill,
        unwritten: settings.memory.unwritten,
        pressure: (high) => flow.hold('spill', high),
        changed: (bytes) => metrics.spilledBytes.inc(bytes),
        failed: (error) => (lacksRoom(error) ? askForWhole(error.message) : options.ended(error, false)),
      }),
    forged: () => metrics.ddlMessagesRejected.inc({ downstream: settings.name, reason: 'transaction' }),
  })
  let noticed = ''
  const notice = (said: ServerError): FollowerError | undefined => {
    const missing = publicationMissing(settings, said)
    // Such as a standby of synchronized_standby_slots that is waited for: said again and again.
    if (!missing && said.message !== noticed)
      context.log.warn({ sqlstate: said.code, detail: said.detail }, `upstream: ${said.message}`)
    noticed = said.message
    return missing
  }
  const wal = pluginOf[settings.plugin].decoder(assembler, settings, streaming)
  const receiver = new Receiver(connections.stream, flow, {
    wal,
    keepalive: (walEnd, replyRequested) => {
      metrics.keepalives.inc({ direction: 'received', reply_requested: String(replyRequested) })
      // P6: within a transaction a keepalive's position says nothing of it.
      if (!assembler.inTransaction) pump.passed(walEnd, replyRequested)
      if (replyRequested) options.asked()
    },
    notice: (said) => {
      const missing = notice(said)
      if (missing) throw missing
    },
    ended: (error) => {
      if (lacksRoom(error)) return askForWhole(error.message)
      // An array or a row of a type that is sent as text alone: the upstream says so only when it comes to the value.
      if (options.binary && sqlstate(error) === '42883')
        return options.ended(new TextWanted(error.message), true)
      const reason = publicationMissing(settings, error) ?? streamError(error, settings.upstream)
      options.ended(reason, reason instanceof FollowerError && !reason.transient)
    },
  })
  return { flow, receiver, assembler, streaming, wal, notice, passed: (lsn) => pump.passed(lsn, false) }
}

/** Starts the stream at `start`; a slot in use is waited for, unless the user chose not to wait (exit 11). */
export async function startStream(
  { settings, connections, past }: SessionContext,
  { receiver, streaming }: Source,
  start: Lsn,
  prepared: Prepared,
  binary: boolean,
): Promise<void> {
  try {
    await receiver.start({
      slot: settings.slot,
      start,
      plugin: pluginOf[settings.plugin].options(prepared.publications, { binary, streaming }),
    })
  } catch (error) {
    const refused = await pluginRefused(connections.upstream, settings.plugin, error)
    if (refused) throw refused
    const passing = streamError(error as Error, settings.upstream)
    if (sqlstate(error) !== '55006' || settings.wait) throw passing
    const holder = await slotHolder(connections.upstream, settings.slot)
    if (past.has(sessionKey('upstream', holder?.pid))) throw passing
    const who = holder ? `pid ${holder.pid} (${holder.applicationName})` : 'another session'
    throw heldError(settings.name, `the slot "${settings.slot}" is used by ${who}`)
  }
}

import { FollowerError } from '../errors.ts'
import { formatLsn, type Lsn } from '../model/lsn.ts'
import { failpointOn } from '../postgres/failpoint.ts'
import { destroyClient } from '../postgres/socket.ts'
import { takePosition } from '../provision/position.ts'
import type { Prepared } from '../provision/prepare.ts'
import { pinApply, type SessionContext } from './context.ts'
import { judgeReadOnly } from './incidents.ts'
import { openPull } from './open-pull.ts'
import type { Pull } from './pull.ts'
import { startStream } from './source.ts'
import { judgeRemoved } from './stream-error.ts'
import { tellUpstream } from './upstream-info.ts'
import { wire } from './wire.ts'

/** After the wish to stop, this long for the batch in hand; then it is rolled back. */
const drainMs = 7000

/**
 * Follows over one set of connections. Resolves with `reached` when everything up to `until` is durable downstream, with `copy` when tables
 * are to be copied, with `again` when another session is to go on in another way, with `over` when told to stop; rejects with what ended it.
 */
export async function runSession(
  context: SessionContext,
  prepared: Prepared,
  until: Lsn | undefined,
  started: () => void,
): Promise<'reached' | 'copy' | 'again' | 'over'> {
  const { settings, connections, log, metrics, health, stop, lost } = context
  const ends = { upstream: connections.upstream, downstream: connections.lock }
  const position = await takePosition(settings, ends, prepared)
  context.positioned(position)
  await pinApply(connections.apply, settings, prepared.replicationRole)
  // Where changes are asked for once more.
  const from = context.catchUp?.lsn ?? position.lsn
  // A session beside a copy would not be begun again before its end.
  const alone = context.copiedAt === undefined && context.catchUp === undefined
  const binary = alone && context.values.binary
  const last = context.catchUp ? position.lsn : until
  const wired = await wire(context, prepared, binary, { ...position, lsn: from }, last)
  const { source, pump, applier, acknowledger, observer, unpublished, late, backlog, close } = wired

  let drain: NodeJS.Timeout | undefined
  let pull: Pull | undefined
  let ended = false
  const stream = async (start: Lsn): Promise<void> => {
    await startStream(context, source, start, prepared, binary)
    metrics.receivingWay.set({ way: 'stream' }, 1)
    // The answer tells how far the upstream is, before anything happens there.
    acknowledger.send(true)
  }
  const pullFirst = async (): Promise<void> => {
    const opened = await openPull({ context, ...wired, position: from, until: last }, prepared, binary)
    pull = opened
    if (ended) return opened?.close()
    if (!opened) return stream(from)
    void opened
      .run()
      .then((start) => (start === undefined ? undefined : stream(start)))
      .catch((error: Error) => {
        // What ends with the session is no reason of its own.
        if (!stop.aborted) wired.ended(error, error instanceof FollowerError && !error.transient)
      })
  }
  const onStop = (): void => {
    source.flow.hold('stop', true)
    pump.stop()
    void pull?.close()
    void failpointOn('shutdown.draining', connections.stream)
    drain = setTimeout(() => destroyClient(connections.apply), drainMs)
  }
  const onLost = (): void => pump.fail(lost.reason as Error)
  const begin = async (): Promise<void> => {
    await pullFirst()
    if (ended) return
    started()
    health.set('streaming')
    log[context.loud ? 'info' : 'debug'](
      { slot: settings.slot, lsn: formatLsn(position.lsn), epoch: position.epoch.toString() },
      `following ${settings.upstream.display}`,
    )
    tellUpstream(context, prepared, position.systemIdentifier, { binary, streaming: source.streaming })
    await observer.look()
    unpublished.begin()
    // Until here, what is lost is told by whoever waits for it, and says more.
    lost.addEventListener('abort', onLost, { once: true })
    if (lost.aborted) onLost()
  }
  try {
    stop.addEventListener('abort', onStop, { once: true })
    if (stop.aborted) onStop()
    // Beside each other: an upstream that falls silent at the beginning is noticed, and ends the session, too.
    const begun = begin()
    begun.catch((error: Error) => pump.fail(error))
    await applier.run(pump)
    if (!stop.aborted) await begun
    await acknowledger.acknowledge()
    if (pump.reached) await pull?.finish()
    if (pump.reached) return 'reached'
    if (late.found) return 'copy'
    if (stop.aborted) return 'over'
    const { streams, values } = context
    const otherwise = backlog.found || streams.off || streams.again || (alone && binary !== values.binary)
    return otherwise ? 'again' : 'over'
  } catch (error) {
    // The batch in hand was given up because somebody wants us to stop: that is a good end.
    if (!stop.aborted) {
      const judged = await judgeReadOnly(error, connections.lock)
      throw await judgeRemoved(judged, connections.upstream, settings.slot)
    }
    log.info({ reason: (error as Error).message }, 'the batch in hand was rolled back')
    return 'over'
  } finally {
    ended = true
    clearTimeout(drain)
    stop.removeEventListener('abort', onStop)
    lost.removeEventListener('abort', onLost)
    close()
    await pull?.close()
    metrics.receivingWay.set({ way: 'stream' }, 0)
    // It ends now, and is not lost.
    connections.stream.removeAllListeners('end')
    await source.receiver.finish()
  }
}

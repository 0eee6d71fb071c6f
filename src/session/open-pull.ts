import type pg from 'pg'
import type { Lsn } from '../model/lsn.ts'
import { failpointOn } from '../postgres/failpoint.ts'
import {
  type Backlog,
  beginsLarge,
  copySlot,
  cursorName,
  readBacklog,
  setLifelines,
  setWindowMemory,
} from '../provision/cursor.ts'
import type { Prepared } from '../provision/prepare.ts'
import type { SessionContext } from './context.ts'
import { pluginOf } from './plugin.ts'
import { Pull, type PullOptions } from './pull.ts'
import { pullFrom } from './pull-size.ts'

/**
 * Copies the slot and makes all that pulling needs, where a large backlog is to be pulled; undefined: it is streamed. That the server has no
 * free slot, or does not let us, is no error.
 */
export async function openPull(
  options: Pick<PullOptions, 'context' | 'source' | 'tracker' | 'position' | 'until' | 'ended'>,
  prepared: Prepared,
  binary: boolean,
): Promise<Pull | undefined> {
  const { context, position } = options
  const { settings, connections, log, stop, lost } = context
  const backlog = await wanted(context, position)
  if (!backlog) return undefined
  let reader: pg.Client | undefined
  try {
    reader = await connections.another()
    await setLifelines(reader)
    await setWindowMemory(reader)
    const cursor = cursorName(settings.slot)
    await copySlot(reader, settings.slot, cursor)
    await failpointOn('pull.copied', reader)
    const streams = pluginOf[settings.plugin].options(prepared.publications, { binary, streaming: true })
    // The stream brings it while it is decoded; a window has to be decoded whole before any of it comes.
    if (options.source.streaming && (await beginsLarge(reader, cursor, streams))) {
      await connections.leave(reader)
      log.info('the backlog is streamed: it begins with a large transaction')
      return undefined
    }
    const plugin = pluginOf[settings.plugin].options(prepared.publications, { binary, streaming: false })
    const { source, tracker, until, ended } = options
    const given = { context, source, tracker, position, until, ended }
    return new Pull({ ...given, reader, cursor, plugin, confirmed: backlog.confirmedFlushLsn })
  } catch (error) {
    if (reader) await connections.leave(reader)
    if (stop.aborted || lost.aborted) throw error
    context.pulling?.rest()
    log.info({ reason: (error as Error).message }, 'the backlog is streamed: it cannot be pulled')
    return undefined
  }
}

async function wanted(context: SessionContext, position: Lsn): Promise<Backlog | undefined> {
  const { settings, connections, pulling, oneByOne, log } = context
  if (settings.backlog === 'stream' || settings.plugin !== 'pgoutput' || !pulling?.mayTry || oneByOne)
    return undefined
  const backlog = await readBacklog(connections.upstream, settings.slot)
  if (!backlog || backlog.walEnd - position < pullFrom) return undefined
  // Who has it is waited for by the stream, which says so.
  if (backlog.held) return undefined
  const reason = backlog.twoPhase
    ? 'the slot is a two-phase slot'
    : backlog.waitsForStandbys
      ? 'the slot waits for synchronized_standby_slots'
      : undefined
  if (reason === undefined) return backlog
  // Otherwise a stream that falls behind would end again and again for nothing.
  pulling.rest()
  log.info({ reason }, `the backlog is streamed: ${reason}`)
  return undefined
}

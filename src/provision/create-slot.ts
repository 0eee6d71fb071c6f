import type pg from 'pg'
import type { FollowSettings } from '../model/follow.ts'
import { type Lsn, lsnFromServer } from '../model/lsn.ts'
import { connect } from '../postgres/connect.ts'
import { quoteIdentifier } from '../postgres/identifier.ts'
import { destroyClient } from '../postgres/socket.ts'
import { sql } from '../postgres/sql.ts'
import type { Logger } from '../telemetry/log.ts'
import { pluginRefused } from './plugin.ts'
import { ask, askOne, column } from './query.ts'
import { requireSameServer } from './same-server.ts'
import { readSlot } from './slot.ts'
import type { Snapshot } from './snapshot.ts'

/** How long a wait goes on untold, and how often it is told. */
const reportEveryMs = 5000

/**
 * Creates a slot and keeps the snapshot that shows the upstream as of its consistent point. The server first waits for every
 * transaction that is open upstream; whom it waits for is logged. Losing the connection leaves no slot, or a whole one; a
 * temporary one goes with it. The end of `upstream` ends it, too.
 * https://www.postgresql.org/docs/current/protocol-replication.html#PROTOCOL-REPLICATION-CREATE-REPLICATION-SLOT
 */
export async function createSlot(
  settings: FollowSettings,
  upstream: pg.Client,
  log: Logger,
  kind: { readonly slot: string; readonly temporary: boolean } = { slot: settings.slot, temporary: false },
): Promise<Snapshot> {
  const { applicationName } = settings
  const walsender = await connect({
    end: 'upstream',
    conninfo: settings.upstream,
    applicationName,
    replication: true,
  })
  // Whoever ends the session ends this part of it, too.
  const cut = (): void => destroyClient(walsender)
  upstream.once('end', cut)
  const close = async (): Promise<void> => {
    upstream.removeListener('end', cut)
    await walsender.end().catch(() => {})
  }
  try {
    await requireSameServer('upstream', upstream, walsender)
    const session = await askOne(
      walsender,
      'upstream',
      "SELECT pg_backend_pid() AS pid, current_setting('server_version_num') AS version",
    )
    const reporter = reportWaits(settings, column(session ?? {}, 'pid'), log)
    // A standby that synchronizes slots (from 17 on) has this one, too, and after a failover the follow goes on there.
    const failover = Number(session?.version) >= 170000 && !kind.temporary
    const options = failover ? "(SNAPSHOT 'export', FAILOVER)" : 'EXPORT_SNAPSHOT'
    // The snapshot lives until the walsender's next command.
    const slot = await askOne(
      walsender,
      'upstream',
      `CREATE_REPLICATION_SLOT ${quoteIdentifier(kind.slot)} ${kind.temporary ? 'TEMPORARY ' : ''}LOGICAL ${settings.plugin} ${options}`,
    )
      .finally(reporter.stop)
      .catch(async (error: unknown) => {
        throw (await pluginRefused(upstream, settings.plugin, error)) ?? error
      })
    const made = slot ?? {}
    return {
      name: column(made, 'snapshot_name'),
      lsn: lsnFromServer(column(made, 'consistent_point')),
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

/**
 * The position of a slot that is there: its consistent point as long as nobody used it. Where an earlier start
 * was killed, the server may still be creating it for nobody: waits until that is done, or until the slot is gone.
 */
export async function slotPosition(
  settings: FollowSettings,
  upstream: pg.Client,
  log: Logger,
): Promise<Lsn | undefined> {
  for (let waits = 0; ; waits++) {
    const slot = await readSlot(upstream, settings.slot)
    if (!slot || slot.confirmedFlushLsn !== undefined) return slot?.confirmedFlushLsn
    if (waits % 50 === 0)
      log.info(
        {
          slot: slot.name,
          pid: slot.holder?.pid,
          waitsFor: await blockers(upstream, slot.holder?.pid ?? '0'),
        },
        'waiting for a slot that an earlier start is still creating',
      )
    await new Promise((resolve) => setTimeout(resolve, reportEveryMs / 50))
  }
}

/** Tells every few seconds whom the session `pid` waits for, over a connection of its own, until stopped. */
function reportWaits(settings: FollowSettings, pid: string, log: Logger): { stop(): Promise<void> } {
  const abort = new AbortController()
  let client: pg.Client | undefined
  const report = async (): Promise<void> => {
    client ??= await connect({
      end: 'upstream',
      conninfo: settings.upstream,
      applicationName: settings.applicationName,
      signal: abort.signal,
    })
    log.info(
      { slot: settings.slot, waitsFor: await blockers(client, pid) },
      'creating the slot: waiting for transactions that are open upstream',
    )
  }
  let reporting: Promise<void> = Promise.resolve()
  const timer = setInterval(() => {
    // One at a time; that a report failed is no reason to give up the slot.
    reporting = reporting.then(report).catch((error: unknown) => {
      if (!abort.signal.aborted) log.debug({ err: error }, 'cannot tell whom the slot waits for')
    })
  }, reportEveryMs)
  return {
    async stop() {
      clearInterval(timer)
      abort.abort()
      await reporting
      await client?.end().catch(() => {})
    },
  }
}

/** Whom the session `pid` waits for, as phrases: processes and prepared transactions. */
export async function blockers(upstream: pg.Client, pid: string): Promise<readonly string[]> {
  const found = await ask(upstream, 'upstream', sql('query/blockers'), [pid])
  return found.map((row) =>
    row.state === 'prepared'
      ? `prepared transaction ${row.application_name} (xid ${row.xid}, role ${row.role}, since ${row.since})`
      : `process ${row.pid} (xid ${row.xid}, role ${row.role}, ${row.application_name}, ${row.state}, since ${row.since})`,
  )
}

import { FollowerError } from '../errors.ts'
import { failpoint } from '../failpoints.ts'
import { formatLsn, type Lsn } from '../model/lsn.ts'
import { caughtUp, copyAnew, type TableBehind, tablesBehind } from '../provision/late.ts'
import type { Prepared } from '../provision/prepare.ts'
import { readSlot } from '../provision/slot.ts'
import { displayTable } from '../provision/tables.ts'
import type { CopyContext } from './context.ts'
import { halts, record, withWaysOn } from './halt.ts'
import { runSession } from './session.ts'

/**
 * Copies the tables that wait, as of `lsn`, where the downstream stands, while a session applies the changes of all others. It goes on until
 * a schema change, or a TRUNCATE of one of the tables, and the upstream is told of no later position: what it left out is asked for
 * again (catchUp). `copy` is given the session's epoch. Where the session fails, that is told and recorded at once; the copy goes on, and the
 * others wait for it. Throws what stopped the copy, else what stopped the session.
 */
export async function copyBeside(
  context: CopyContext,
  prepared: Prepared,
  lsn: Lsn,
  copy: (epoch: bigint) => Promise<void>,
): Promise<void> {
  const { connections } = context
  // An earlier session may have left statements and functions.
  await connections.apply.query('DISCARD ALL')
  const done = new AbortController()
  let failure: unknown
  let taken: bigint | undefined
  let begun: (epoch: bigint) => void = () => {}
  let failed: (error: unknown) => void = () => {}
  const epoch = new Promise<bigint>((resolve, reject) => {
    begun = resolve
    failed = reject
  })
  const session = runSession(
    {
      ...{ ...context, connections: await connections.withStream(), copiedAt: lsn },
      stop: AbortSignal.any([context.stop, done.signal]),
      positioned: (position) => {
        context.positioned(position)
        taken = position.epoch
        begun(position.epoch)
      },
    },
    prepared,
    undefined,
    () => {},
  ).catch(async (error: unknown) => {
    failure = error
    failed(error)
    if (taken !== undefined && !context.stop.aborted) await tell(context, taken, error)
  })
  try {
    await copy(await epoch)
  } finally {
    done.abort()
    await session
  }
  await failpoint('copy.behind')
  if (failure !== undefined) throw failure
}

/** Of a session that failed while tables are copied; it is tried again after that. */
async function tell(context: CopyContext, epoch: bigint, error: unknown): Promise<void> {
  const { settings, log, health } = context
  const halted = halts(error)
  log[halted ? 'error' : 'warn'](
    { err: error, ...(error instanceof FollowerError && { code: error.code }) },
    `while tables are copied, the others have stopped: ${(error as Error).message}`,
  )
  if (!halted) return
  health.halt(error.message)
  await record(context, epoch, withWaysOn(error, settings))
}

/**
 * Brings the tables that were copied beside the stream to where the follow stands: nothing but their changes is applied, from the place of
 * their rows on. Where the upstream does not have these any more, the tables are copied anew. False: there are none.
 */
export async function catchUp(
  context: CopyContext,
  prepared: Prepared,
  started: () => void,
): Promise<boolean> {
  const { settings, connections, log } = context
  const { lock, upstream } = connections
  const behind = await tablesBehind(lock, settings.name)
  const lsn = behind[0]?.lsn
  if (lsn === undefined) return false
  const slot = await readSlot(upstream, settings.slot)
  const confirmed = slot?.confirmedFlushLsn
  if (
    confirmed === undefined ||
    confirmed > lsn ||
    settings.acceptNewUpstream ||
    behind.some((table) => table.lsn !== lsn)
  ) {
    await copyAnew(lock, settings.name)
    return true
  }
  log.info(
    { lsn: formatLsn(lsn), tables: behind.length },
    'tables are copied: now their changes from meanwhile',
  )
  let epoch = 0n
  const session = {
    ...context,
    connections: await connections.withStream(),
    catchUp: { tables: new Set(behind.map(({ oid }) => oid)), lsn },
    positioned: (position: Parameters<CopyContext['positioned']>[0]) => {
      epoch = position.epoch
      context.positioned(position)
    },
  }
  const end = await runSession(session, prepared, undefined, started).catch((error: unknown) => {
    throw halts(error) ? ofTables(error, behind, settings.name) : error
  })
  await failpoint('copy.caught-up')
  if (end === 'reached') await caughtUp(lock, settings.name, epoch)
  return true
}

/** The follow has passed that transaction: it can't be left out any more, and an incident at its place would count as over. */
function ofTables(error: FollowerError, behind: readonly TableBehind[], name: string): FollowerError {
  const { lsn, xid, ...context } = error.context
  const table = behind.find((it) => `${it.schema}.${it.name}` === context.relation)
  const tables = (table ? [table] : behind).map(displayTable).join(',')
  return new FollowerError(error.message, {
    ...error,
    detail: [
      error.detail,
      'The table was just copied, and this is a change from meanwhile; the other tables have passed it.',
    ]
      .filter(Boolean)
      .join('\n'),
    effect: 'the tables just copied hold everything before this transaction, all others wait for them',
    fix: [...error.fix, `or copy anew:  follower copy --name ${name} --tables ${tables} --overwrite …`],
    context,
    cause: error.cause,
  })
}

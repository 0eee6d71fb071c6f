import type pg from 'pg'
import { ExitCode, FollowerError } from '../errors.ts'
import { isOutputPlugin } from '../model/follow.ts'
import type { End } from '../postgres/end.ts'
import { quoteIdentifier } from '../postgres/identifier.ts'
import { sql } from '../postgres/sql.ts'
import type { Logger } from '../telemetry/log.ts'
import { type UpstreamFacts, upstreamFacts } from './facts.ts'
import { hasIncidents } from './incidents.ts'
import { type Holder, lockHolder, lockKey } from './lock.ts'
import { lockSchema } from './objects.ts'
import { forgetCopies, hasProgressTable, type Progress, readProgress } from './progress.ts'
import { publicationComment } from './publication.ts'
import { ask, askOne, column, inTransaction } from './query.ts'
import { hasRegistry } from './registry.ts'
import { anotherServer, readSlot } from './slot.ts'

/** The ends that can be reached; cleanup works with one, too. */
export interface ReachableEnds {
  readonly upstream: pg.Client | undefined
  readonly downstream: pg.Client | undefined
}

/** Cleanup and status know a follow by its name only; the rest stands in the databases. */
export interface FollowName {
  readonly name: string
}

/** What was done, as phrases for people: `slot "follower_shop" (upstream)`. */
export interface CleanupReport {
  readonly removed: readonly string[]
  /** What is left, and why. Empty: nothing of the follow is left at either end. */
  readonly remains: readonly string[]
}

/**
 * Removes what start made: slot, publications, registration and, with the last follow, the capture objects
 * upstream; the progress row and, with the last one, schema follower downstream. May be run again, and goes on
 * where another one stopped. Throws FollowerError: exit 11 while a follower runs, 7 where the upstream is
 * another server than the one that was followed, 4 or 5 where an end fails meanwhile.
 */
export async function cleanup(follow: FollowName, ends: ReachableEnds, log: Logger): Promise<CleanupReport> {
  const { upstream, downstream } = ends
  const report = { removed: [] as string[], remains: [] as string[] }
  const key = lockKey(follow.name)
  if (downstream) await takeLock(follow, downstream, key)
  try {
    const progress = downstream && (await readProgress(downstream, follow.name))
    // The upstream first: a slot that is left alone holds WAL for ever, a progress row costs nothing.
    if (upstream) await cleanUpstream(follow, upstream, progress, report)
    else report.remains.push(...unreachable(follow, 'upstream', progress))
    if (downstream) await cleanDownstream(follow, downstream, report)
    else report.remains.push(...unreachable(follow, 'downstream', progress))
  } finally {
    await downstream?.query('SELECT pg_advisory_unlock($1)', [key]).catch(() => {})
  }
  log.debug({ ...report }, 'cleaned up')
  return report
}

interface Report {
  readonly removed: string[]
  readonly remains: string[]
}

/** Also keeps a start away while things are half removed. */
async function takeLock(follow: FollowName, downstream: pg.Client, key: string): Promise<void> {
  const row = await askOne(downstream, 'downstream', 'SELECT pg_try_advisory_lock($1) AS taken', [key])
  if (row?.taken !== 't') throw running(follow, 'downstream', await lockHolder(downstream, 'downstream', key))
}

function running(follow: FollowName, end: End, holder: Holder | undefined): FollowerError {
  return new FollowerError(`a follower of "${follow.name}" is running`, {
    code: 'FLW-212',
    exit: ExitCode.held,
    detail: holder
      ? `${end} process ${holder.pid} (${holder.applicationName || 'no application_name'}${holder.clientAddr ? `, ${holder.clientAddr}` : ''}) holds ${end === 'upstream' ? 'its slot' : 'its lock'}`
      : `it holds its ${end === 'upstream' ? 'slot' : 'lock'}`,
    effect: 'nothing was removed',
    fix: ['stop it, and run cleanup again'],
  })
}

async function cleanUpstream(
  follow: FollowName,
  upstream: pg.Client,
  progress: Progress | undefined,
  report: Report,
): Promise<void> {
  const facts = await upstreamFacts(upstream)
  if (progress && progress.systemIdentifier !== facts.systemIdentifier)
    throw anotherServer(follow.name, facts.systemIdentifier, progress)
  await dropSlot(follow, upstream, facts.database, progress, report)
  await inTransaction(upstream, 'upstream', async () => {
    await lockSchema(upstream, 'upstream')
    await ask(upstream, 'upstream', "SET LOCAL lock_timeout = '3s'")
    const publications = await ask(upstream, 'upstream', sql('query/own_publications'), [
      publicationComment(follow.name),
    ])
    for (const row of publications) {
      const name = column(row, 'name')
      if (row.mine !== 't') {
        report.remains.push(
          `publication "${name}" (upstream): it is another role's; as that one or a superuser run  DROP PUBLICATION ${quoteIdentifier(name)};`,
        )
        continue
      }
      await ask(upstream, 'upstream', `DROP PUBLICATION ${quoteIdentifier(name)}`)
      report.removed.push(`publication "${name}" (upstream)`)
    }
    await unregister(follow, upstream, facts, report)
  })
}

/** A slot is named after its follow, unless the progress row says otherwise. */
async function dropSlot(
  follow: FollowName,
  upstream: pg.Client,
  database: string,
  progress: Progress | undefined,
  report: Report,
): Promise<void> {
  const slot = await readSlot(upstream, progress?.slot ?? follow.name)
  if (!slot) return
  if (slot.holder) throw running(follow, 'upstream', slot.holder)
  const label = `slot "${slot.name}" (upstream)`
  if (progress && !progress.ownSlot)
    report.remains.push(`${label}: it was named by --slot, so it is yours to drop`)
  else if (slot.type !== 'logical' || !isOutputPlugin(slot.plugin) || slot.database !== database)
    report.remains.push(
      `${label}: it isn't of this follow (${slot.plugin ?? slot.type}, database ${slot.database})`,
    )
  else {
    await ask(upstream, 'upstream', 'SELECT pg_drop_replication_slot($1)', [slot.name])
    report.removed.push(label)
  }
}

async function unregister(
  follow: FollowName,
  upstream: pg.Client,
  facts: UpstreamFacts,
  report: Report,
): Promise<void> {
  if (!(await hasRegistry(upstream))) return
  const row = await askOne(
    upstream,
    'upstream',
    `WITH gone AS (DELETE FROM follower.follow WHERE name = $1 RETURNING name)
     SELECT (SELECT count(*) FROM gone) AS gone, (SELECT count(*) FROM follower.follow WHERE name <> $1) AS others`,
    [follow.name],
  )
  if (row?.gone !== '0') report.removed.push(`registration of "${follow.name}" (upstream)`)
  if (row?.others !== '0') return
  await ask(upstream, 'upstream', sql('teardown/identities'))
  if (!facts.superuser) {
    report.remains.push(
      `capture objects (upstream): they do nothing any more, and only a superuser can drop them; connected upstream as one, run  follower cleanup --name ${follow.name}  again`,
    )
    return
  }
  await ask(upstream, 'upstream', sql('teardown/upstream'))
  report.removed.push('capture objects (upstream)')
}

async function cleanDownstream(follow: FollowName, downstream: pg.Client, report: Report): Promise<void> {
  if (!(await hasProgressTable(downstream))) return
  await inTransaction(downstream, 'downstream', async () => {
    await lockSchema(downstream, 'downstream')
    await ask(downstream, 'downstream', "SET LOCAL lock_timeout = '3s'")
    const gone = await ask(
      downstream,
      'downstream',
      'DELETE FROM follower.progress WHERE name = $1 RETURNING name',
      [follow.name],
    )
    await forgetCopies(downstream, follow.name)
    if (await hasIncidents(downstream))
      for (const table of ['incident', 'skip'])
        await ask(downstream, 'downstream', `DELETE FROM follower.${table} WHERE name = $1`, [follow.name])
    if (gone.length > 0) report.removed.push(`progress of "${follow.name}" (downstream)`)
    await ask(downstream, 'downstream', sql('teardown/downstream'))
    if (!(await hasProgressTable(downstream))) report.removed.push("follower's objects (downstream)")
  })
}

function unreachable(follow: FollowName, end: End, progress: Progress | undefined): string[] {
  if (end === 'downstream')
    return [
      `progress of "${follow.name}" in schema follower (downstream): could not connect; there, run  DELETE FROM follower.progress WHERE name = '${follow.name}';`,
    ]
  const slot = progress?.slot ?? follow.name
  return [
    `slot "${slot}" (upstream): could not connect; it holds WAL until  SELECT pg_drop_replication_slot('${slot}');`,
    `publication and registration of "${follow.name}" in schema follower (upstream): could not connect; run cleanup again when it is back`,
  ]
}

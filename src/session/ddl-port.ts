import type pg from 'pg'
import type { DdlPort, DdlSteps } from '../apply/applier.ts'
import type { DdlContext } from '../ddl/context.ts'
import { replayDdl } from '../ddl/replay.ts'
import {
  beginDdlTransaction,
  hoistCreateTableAs,
  type PlacedMessage,
  takeDdlMessage,
} from '../ddl/transaction.ts'
import { ExitCode, FollowerError } from '../errors.ts'
import type { Transaction } from '../model/changes.ts'
import type { DdlMessage } from '../model/ddl-message.ts'
import type { FollowSettings } from '../model/follow.ts'
import { formatLsn } from '../model/lsn.ts'
import type { Relation } from '../model/relation.ts'
import { quoteIdentifier } from '../postgres/identifier.ts'
import { recordAsIs } from '../provision/late.ts'
import type { Prepared } from '../provision/prepare.ts'
import type { Health } from '../telemetry/health.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { CaptureKeys } from './keys.ts'

export interface DdlPortOptions {
  readonly settings: FollowSettings
  readonly prepared: Prepared
  readonly client: pg.Client
  /** Tables that are followed from their beginning, among others; grows. */
  readonly known: Set<number> | undefined
  readonly daemonRole: string
  readonly keys: CaptureKeys
  readonly pins: () => Promise<unknown>
  readonly log: Logger
  readonly metrics: Metrics
  readonly health: Health
}

/** Joins the applier to the replay of DDL: verifies a transaction's messages, puts them in their places, counts what became of them. */
export class DdlReplayer implements DdlPort {
  private readonly options: DdlPortOptions

  constructor(options: DdlPortOptions) {
    this.options = options
  }

  async open(transaction: Transaction): Promise<DdlSteps> {
    const { settings, keys } = this.options
    if (!settings.ddl) return { run: async () => {}, makesView: () => false }
    const state = beginDdlTransaction()
    const taken: PlacedMessage[] = []
    const rejected = new Map<string, number>()
    for (const [index, side] of transaction.sides.entries()) {
      if (side.kind !== 'ddl') continue
      await keys.know(side.content, transaction.endLsn)
      const result = takeDdlMessage(side.content, keys, transaction.xid, state)
      if ('message' in result) taken.push({ index, message: result.message })
      else if (result.rejected === 'version') throw newerCapture()
      else rejected.set(result.rejected, (rejected.get(result.rejected) ?? 0) + 1)
    }
    this.reject(transaction, rejected)
    const places = new Map(hoistCreateTableAs(taken).map(({ index, message }) => [index, message]))
    const context = this.context(transaction)
    const views = new Set(taken.flatMap(({ message }) => madeViews(message)))
    return {
      makesView: ({ schema, name }) => views.has(JSON.stringify([schema, name])),
      run: async (index) => {
        const message = places.get(index)
        if (!message) return
        this.options.health.waiting = 'a schema change downstream'
        try {
          const { result, reason } = await replayDdl(message, state, context)
          this.options.metrics.ddl.inc({ downstream: settings.name, kind: message.tag, result })
          if (result !== 'skipped') await this.made(message)
          if (result === 'rejected') this.count(reason === undefined ? 'unknown' : 'rights')
        } finally {
          this.options.health.waiting = undefined
        }
      },
    }
  }

  /** Tables that were made, and whose rows are sent from then on, are not late. One that only belongs into a list of tables may have rows before. */
  private async made(message: DdlMessage): Promise<void> {
    const { settings, prepared, client, known } = this.options
    if (!known) return
    const tables = message.objects.filter(
      ({ tag, type, state, published = [] }) =>
        type === 'table' &&
        // Its rows come only once it is one that is logged, and are copied then.
        state?.persistence !== 'unlogged' &&
        ['CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO'].includes(tag) &&
        published.some((name) => prepared.publications.includes(name)),
    )
    await recordAsIs(
      client,
      settings.name,
      tables.map(({ oid, names: [schema = '', name = ''] }) => ({ oid: Number(oid), schema, name })),
    )
    for (const { oid } of tables) known.add(Number(oid))
  }

  private context(transaction: Transaction): DdlContext {
    const { settings, prepared, client, daemonRole, log, pins } = this.options
    const upstreamMajor = Math.trunc(prepared.upstreamVersion / 10_000)
    return {
      client,
      follow: settings.name,
      publications: prepared.publications,
      upstreamMajor,
      downstreamMajor: Math.trunc(prepared.downstreamVersion / 10_000),
      onRewrite: settings.onRewrite,
      origin:
        prepared.replicationRole === 'origin'
          ? { haltOnTriggers: settings.ordinaryTriggers === 'halt' }
          : undefined,
      daemonRole,
      lsn: formatLsn(transaction.endLsn),
      log,
      newTablesUnpublished: prepared.listsTables && settings.plugin === 'pgoutput',
      columnOrder: (message) => columnOrder(message, transaction.relations),
      pins,
    }
  }

  /** One line a transaction: whoever forges one message can forge a million. */
  private reject(transaction: Transaction, rejected: ReadonlyMap<string, number>): void {
    if (rejected.size === 0) return
    for (const [reason, messages] of rejected) this.count(reason, messages)
    this.options.log.warn(
      {
        rejected: Object.fromEntries(rejected),
        lsn: formatLsn(transaction.endLsn),
        xid: transaction.xid,
      },
      'DDL messages were rejected: they are not authentic',
    )
  }

  private count(reason: string, messages = 1): void {
    const downstream = this.options.settings.name
    this.options.metrics.ddlMessagesRejected.inc({ downstream, reason }, messages)
  }
}

function madeViews(message: DdlMessage): string[] {
  return message.objects.flatMap((object) =>
    object.type === 'materialized view' ? [JSON.stringify(object.names)] : [],
  )
}

/** Only a genuine message gets so far: its MAC was right. */
function newerCapture(): FollowerError {
  return new FollowerError('the capture upstream speaks a newer version than this follower', {
    code: 'FLW-331',
    exit: ExitCode.apply,
    effect:
      'the downstream holds everything before this transaction and nothing of it; the position did not move',
    fix: ['start the newer follower that installed the capture'],
  })
}

/** The rows of a CREATE TABLE AS tell the order of its columns, which a state does not. */
function columnOrder(
  message: DdlMessage,
  relations: ReadonlyMap<Relation, number>,
): readonly string[] | undefined {
  const table = message.objects[0]
  const state = table?.state
  if (!state) return undefined
  const count = Object.keys(state).filter((aspect) => /^column .+\.type$/s.test(aspect)).length
  // An older table of that name, or a relation of some of the columns (wal2json), says nothing.
  const all = ({ schema, name, columns }: Relation): boolean =>
    table.names[0] === schema &&
    table.names[1] === name &&
    columns.length === count &&
    columns.every((column) => `column ${quoteIdentifier(column.name)}.type` in state)
  return [...relations.keys()].find(all)?.columns.map((column) => column.name)
}

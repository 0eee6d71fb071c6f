import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import { readBuild } from './build.ts'
import type { FollowState } from './health.ts'

/** Seconds: from a local commit without flush to a long replayed statement. */
const stageBuckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60]
/** Seconds: upstream commit to downstream commit, up to an hour of catching up. */
const latencyBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600]
const rowBuckets = [1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000]

const followStates: readonly FollowState[] = [
  'starting',
  'catchup',
  'streaming',
  'halted',
  'retrying',
  'stopping',
]
/** pg_replication_slots.wal_status. */
const walStatuses = ['reserved', 'extended', 'unreserved', 'lost'] as const

/**
 * Every metric of the daemon, on a registry of its own. Field names are the metric's name in camel case
 * without prefix and `_total`; names, labels and units are listed in docs/metrics.md.
 *
 * Label values come from small closed sets (states, operations, SQLSTATE classes, command tags). Names of
 * tables, keys, messages and users are never labels: their number is not ours to bound.
 */
export type Metrics = ReturnType<typeof createMetrics>

export function createMetrics() {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const registers = [registry]
  const gauge = <L extends string = never>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Gauge<L>({ name: `follower_${name}`, help, labelNames, registers })
  const counter = <L extends string = never>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Counter<L>({ name: `follower_${name}_total`, help, labelNames, registers })
  const histogram = <L extends string>(
    name: string,
    help: string,
    buckets: number[],
    labelNames: readonly L[],
  ) => new Histogram<L>({ name: `follower_${name}`, help, buckets, labelNames, registers })
  const D = ['downstream'] as const

  const metrics = {
    registry,
    ...endGauges(gauge),
    ...slotGauges(gauge),
    decodedTransactions: counter('decoded_transactions', 'Upstream transactions decoded.', ['kind']),
    decodedRows: counter('decoded_rows', 'Row changes decoded.', ['operation']),
    receivedBytes: counter('received_bytes', 'Bytes of the replication stream received.'),
    pullWindows: counter('pull_windows', 'Windows of a backlog that were pulled.'),
    pullMessages: counter('pull_messages', 'Messages of the output plugin that were pulled, not streamed.'),
    receivingWay: gauge(
      'receiving_way',
      'How changes come in: 1 for the present way (stream, pull), 0 for the other.',
      ['way'],
    ),
    keepalives: counter('keepalives', 'Keepalives received from, and status updates sent to the upstream.', [
      'direction',
      'reply_requested',
    ]),
    lastMessageTimestamp: gauge(
      'last_message_timestamp_seconds',
      'Unix time in seconds when the upstream last sent anything.',
    ),
    lagSeconds: gauge(
      'lag_seconds',
      'Age in seconds of the oldest commit received and not applied; 0 when there is none.',
      D,
    ),
    lagBytes: gauge('lag_bytes', 'Bytes of WAL between the received and the applied position.', D),
    latencySeconds: histogram(
      'latency_seconds',
      'Seconds from the upstream commit to the downstream commit, of the oldest transaction of each batch.',
      latencyBuckets,
      D,
    ),
    bufferBytes: gauge('buffer_bytes', 'Bytes received, held in memory and not yet applied.'),
    bufferLimitBytes: gauge('buffer_limit_bytes', 'Bytes of buffer at which the upstream is held back.'),
    spilledBytes: gauge('spilled_bytes', 'Bytes of large transactions that wait on disk.'),
    bufferTransactions: gauge('buffer_transactions', 'Transactions held in memory and not yet applied.'),
    backpressureSeconds: counter('backpressure_seconds', 'Seconds during which the upstream was held back.', [
      'reason',
    ]),
    applyBatches: counter('apply_batches', 'Downstream transactions committed.', D),
    applyTransactions: counter('apply_transactions', 'Upstream transactions applied.', D),
    applyArriving: counter(
      'apply_arriving_transactions',
      'Large transactions that were applied while they arrived.',
      D,
    ),
    applyRows: counter('apply_rows', 'Row changes applied.', ['downstream', 'operation']),
    applyWays: counter(
      'apply_rows_by_way',
      'Row changes applied: copied, as part of a net change, or each by a statement of its own.',
      ['downstream', 'way'],
    ),
    applyRedone: counter('apply_batches_redone', 'Batches that were rolled back and applied in parts.', D),
    applyBytes: counter('apply_bytes', 'Bytes of row changes applied.', D),
    unchangedToast: counter(
      'unchanged_toast',
      'Values left as they are downstream since the upstream did not send them (unchanged TOAST).',
      D,
    ),
    applyBatchRows: histogram('apply_batch_rows', 'Rows of one downstream transaction.', rowBuckets, D),
    applyBatchSeconds: histogram(
      'apply_batch_seconds',
      'Seconds spent in one stage (plan, send, execute, commit) of one downstream transaction.',
      stageBuckets,
      ['downstream', 'stage'],
    ),
    applyErrors: counter('apply_errors', 'Errors while applying; class is the SQLSTATE class.', [
      'downstream',
      'class',
      'action',
    ]),
    conflicts: counter('conflicts', "Conflicts by PostgreSQL 18's names, and what was done.", [
      'downstream',
      'type',
      'resolution',
    ]),
    changesSkipped: counter(
      'changes_skipped',
      'Changes not applied because a person said so; the healthy value is 0.',
      ['downstream', 'reason'],
    ),
    duplicatesSuppressed: counter(
      'duplicates_suppressed',
      'Transactions that the upstream sent again after a reconnect and that were not applied twice.',
      D,
    ),
    ddl: counter('ddl', 'Schema changes by command tag and result.', ['downstream', 'kind', 'result']),
    ddlMessagesRejected: counter(
      'ddl_messages_rejected',
      'Logical messages with the prefix of follower that were not authentic or not understood.',
      ['downstream', 'reason'],
    ),
    reconnects: counter('reconnects', 'Reconnections; side is upstream or downstream.', ['side', 'reason']),
    retryAttempt: gauge('retry_attempt', 'Number of the present attempt to connect; 0 when connected.', [
      'side',
    ]),
    copyRows: counter('copy_rows', 'Rows of copied tables.', D),
    copyBytes: counter('copy_bytes', 'Bytes of rows that a copy has brought.', D),
    copyTables: gauge('copy_tables', 'Tables of the copy in hand: copied, and still waiting for it.', [
      'downstream',
      'state',
    ]),
    copyExpectedBytes: gauge(
      'copy_expected_bytes',
      'Bytes of rows that the copy in hand brings in the end: an estimate.',
      D,
    ),
    copySteps: gauge(
      'copy_steps',
      'Steps of a copied schema (indexes, constraints) that are still to be made, of those in hand.',
      D,
    ),
    tablesUnpublished: gauge(
      'tables_unpublished',
      'Tables of the follow that this role may not publish: their rows do not follow; the healthy value is 0.',
    ),
    failpointHits: gauge('failpoint_hits', 'How often an armed failpoint was reached (tests only).', [
      'name',
    ]),
  }
  // A gauge without labels starts at 0: a position or a size that nobody has measured yet must be absent.
  for (const unknown of [
    metrics.upstreamCurrentLsn,
    metrics.receivedLsn,
    metrics.confirmedFlushLsn,
    metrics.slotRetainedBytes,
    metrics.slotConfirmedLagBytes,
    metrics.slotSafeWalBytes,
    metrics.slotActive,
    metrics.lastMessageTimestamp,
    metrics.tablesUnpublished,
  ])
    unknown.remove()
  const build = readBuild()
  metrics.buildInfo.set(
    { version: build.version, revision: build.revision, node: build.node, pg_parser: build.pgParser },
    1,
  )
  return metrics
}

type MakeGauge = <L extends string = never>(name: string, help: string, labelNames?: readonly L[]) => Gauge<L>

function endGauges(gauge: MakeGauge) {
  return {
    buildInfo: gauge('build_info', 'What runs; always 1.', ['version', 'revision', 'node', 'pg_parser']),
    upstreamInfo: gauge('upstream_info', 'What is followed; always 1.', [
      'server_version',
      'system_id',
      'slot',
      'plugin',
      'protocol',
      'binary',
    ]),
    upstreamUp: gauge('upstream_up', '1 while the replication connection is open.'),
    downstreamUp: gauge('downstream_up', '1 while the connection to the downstream is open.', ['downstream']),
    state: gauge('state', 'State of the follow: 1 for the present one, 0 for the others.', [
      'downstream',
      'state',
    ]),
    upstreamCurrentLsn: gauge('upstream_current_lsn', "The upstream's WAL position, as bytes."),
    receivedLsn: gauge('received_lsn', 'WAL position up to which the stream was received, as bytes.'),
    confirmedFlushLsn: gauge('confirmed_flush_lsn', 'WAL position acknowledged upstream, as bytes.'),
    appliedLsn: gauge('applied_lsn', 'WAL position committed downstream, as bytes.', ['downstream']),
    flushedLsn: gauge('flushed_lsn', 'WAL position that is durable downstream, as bytes.', ['downstream']),
  }
}

function slotGauges(gauge: MakeGauge) {
  return {
    slotRetainedBytes: gauge('slot_retained_bytes', 'Bytes of WAL that the slot keeps on the upstream.'),
    slotConfirmedLagBytes: gauge('slot_confirmed_lag_bytes', 'Bytes of WAL not yet acknowledged upstream.'),
    slotSafeWalBytes: gauge(
      'slot_safe_wal_bytes',
      'Bytes of WAL that can still be written before the slot is lost; absent without max_slot_wal_keep_size.',
    ),
    slotActive: gauge('slot_active', '1 while a walsender uses the slot.'),
    slotWalStatus: gauge('slot_wal_status', 'pg_replication_slots.wal_status: 1 for the present one.', [
      'status',
    ]),
  }
}

/** Sets the state set follower_state: 1 for `state`, 0 for every other. */
export function showState(metrics: Metrics, downstream: string, state: FollowState): void {
  for (const each of followStates) metrics.state.set({ downstream, state: each }, each === state ? 1 : 0)
}

/** Sets the state set follower_slot_wal_status from pg_replication_slots.wal_status. */
export function showWalStatus(metrics: Metrics, status: string | null): void {
  for (const each of walStatuses) metrics.slotWalStatus.set({ status: each }, each === status ? 1 : 0)
}

/**
 * Makes the counters of a follow appear with 0 before anything happened, so that an alert on their
 * increase sees the first event.
 */
export function primeMetrics(metrics: Metrics, downstream: string): void {
  const perFollow = [
    metrics.applyBatches,
    metrics.applyTransactions,
    metrics.applyBytes,
    metrics.unchangedToast,
    metrics.duplicatesSuppressed,
  ]
  for (const counter of perFollow) counter.inc({ downstream }, 0)
  for (const operation of ['insert', 'update', 'delete', 'truncate'])
    metrics.applyRows.inc({ downstream, operation }, 0)
  for (const reason of ['conflict', 'skip']) metrics.changesSkipped.inc({ downstream, reason }, 0)
  metrics.downstreamUp.set({ downstream }, 0)
}

/**
 * A label value for a failure, from a closed set: a SQLSTATE, an errno name such as ECONNRESET, or `other`.
 * Looks at `sqlstate` (FollowerError) before `code` (pg, Node).
 */
export function failureReason(error: unknown): string {
  if (!error || typeof error !== 'object') return 'other'
  const { sqlstate, code } = error as { sqlstate?: unknown; code?: unknown }
  for (const text of [sqlstate, code])
    if (typeof text === 'string' && /^([0-9A-Z]{5}|E[A-Z]{3,20})$/.test(text)) return text
  return 'cause' in error ? failureReason(error.cause) : 'other'
}

import type pg from 'pg'
import type { Logger } from 'pino'
import type { DdlMessage, DdlObject, DroppedObject } from '../model/ddl-message.ts'

/** Where and how a follow replays. */
export interface DdlContext {
  /** The apply connection, inside a transaction that holds only the message's upstream transaction. */
  readonly client: pg.Client
  readonly follow: string
  /** Ours: an object is followed where one of its publications is among these. */
  readonly publications: readonly string[]
  readonly upstreamMajor: number
  readonly downstreamMajor: number
  /** What to do where a rewrite downstream would give rows other values than upstream's. */
  readonly onRewrite: 'halt' | 'replay'
  /** Where the session's session_replication_role is origin: constraints are deferred, foreign keys and ordinary triggers act. */
  readonly origin?: { readonly haltOnTriggers: boolean } | undefined
  /** The role of `client`: stands in for a superuser of the upstream that does not exist downstream, or that it may not act for. */
  readonly daemonRole: string
  /** Commit LSN of the upstream transaction, for errors and the log. */
  readonly lsn?: string
  readonly log: Logger
  /**
   * True where tables join the publication when they are made (a list of tables, not all): the rows of a CREATE TABLE AS
   * come before that and are not in the stream.
   */
  readonly newTablesUnpublished?: boolean
  /** Columns of the table of a CREATE TABLE AS in their order, where a Relation message of the transaction tells. */
  columnOrder?(message: DdlMessage): readonly string[] | undefined
  /**
   * Sets the session's settings again. A replayed statement may have changed any of them. Replay also closes every
   * cursor and deallocates every prepared statement of the session: whoever keeps names of them must forget them here.
   */
  pins(): Promise<unknown>
}

/** `noop`: what the statement does is there already. `rejected`: refused, and nothing upstream says that it is missed. */
export type DdlResult = 'applied' | 'skipped' | 'noop' | 'rejected'

export interface DdlOutcome {
  readonly result: DdlResult
  readonly reason?: string
  /** What was replayed, or what was tried last. */
  readonly statement?: string
}

/** Commands about replication itself, about secrets, and about indexes that are whole here. */
const skippedTag =
  /PUBLICATION|SUBSCRIPTION|EVENT TRIGGER|SERVER|USER MAPPING|FOREIGN DATA WRAPPER|FOREIGN TABLE|FOREIGN SCHEMA|^REINDEX/

const skippedType =
  /publication|subscription|event trigger|^server$|user mapping|foreign-data wrapper|foreign table/i

export function skipsTag(tag: string): boolean {
  return skippedTag.test(tag)
}

/** True where the object is one of the follow's, and neither temporary nor of follower itself. */
export function isFollowed(object: DdlObject | DroppedObject, publications: readonly string[]): boolean {
  const schema = object.schema ?? (object.type === 'schema' ? (object.names[0] ?? null) : null)
  if (schema !== null && (schema === 'follower' || /^pg_(temp|toast)/.test(schema))) return false
  if (skippedType.test(object.type)) return false
  return object.publications.some((publication) => publications.includes(publication))
}

/** True where nothing of the message is to be replayed here because none of its objects is followed. */
export function isForeign(message: DdlMessage, context: DdlContext): boolean {
  const objects = message.kind === 'drop' ? message.dropped : message.objects
  return !objects.some((object) => isFollowed(object, context.publications))
}

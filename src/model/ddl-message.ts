/**
 * The wire format of a DDL message, version 1.
 *
 * The upstream's capture functions emit it as a transactional logical message with prefix `follower.ddl`:
 *
 *     FLW1 <key id> <64 hex digits: HMAC-SHA256 of the JSON text's bytes> <JSON text>
 *
 * A change of meaning takes a new version number; the daemon refuses versions that it does not know.
 */
export const ddlPrefix = 'follower.ddl'

/** Flat map from aspect to text, made by `follower.object_state`; aspects that start with `~` only compare between equal majors. */
export type ObjectState = Readonly<Record<string, string>>

/** One row of pg_event_trigger_ddl_commands(), with what the catalog held after the command. */
export interface DdlObject {
  /** `command_tag` of the row: one event may list several (CREATE TABLE with serial: CREATE SEQUENCE, CREATE TABLE, …). */
  readonly tag: string
  readonly type: string
  readonly schema: string | null
  readonly identity: string
  /** pg_identify_object_as_address: input for `follower.object_state` at the other end. */
  readonly names: readonly string[]
  readonly args: readonly string[]
  readonly oid: string
  /** null where follower knows no state for this class of object. */
  readonly state: ObjectState | null
  /** Publications of registered follows that the object belongs to at this place in the WAL, if only by its name. */
  readonly publications: readonly string[]
  /** For tables, and what belongs to one: those that send its rows from here on. Absent in messages of older captures. */
  readonly published?: readonly string[]
  /** For tables: columns with attmissingval (fast defaults), name → text of the value. */
  readonly missing?: Readonly<Record<string, string>>
}

/** One row of pg_event_trigger_dropped_objects(). */
export interface DroppedObject {
  readonly type: string
  readonly schema: string | null
  readonly name: string | null
  readonly identity: string
  readonly names: readonly string[]
  readonly args: readonly string[]
  readonly original: boolean
  readonly normal: boolean
  readonly temporary: boolean
  readonly publications: readonly string[]
}

export interface RoleAttributes {
  readonly superuser: boolean
  readonly createrole: boolean
  readonly createdb: boolean
  readonly replication: boolean
  readonly bypassrls: boolean
  /** Roles that it is a member of, directly or not. */
  readonly member_of: readonly string[]
}

export interface DdlMessage {
  readonly v: 1
  /** `start`: before CREATE TABLE AS or SELECT INTO; `end`: ddl_command_end; `drop`: sql_drop; `broken`: capture failed, the DDL went on. */
  readonly kind: 'start' | 'end' | 'drop' | 'broken'
  /** pg_current_xact_id(): 64 bits; pgoutput's Begin carries the low 32. */
  readonly xid: string
  /** Grows within a transaction. */
  readonly n: string
  /** The role that really ran the statement: stamped, not claimed. */
  readonly role: string
  readonly attributes: RoleAttributes
  readonly tag: string
  /** current_query(); absent where an earlier message of the same transaction with the same hash has it. */
  readonly query?: string
  readonly query_hash: string
  /** PG_CONTEXT of the event trigger function. */
  readonly context: string
  /** statement_timestamp(): with query_hash it groups the events of one string. */
  readonly statement_time: string
  /** search_path and the settings that change a statement's meaning. */
  readonly settings: Readonly<Record<string, string>>
  readonly objects: readonly DdlObject[]
  readonly dropped: readonly DroppedObject[]
  /** For `broken`: SQLSTATE and message of what failed. */
  readonly error?: string
}

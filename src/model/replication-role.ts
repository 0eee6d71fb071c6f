/**
 * `session_replication_role` of the apply session. Under `origin`, for roles that may not set it, foreign keys and ordinary
 * triggers act downstream: https://www.postgresql.org/docs/current/runtime-config-client.html#GUC-SESSION-REPLICATION-ROLE
 */
export type ReplicationRole = 'replica' | 'origin'

/** What to do about triggers and rules that act otherwise under `origin` than under `replica`. */
export const onOrdinaryTriggers = ['halt', 'fire'] as const
export type OnOrdinaryTriggers = (typeof onOrdinaryTriggers)[number]

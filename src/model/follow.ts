import type { Conninfo } from './conninfo.ts'
import type { Lsn } from './lsn.ts'
import type { MemoryShares } from './memory.ts'
import type { OnOrdinaryTriggers } from './replication-role.ts'

/** PostgreSQL 18's names of conflicts: https://www.postgresql.org/docs/18/logical-replication-conflicts.html */
export type ConflictType = 'insert_exists' | 'update_missing' | 'delete_missing'
export type ConflictResolution = 'halt' | 'skip' | 'overwrite'

/** Output plugins that follower decodes. */
export const outputPlugins = ['pgoutput', 'wal2json'] as const
export type OutputPlugin = (typeof outputPlugins)[number]

/** Whether a slot's plugin is one of them. */
export function isOutputPlugin(name: string | null): name is OutputPlugin {
  return outputPlugins.some((each) => each === name)
}

/** A table, or all tables of a schema (`table` is `*`). Names as the catalog has them, not quoted. */
export interface TablePattern {
  readonly schema: string
  readonly table: string
}

/** How an initial copy is done. */
export interface CopySettings {
  /** Tables, or parts of them, at a time. */
  readonly jobs: number
  /** Bytes from which on a table is copied in parts. */
  readonly splitBytes: number
  /** Rows that are there downstream are removed. */
  readonly overwrite: boolean
  /** Path of pg_dump; undefined: one is looked for. */
  readonly pgDump: string | undefined
  /** Whether a copied schema keeps its owners, and its rights. */
  readonly owner: boolean
  readonly privileges: boolean
}

/** Everything that defines one follow. */
export interface FollowSettings {
  /** Names slot, publication and progress row. */
  readonly name: string
  readonly upstream: Conninfo
  readonly downstream: Conninfo
  /** The output plugin that decodes the upstream's WAL. */
  readonly plugin: OutputPlugin
  /** wal2json only: a null that may have been NaN is taken for NULL. */
  readonly nanAsNull: boolean
  /** pgoutput only: values are asked for in binary. */
  readonly binary: boolean
  readonly slot: string
  /** True where the user named the slot: it must exist, and cleanup leaves it. */
  readonly slotGiven: boolean
  /** Publications that the user named; empty: follower makes its own. */
  readonly publications: readonly string[]
  readonly applicationName: string
  /** Empty: every table. */
  readonly tables: readonly TablePattern[]
  readonly ddl: boolean
  readonly until: Lsn | 'now' | undefined
  /** What a first start brings of what is there; undefined: nothing, and it refuses where rows would be missing. */
  readonly copy: 'none' | 'data' | 'all' | undefined
  readonly copying: CopySettings
  readonly noIdentity: 'refuse' | 'full' | 'insert-only'
  readonly onConflict: Readonly<Record<ConflictType, ConflictResolution>>
  readonly onRewrite: 'halt' | 'replay'
  readonly ordinaryTriggers: OnOrdinaryTriggers
  readonly synchronousCommit: boolean
  /** How a large backlog is brought: in windows over an ordinary connection where that can be, or by the stream. */
  readonly backlog: 'pull' | 'stream'
  /** Large transactions are sent before their commit (pgoutput only). */
  readonly streaming: boolean
  /** What can't be applied: wait for the remedy and try again, or end with exit 8. */
  readonly onError: 'halt' | 'exit'
  /** An incident shows the values of the row at fault. */
  readonly incidentRows: boolean
  /** False: exit 11 where another follower holds the follow. */
  readonly wait: boolean
  readonly acceptNewUpstream: boolean
  readonly memory: MemoryShares
  /** Where what of a transaction does not fit into memory waits, and how many bytes of it may. */
  readonly spill: { readonly directory: string; readonly limit: number }
}

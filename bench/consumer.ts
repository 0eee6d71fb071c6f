import type { Ways } from '../src/apply/ways.ts'
import type { Cluster } from '../src/demo/cluster.ts'

/** Where one consumer works: a database at each end, a slot that stands before the backlog, and the publication `bench`. */
export interface Place {
  readonly up: Cluster
  readonly down: Cluster
  readonly upstreamDatabase: string
  /** Undefined for one that only reads. */
  readonly downstreamDatabase: string
  readonly slot: string
}

/** What drains a backlog. */
export interface Consumer {
  readonly name: string
  /** Output plugin of its slot; undefined: it makes its slot itself, in `prepare`. */
  readonly plugin: string | undefined
  /** False: it reads the stream and applies nothing. */
  readonly applies: boolean
  /** A peer: where its rows come out different, the table says so, and the bench goes on. */
  readonly mayDiffer?: boolean
  /** What it needs before the backlog is written; not measured. Its downstream database is there by then. */
  prepare?(place: Place): Promise<void>
  /** Begins; resolves with what ends it. `begun` is called when everything stands and the stream is asked for. */
  start(place: Place, begun: () => void): Promise<Running>
}

export interface Running {
  /** Processes of the consumer itself, beside the servers. */
  readonly pids: readonly number[]
  /** Resolves when a consumer that only reads has read all. */
  readonly done?: Promise<void>
  /** Rejects when the consumer ends by a fault. */
  readonly failed?: Promise<void>
  /** How many changes it has applied which way, where it tells. */
  ways?(): Promise<Ways>
  stop(): Promise<void>
}

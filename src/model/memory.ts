/** Bytes that the follow's buffers may take, each for itself; together they stay below `--memory-limit`. */
export interface MemoryShares {
  /** Committed transactions that wait to be applied: beyond it the upstream is held back. */
  readonly queue: number
  /** What has arrived of transactions that are not committed: beyond it their oldest chunks go to disk. */
  readonly open: number
  /** One batch. */
  readonly batch: number
  /** Handed to the system for the disk and not yet written. */
  readonly unwritten: number
}

export const defaultMemoryLimit = 128 * 1024 * 1024
/** Below it a chunk or two would be all that is held. */
export const leastMemoryLimit = 16 * 1024 * 1024
/** A larger batch gains nothing and holds locks for longer. */
const largestBatch = 8 * 1024 * 1024

/**
 * Pure: the shares of a limit. What is left of it is for what goes through: bytes of the sockets, rows that are being put together, and what is
 * applied already and still waits for the garbage collector (64 MiB, before it begins by itself).
 * One row that is larger than all of it takes what it takes.
 */
export function shareMemory(limit: number): MemoryShares {
  return {
    queue: limit / 8,
    open: limit / 4,
    batch: Math.min(limit / 16, largestBatch),
    unwritten: Math.min(limit / 16, largestBatch),
  }
}

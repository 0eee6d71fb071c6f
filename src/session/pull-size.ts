import type { Lsn } from '../model/lsn.ts'

/** Backlog in bytes of WAL from which on it is pulled. Tests set it. */
export const pullFrom = BigInt(process.env.FOLLOWER_PULL_FROM ?? 16 * 1024 * 1024)

/** Where less is left, the stream goes on: each window decodes again what comes before it. */
export const nearBytes = 8n * 1024n * 1024n

/** Messages of the first window. Tests set it. */
export const firstSize = Number(process.env.FOLLOWER_PULL_WINDOW ?? 100_000)

/** What a server keeps of a window, it keeps on its disk. */
const largest = 1_000_000

/** Below it a window that the server can't hold is left to the stream. */
const smallest = 20_000

/** Where a window has brought the cursor. */
export interface CursorPlace {
  /** Everything before it was delivered. */
  readonly confirmed: Lsn
  /** From where the next window will decode. */
  readonly restart: Lsn
}

/**
 * Pure: how many messages the next window takes. Each decodes from the place where no transaction was open at a record that the server writes
 * every 15 seconds: where that is as far back as the window before was long, the next one is longer.
 */
export function nextSize(size: number, before: Lsn, place: CursorPlace): number {
  const fresh = place.confirmed - before
  const again = place.confirmed - place.restart
  return again >= fresh ? Math.min(Math.max(size, largest), size * 2) : size
}

/** Pure: a smaller one where the server had no room for this one; undefined: the stream takes it. */
export function smallerSize(size: number): number | undefined {
  return size / 4 < smallest ? undefined : Math.ceil(size / 4)
}

/** Pure: whether the stream may go on. `short`: the window ended where the WAL did, so what is left came meanwhile. */
export function isNear(left: bigint, short: boolean): boolean {
  return left < (short || pullFrom > nearBytes ? nearBytes : pullFrom)
}

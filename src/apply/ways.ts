/** How many changes were applied which way. */
export interface Ways {
  /** New rows, by COPY. */
  copied: number
  /** As part of a row's net change. */
  net: number
  /** By a statement of their own, in the upstream's order. */
  ordered: number
}

export function noWays(): Ways {
  return { copied: 0, net: 0, ordered: 0 }
}

export function addWays(to: Ways, more: Ways): void {
  to.copied += more.copied
  to.net += more.net
  to.ordered += more.ordered
}

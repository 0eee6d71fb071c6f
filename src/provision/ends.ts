import type pg from 'pg'

/** Ordinary connections (no walsenders) to the two databases of a follow, pinned. */
export interface Ends {
  readonly upstream: pg.Client
  readonly downstream: pg.Client
}

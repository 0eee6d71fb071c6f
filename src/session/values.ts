import type { TextWanted } from '../apply/text-wanted.ts'
import type { FollowSettings } from '../model/follow.ts'
import type { Lsn } from '../model/lsn.ts'

/** What has failed in binary goes as text for so long at least; twice as long each time that it fails soon after. */
const shortestMs = 10_000
const longestMs = 600_000

/**
 * Whether values are asked for in binary: quicker at both ends, and no value is parsed in between. Kept between the sessions of one process.
 * What fails is applied as text, since errors, conflicts and incidents tell values; and so is all where a type asks for it.
 */
export class Values {
  private always: boolean
  private upTo: Lsn | undefined
  private wantedAt = Number.NEGATIVE_INFINITY
  private forMs = 0

  constructor({ plugin, binary }: FollowSettings) {
    this.always = plugin !== 'pgoutput' || !binary
  }

  get binary(): boolean {
    return !this.always && this.upTo === undefined
  }

  /** The next session asks for text. `now` is monotonic, in ms. */
  want({ upTo }: TextWanted, now: number): void {
    if (upTo === undefined) this.always = true
    const soon = now - this.wantedAt < this.forMs + longestMs
    this.forMs = soon ? Math.min(longestMs, this.forMs * 2) : shortestMs
    this.wantedAt = now
    this.upTo = upTo
  }

  /** Whether what had failed is applied, and it is time to ask for binary again; from then on the next session does. */
  mayReturn(applied: Lsn, now: number): boolean {
    if (this.always || this.upTo === undefined) return false
    if (applied < this.upTo || now - this.wantedAt < this.forMs) return false
    this.upTo = undefined
    return true
  }
}

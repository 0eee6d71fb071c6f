/** Milliseconds after which the same thing is news again. */
const newsAfterMs = 120_000

/**
 * Keeps a log readable in a loop of errors: what repeats is said once, then at every power of two, whatever happens in
 * between. Pure but for its memory; `now` is monotonic, in milliseconds.
 */
export class Repeats {
  private readonly seen = new Map<string, { count: number; at: number }>()

  /** Counts one more `what`: how many so far, and whether to say it. Not seen for two minutes, it begins at one again. */
  count(what: string, now: number): { readonly count: number; readonly loud: boolean } {
    const before = this.seen.get(what)
    const count = before && now - before.at < newsAfterMs ? before.count + 1 : 1
    this.seen.set(what, { count, at: now })
    return { count, loud: (count & (count - 1)) === 0 }
  }
}

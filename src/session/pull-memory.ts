/** Between two tries to pull, where the first one met what only the stream can take, or could not be made. */
const firstPauseMs = 60_000
const longestPauseMs = 3_600_000

/** What is known of pulling from one session of a process to the next. */
export class PullMemory {
  private failures = 0
  private notBefore = Number.NEGATIVE_INFINITY

  /** Whether another try may be made. */
  get mayTry(): boolean {
    return performance.now() >= this.notBefore
  }

  /** A window has arrived. */
  succeeded(): void {
    this.failures = 0
  }

  /** What is there goes by the stream for a while, longer each time. */
  rest(): void {
    this.notBefore =
      performance.now() + Math.min(longestPauseMs, firstPauseMs * 2 ** Math.min(this.failures, 20))
    this.failures++
  }
}

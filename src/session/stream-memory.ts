/** After one had to be asked for again, what others have brought is kept for so long, on disk where need be; longer where it happens again soon after. */
const firstKeepMs = 600_000
const longestKeepMs = 24 * 3_600_000

/** What is known of large transactions from one session of a process to the next. */
export class StreamMemory {
  /** The next session is to be sent nothing before its commit. */
  off = false
  /** The next session is to begin at once: a transaction is asked for again. */
  again = false
  /** The xid of the one that is not to be applied while it arrives: it would be given up again. */
  except: number | undefined
  private keepMs = 0
  private keepUntil = Number.NEGATIVE_INFINITY

  /** Whether what was applied of a transaction that still arrives need not be kept: the upstream has it. */
  get mayForget(): boolean {
    return performance.now() >= this.keepUntil
  }

  /** The upstream decodes it once more: not to be done often. */
  askAgain(xid: number): void {
    this.again = true
    this.except = xid
    const now = performance.now()
    const soon = now < this.keepUntil + this.keepMs
    this.keepMs = soon ? Math.min(longestKeepMs, Math.max(firstKeepMs, this.keepMs * 2)) : firstKeepMs
    this.keepUntil = now + this.keepMs
  }
}

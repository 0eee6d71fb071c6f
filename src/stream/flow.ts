import type { Socket } from 'node:net'

/** Why the upstream is held back: what waits to be applied, a disk that is slower than the stream, or the end. */
export type HoldReason = 'queue' | 'arriving' | 'spill' | 'stop'

/**
 * What comes in from the upstream in one session, over one socket after another: how much, when last, and whether it is
 * held back. Pausing holds back the server by TCP.
 */
export class Flow {
  /** Bytes received, and the monotonic time (ms) of the last sign of life: for liveness and metrics. */
  bytes = 0
  lastMessageAt = performance.now()
  /** Milliseconds for which it has been held back so far, but for the present time. */
  heldMs = 0
  private heldAt = 0
  private socket: Socket | undefined
  private readonly reasons = new Set<HoldReason>()

  /** From here on what comes arrives by this socket. */
  attach(socket: Socket): void {
    // What comes by the one before waits until that is attached again.
    if (this.socket !== socket) this.socket?.pause()
    this.socket = socket
    this.alive()
    if (this.isHeld) socket.pause()
    else socket.resume()
  }

  received(bytes: number): void {
    this.bytes += bytes
    this.alive()
  }

  /** The upstream is known to live. */
  alive(): void {
    this.lastMessageAt = performance.now()
  }

  /** Holds the upstream back, or lets it go on as far as this reason is concerned. */
  hold(reason: HoldReason, held: boolean): void {
    const before = this.isHeld
    if (held) this.reasons.add(reason)
    else this.reasons.delete(reason)
    if (this.isHeld === before) return
    if (this.isHeld) {
      this.heldAt = performance.now()
      this.socket?.pause()
    } else {
      this.heldMs += performance.now() - this.heldAt
      this.alive()
      this.socket?.resume()
    }
  }

  get isHeld(): boolean {
    return this.reasons.size > 0
  }

  /** Milliseconds for which it is held back at this time; 0 where it is not. */
  get heldSinceMs(): number {
    return this.isHeld ? performance.now() - this.heldAt : 0
  }
}

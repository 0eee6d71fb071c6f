import { setTimeout as sleep } from 'node:timers/promises'
import type { FailpointName } from '../../src/failpoints.ts'
import type { Exit, Follower } from '../support/follower.ts'
import { type Follow, start } from '../support/kill.ts'

/** Runs a follower, again whenever it has ended: what a service manager does. */
export class Daemon {
  current: Follower
  starts = 0
  /** What no follower should have done: an exit code that asks for a person. */
  readonly failures: string[] = []
  /** Those that ran since `forget`, the present one last. */
  readonly followers: Follower[] = []
  private readonly follow: Follow
  private readonly running: Promise<void>
  private armed: string | undefined
  private stopped = false
  private readonly waiting: ((exit: Exit) => void)[] = []

  constructor(follow: Follow) {
    this.follow = follow
    this.current = this.start()
    this.running = this.run()
  }

  /** Ends the present process, and lets the next one do that at a failpoint. */
  arm(name: FailpointName, action: string, hit: number): void {
    this.armed = `${name}:${action}:${hit}`
    this.current.child.kill('SIGKILL')
  }

  /** Forgets the processes that have ended. */
  forget(): void {
    this.followers.splice(0, this.followers.length - 1)
  }

  /** Waits for the end of the present process. */
  ended(): Promise<Exit> {
    return new Promise((resolve) => this.waiting.push(resolve))
  }

  async stop(): Promise<void> {
    this.stopped = true
    this.current.child.kill('SIGCONT')
    this.current.child.kill('SIGTERM')
    await this.running
  }

  private start(): Follower {
    this.starts++
    const failpoint = this.armed
    this.armed = undefined
    const follower = start(this.follow, failpoint)
    this.followers.push(follower)
    return follower
  }

  private async run(): Promise<void> {
    for (;;) {
      const follower = this.current
      const exit = await follower.exit
      // 0, 143: SIGTERM. 1: a stop that took too long. 4, 5: an end that is away at the start. 11: a second follower took over.
      const fine = exit.signal !== null || [0, 1, 4, 5, 11, 143].includes(exit.code ?? -1)
      if (!fine && !this.stopped) this.failures.push(`exit ${exit.code}:\n${follower.output.slice(-6000)}`)
      for (const resolve of this.waiting.splice(0)) resolve(exit)
      if (this.stopped) return
      if (exit.code !== null) await sleep(fine ? 100 : 1000)
      this.current = this.start()
    }
  }
}

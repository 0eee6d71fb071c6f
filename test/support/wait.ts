import { setTimeout as sleep } from 'node:timers/promises'

export interface WaitOptions {
  /** Milliseconds; generous, since it only ends a test that has failed. */
  readonly timeout?: number
  readonly interval?: number
  /** What is waited for; stands in the error. */
  readonly what?: string
}

/** The longest step of time that counts, in milliseconds: a virtual machine may stand still for a minute. */
const longestStepMs = 1000

/** Measures time in which something could happen: where the whole machine stood still, only a second. */
export class Patience {
  #left: number
  #last = performance.now()

  constructor(milliseconds: number) {
    this.#left = milliseconds
  }

  /** To be asked several times a second. */
  get isOver(): boolean {
    const now = performance.now()
    this.#left -= Math.min(now - this.#last, longestStepMs)
    this.#last = now
    return this.#left < 0
  }
}

type Truthy<T> = Exclude<T, false | null | undefined | 0 | ''>

/** Calls `look` until it gives something truthy, and returns that. A throwing `look` counts as not yet. */
export async function waitUntil<T>(
  look: () => Promise<T> | T,
  options: WaitOptions = {},
): Promise<Truthy<T>> {
  const patience = new Patience(options.timeout ?? 40_000)
  let last: unknown
  for (;;) {
    try {
      const result = await look()
      if (result) return result as Truthy<T>
      last = result
    } catch (error) {
      last = error
    }
    if (patience.isOver)
      throw new Error(`waited in vain for ${options.what ?? look.toString()}; last: ${String(last)}`)
    await sleep(options.interval ?? 30)
  }
}

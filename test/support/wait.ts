import { setTimeout as sleep } from 'node:timers/promises'

export interface WaitOptions {
  /** Milliseconds; generous, since it only ends a test that has failed. */
  readonly timeout?: number
  readonly interval?: number
  /** What is waited for; stands in the error. */
  readonly what?: string
}

type Truthy<T> = Exclude<T, false | null | undefined | 0 | ''>

/** Calls `look` until it gives something truthy, and returns that. A throwing `look` counts as not yet. */
export async function waitUntil<T>(
  look: () => Promise<T> | T,
  options: WaitOptions = {},
): Promise<Truthy<T>> {
  const deadline = Date.now() + (options.timeout ?? 20_000)
  let last: unknown
  for (;;) {
    try {
      const result = await look()
      if (result) return result as Truthy<T>
      last = result
    } catch (error) {
      last = error
    }
    if (Date.now() > deadline)
      throw new Error(`waited in vain for ${options.what ?? look.toString()}; last: ${String(last)}`)
    await sleep(options.interval ?? 30)
  }
}

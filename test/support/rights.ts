import type { Least } from './least.ts'
import { pairs } from './pairs.ts'
import { available, type Pair } from './servers.ts'

const leastPairs: readonly Pair[] = process.env.FOLLOWER_SLOW === '1' ? ['18', '15-18'] : []

/**
 * The pairs of long suites, whose roles are superusers at both ends; where there is time, two of them with the least
 * rights, with and without SET on session_replication_role.
 */
export const rights: readonly (readonly [name: string, pair: Pair, least: Least | undefined])[] = [
  ...pairs.map((pair) => [pair, pair, undefined] as const),
  ...leastPairs.flatMap((pair) =>
    (['replica', 'origin'] as const).map((least) => [`${pair} (least, ${least})`, pair, least] as const),
  ),
].filter(([, pair]) => available(pair))

/** How a trigger is enabled that is to fire at what the follow brings, and at a subscription's. */
export function firing(least: Least | undefined): 'REPLICA' | 'ALWAYS' {
  return least === 'origin' ? 'ALWAYS' : 'REPLICA'
}

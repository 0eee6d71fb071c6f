import type { Pair } from './servers.ts'

/** What most users will move between. */
const main: readonly Pair[] = ['18', '15', '15-18']

/** The way back, and each other major once at either end. */
const more: readonly Pair[] = ['18-15', '14-17', '16-18', '17-14', '18-16']

/** The pairs that what depends on versions is tested with: all of them where there is time (FOLLOWER_SLOW=1). */
export const pairs: readonly Pair[] = process.env.FOLLOWER_SLOW === '1' ? [...main, ...more] : main

/** Every pair by the default plugin, and one by the other. */
export const ways: readonly (readonly [name: string, pair: Pair, plugin: 'pgoutput' | 'wal2json'])[] = [
  ...pairs.map((pair) => [pair, pair, 'pgoutput'] as const),
  ['15-18 by wal2json', '15-18', 'wal2json'],
]

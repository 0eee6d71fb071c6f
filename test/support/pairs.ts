import type { Pair } from './servers.ts'

const slow = process.env.FOLLOWER_SLOW === '1'

/** Each major at either end. */
const all: readonly Pair[] = ['18', '15-18', '18-15', '14-17', '17-16', '16-14']

/** The pairs that what depends on versions is tested with: all of them where there is time (FOLLOWER_SLOW=1). */
export const pairs: readonly Pair[] = slow ? all : ['18']

/** For what depends on the upstream's major alone, and takes long. */
export const pairsByUpstream: readonly Pair[] = slow ? ['18', '15-18', '14-17'] : ['18']

/** For what depends on the downstream's major alone, and takes long. */
export const pairsByDownstream: readonly Pair[] = slow ? ['18', '15', '17-14'] : ['18']

/** Every pair by the default plugin, and one by the other; a move to a newer major always. */
export const ways: readonly (readonly [name: string, pair: Pair, plugin: 'pgoutput' | 'wal2json'])[] = [
  ...pairs.map((pair) => [pair, pair, 'pgoutput'] as const),
  ...(slow ? [] : [['15-18', '15-18', 'pgoutput'] as const]),
  ...(slow ? [['15-18 by wal2json', '15-18', 'wal2json'] as const] : []),
]

/** Upstreams of suites that need no downstream. */
export const upstreamsOfLongSuites: readonly ('18' | '15')[] = slow ? ['18', '15'] : ['18']

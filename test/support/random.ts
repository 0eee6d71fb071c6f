/** Numbers that a seed repeats: whole ones below `n`, and one of a list. */
export interface Random {
  below(n: number): number
  one<T>(list: readonly T[]): T
  shuffled<T>(list: readonly T[]): T[]
}

/** FOLLOWER_SEED, or a new one; printed, since only the seed can repeat a failed run. */
export function seed(what: string): number {
  const given = Number(process.env.FOLLOWER_SEED ?? Number.NaN)
  const it = Number.isInteger(given) ? given : Math.floor(Math.random() * 2 ** 31)
  console.info(`${what}: FOLLOWER_SEED=${it}`)
  return it
}

/** A small generator (mulberry32); quality is of no matter here. */
export function random(seed: number): Random {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (n: number): number => Math.floor(next() * n)
  return {
    below,
    one: (list) => list[below(list.length)]!,
    shuffled: (list) => {
      const result = [...list]
      for (let i = result.length - 1; i > 0; i--) {
        const j = below(i + 1)
        ;[result[i], result[j]] = [result[j]!, result[i]!]
      }
      return result
    },
  }
}

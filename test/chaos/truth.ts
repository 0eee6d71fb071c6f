import { lsnFromServer } from '../../src/model/lsn.ts'

/** The tables whose places are known; `bulk` never changes. */
export const measured = [
  ...(['bulk', 'account', 'ledger', 'hot', 'cold', 'scratch', 'document', 'secret', 'probe'] as const),
]

/** What is there of each: how many rows; of `hot`, whose rows are always the same three, the sum of their numbers. */
export const measures = measured
  .map((name) => `SELECT '${name}', ${name === 'hot' ? 'coalesce(sum(n), 0)' : 'count(*)'} FROM ${name}`)
  .join(' UNION ALL ')

/** A line of test_decoding, and the place of it: of a COMMIT the end of its record. */
export interface Decoded {
  readonly lsn: string
  readonly data: string
}

/** A table downstream that is called copied, the place it is said to stand for, and what is there of it. */
export interface CopiedTable {
  readonly name: string
  readonly lsn: string
  readonly measure: number
}

/** What upstream's tables held at each place of its WAL, from its own decoder: what a copy is compared with. Pure but for its place. */
export class Truth {
  /** How many measures were compared. */
  compared = 0
  private readonly now: number[]
  private readonly hot = new Map<string, number>()
  private commits: { readonly end: bigint; readonly measures: readonly number[] }[]
  private fresh = 0

  /** `bulk`: its rows, which are there from the beginning, as nothing else is. */
  constructor(bulk: number) {
    this.now = measured.map((name) => (name === 'bulk' ? bulk : 0))
    this.commits = [{ end: 0n, measures: [...this.now] }]
  }

  /** Takes what was committed next. Places before what it took the last time are known no more. */
  add(lines: readonly Decoded[]): void {
    this.commits = this.commits.slice(this.fresh)
    this.fresh = Math.max(0, this.commits.length - 1)
    for (const { lsn, data } of lines) {
      if (data.startsWith('COMMIT')) this.commits.push({ end: lsnFromServer(lsn), measures: [...this.now] })
      else this.change(data)
    }
  }

  /** Says what is wrong with the first that is wrong. */
  check(tables: readonly CopiedTable[]): string | undefined {
    for (const { name, lsn, measure } of tables) {
      const right = this.at(lsn)?.[measured.indexOf(name as (typeof measured)[number])]
      if (right !== undefined) this.compared++
      if (right !== undefined && right !== measure)
        return `${name} is called copied at ${lsn}, where it had ${right} upstream, and has ${measure}`
    }
    return undefined
  }

  private at(lsn: string): readonly number[] | undefined {
    const place = lsnFromServer(lsn)
    let [low, high] = [0, this.commits.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.commits[middle]!.end <= place) low = middle + 1
      else high = middle
    }
    return this.commits[low - 1]?.measures
  }

  private change(data: string): void {
    const [, name, what, rest] = /^table public\.(\w+): (\w+): ?(.*)$/s.exec(data) ?? []
    const at = measured.indexOf(name as (typeof measured)[number])
    if (at < 0) return
    if (name === 'hot') {
      const [, id, n] = /id\[integer\]:(\d+) n\[bigint\]:(\d+)/.exec(rest ?? '') ?? []
      if (id !== undefined) this.hot.set(id, Number(n))
      this.now[at] = [...this.hot.values()].reduce((sum, each) => sum + each, 0)
    } else if (what === 'INSERT') this.now[at]!++
    else if (what === 'DELETE') this.now[at]!--
    else if (what === 'TRUNCATE') this.now[at] = 0
  }
}

import type { Relation } from '../model/relation.ts'

/** Operations of a table: `operation…` are four bits. */
const width = 4
/** More tables than that have no room in a small integer: such transactions share nothing. */
const mostTables = 7

/** What a transaction does to which tables. The next one mostly does the same, and then needs no map of its own. */
export class Pattern {
  /** Definitions, and `operation…` or'ed together. */
  readonly operations: ReadonlyMap<Relation, number>
  /** All of it as bits. */
  readonly bits: number = 0
  private readonly places = new Map<Relation, number>()

  constructor(operations: ReadonlyMap<Relation, number> = new Map()) {
    const isShared = operations.size <= mostTables
    this.operations = isShared ? operations : new Map()
    if (!isShared) return
    for (const [relation, done] of operations) {
      const place = this.places.size * width
      this.places.set(relation, place)
      this.bits |= done << place
    }
  }

  /** The bit of that operation; 0 where it is no part of the pattern. */
  bit(relation: Relation, operation: number): number {
    const place = this.places.get(relation)
    return place === undefined ? 0 : this.bits & (operation << place)
  }

  /** What these of its bits say. */
  part(bits: number): Map<Relation, number> {
    const part = new Map<Relation, number>()
    for (const [relation, place] of this.places) {
      const done = (bits >> place) & (2 ** width - 1)
      if (done !== 0) part.set(relation, done)
    }
    return part
  }
}

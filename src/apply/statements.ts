import type pg from 'pg'
import type { RowChange } from '../model/changes.ts'
import type { Relation } from '../model/relation.ts'
import type { ChangeShape, Planner, RowStatement } from '../model/statement.ts'
import type { TargetTable } from '../model/target.ts'
import { refuseTriggers } from './ordinary-triggers.ts'
import { commonShape, type IdentityAlways, isCommon, shapeKey, shapeOf } from './shape.ts'
import { loadTargets, missingTable } from './targets.ts'

/** A statement that has, or soon will have, a name on the server. */
export interface Prepared {
  readonly statement: RowStatement
  readonly name: string
  parsed: boolean
}

/** All that is known of one relation's downstream table in this session. */
export interface RelationStatements {
  readonly relation: Relation
  readonly target: TargetTable
  readonly identityAlways: IdentityAlways
  readonly common: (Prepared | undefined)[]
  readonly others: Map<string, Prepared>
}

/** How many statements may stay prepared before all are dropped and prepared again as needed. */
const maxPrepared = 1000

/** Statements prepared in the apply session, by definition of the relation and shape of the change. */
export class Statements {
  /** Whether the transaction in hand makes a materialized view of this name later on. */
  makesView: ((relation: Relation) => boolean) | undefined
  /** Materialized views: their rows come of their own refresh. */
  private readonly ignored = new Set<Relation>()
  private readonly known = new Map<Relation, RelationStatements>()
  private readonly client: pg.Client
  private readonly planner: Planner
  private readonly haltOnTriggers: boolean
  private made = 0
  private sinceReset = 0

  /** `haltOnTriggers`: stop at tables with triggers that act otherwise than under a replication role. */
  constructor(client: pg.Client, planner: Planner, haltOnTriggers: boolean) {
    this.haltOnTriggers = haltOnTriggers
    this.client = client
    this.planner = planner
  }

  /** Reads the downstream tables of relations that are new. Throws a FollowerError where one is missing. */
  async load(relations: Iterable<Relation>): Promise<void> {
    const missing = [...new Set(relations)].filter((relation) => !this.has(relation))
    if (missing.length === 0) return
    const targets = await loadTargets(this.client, missing)
    for (const [i, relation] of missing.entries()) {
      const target = targets[i]
      if (target ? target.kind === 'm' : relation.mayBeView && this.makesView?.(relation)) {
        this.ignored.add(relation)
        continue
      }
      if (!target) throw missingTable(relation)
      if (this.haltOnTriggers) await refuseTriggers(this.client, relation)
      const always = relation.columns.flatMap((column, at) =>
        target.columns.get(column.name)?.identityAlways ? [at] : [],
      )
      const key = always.filter((at) => relation.columns[at]!.key)
      const identityAlways = { key, others: key.length < always.length }
      this.known.set(relation, { relation, target, identityAlways, common: [], others: new Map() })
    }
  }

  of(relation: Relation): RelationStatements {
    const known = this.known.get(relation)
    if (!known) throw new Error(`target of ${relation.schema}.${relation.name} is not loaded`)
    return known
  }

  has(relation: Relation): boolean {
    return this.known.has(relation) || this.ignored.has(relation)
  }

  /** Whether a relation that is loaded takes no rows. */
  ignores(relation: Relation): boolean {
    return this.ignored.size > 0 && this.ignored.has(relation)
  }

  /** The statement of a change. Allocates nothing for the common shapes. */
  forChange(known: RelationStatements, change: RowChange): Prepared {
    if (!isCommon(change, known.identityAlways))
      return this.forShape(known, shapeOf(change, known.identityAlways))
    const shape = commonShape(change)
    const prepared = known.common[shape]
    if (prepared) return prepared
    const made = this.forShape(known, shapeOf(change, known.identityAlways))
    known.common[shape] = made
    return made
  }

  forShape(known: RelationStatements, shape: ChangeShape): Prepared {
    const key = shapeKey(shape)
    return this.keep(known, key, () => this.planner.row(known.relation, known.target, shape))
  }

  existence(known: RelationStatements, shape: ChangeShape): Prepared {
    const key = `exists ${shapeKey(shape)}`
    return this.keep(known, key, () => this.planner.exists(known.relation, known.target, shape))
  }

  truncate(relations: readonly Relation[], restartIdentity: boolean): string {
    return this.planner.truncate(
      relations.map((relation) => this.of(relation).target),
      restartIdentity,
    )
  }

  /** Forgets everything, here and on the server: after DDL, after an error, or when there are too many. */
  async reset(): Promise<void> {
    this.ignored.clear()
    if (this.known.size === 0) return
    this.known.clear()
    this.sinceReset = 0
    await this.client.query('DEALLOCATE ALL')
  }

  get tooMany(): boolean {
    return this.sinceReset > maxPrepared
  }

  private keep(known: RelationStatements, key: string, plan: () => RowStatement): Prepared {
    let prepared = known.others.get(key)
    if (!prepared) {
      prepared = { statement: plan(), name: `f${++this.made}`, parsed: false }
      this.sinceReset++
      known.others.set(key, prepared)
    }
    return prepared
  }
}

import type pg from 'pg'
import type { RowChange } from '../model/changes.ts'
import type { Relation } from '../model/relation.ts'
import type {
  ChangeShape,
  Planner,
  RowStatement,
  SetPlan,
  SetStatement,
  Versions,
} from '../model/statement.ts'
import type { TableOwner, TargetTable } from '../model/target.ts'
import { refuseTriggers } from './ordinary-triggers.ts'
import { isSameOwner, loadOwners, requireActing } from './owners.ts'
import type { Prepared } from './prepared.ts'
import { commonShape, commonShapes, type IdentityAlways, isCommon, shapeKey, shapeOf } from './shape.ts'
import { loadTargets, missingTable } from './targets.ts'
import { TextWanted } from './text-wanted.ts'
import type { Waiting } from './waiting.ts'
import { Wall } from './wall.ts'

/** All that is known of one relation's downstream table in this session. */
export interface RelationStatements {
  readonly relation: Relation
  readonly target: TargetTable
  readonly identityAlways: IdentityAlways
  readonly common: (Prepared | undefined)[]
  readonly others: Map<string, Prepared>
  /** By what is done to the table: how it is put together, or that it can't be. */
  readonly sets: Map<number, SetPlan | undefined>
  /** The same with the rights of the table's owner, once it is needed. */
  asOwner?: RelationStatements
}

/** How many statements may stay prepared before all are dropped and prepared again as needed. */
const maxPrepared = 1000

/** text, int8, pg_lsn twice, float8 */
const advanceTypes = [25, 20, 3220, 3220, 701]

/** Statements prepared in the apply session, by definition of the relation and shape of the change. */
export class Statements {
  /** Whether the transaction in hand makes a materialized view of this name later on. */
  makesView: ((relation: Relation) => boolean) | undefined
  /** Row by row: errors have to say which value it was, and functions of a table's owner are made for each row. */
  stepwise = false
  readonly wall: Wall
  /** Materialized views: their rows come of their own refresh. */
  private readonly ignored = new Set<Relation>()
  private readonly known = new Map<Relation, RelationStatements>()
  private readonly client: pg.Client
  private readonly planner: Planner
  private readonly haltOnTriggers: boolean
  private readonly waiting: Waiting
  /** Of the servers, where values arrive in binary. */
  private readonly binary: Versions | undefined
  private made = 0
  private advancing: Prepared | undefined
  private sinceReset = 0

  /**
   * `haltOnTriggers`: stop at tables with triggers that act otherwise than under a replication role. `waiting`: those that are
   * copied later take no rows until then. `binary`: the servers' versions where values arrive in binary.
   */
  constructor(
    client: pg.Client,
    planner: Planner,
    haltOnTriggers: boolean,
    waiting: Waiting,
    binary: Versions | undefined,
  ) {
    this.binary = binary
    this.waiting = waiting
    this.haltOnTriggers = haltOnTriggers
    this.client = client
    this.planner = planner
    this.wall = new Wall(client, () => this.forgetParsed())
  }

  /** Reads the downstream tables of relations that are new, and meets those that come late. Throws a FollowerError where one is missing. */
  async load(relations: Iterable<Relation>): Promise<void> {
    await this.wall.clean()
    if (this.wall.ran) await this.lookAgain()
    const missing = [...new Set(relations)].filter((relation) => !this.has(relation))
    if (missing.length === 0) return
    const targets = await loadTargets(this.client, missing)
    const owners = await loadOwners(this.client, missing)
    if (owners.some((owner) => owner !== undefined)) await this.wall.learn()
    if (this.haltOnTriggers) await refuseTriggers(this.client, missing)
    for (const [i, relation] of missing.entries()) {
      const owner = owners[i]
      const target = targets[i] && owner ? { ...targets[i], owner } : targets[i]
      if (target ? target.kind === 'm' : relation.mayBeView && this.makesView?.(relation)) {
        this.ignored.add(relation)
        continue
      }
      if (!target) throw missingTable(relation)
      const why = this.binary && this.planner.whyText(relation, target, this.binary)
      if (why !== undefined) throw new TextWanted(why)
      await this.waiting.meet(relation)
      const always = relation.columns.flatMap((column, at) =>
        target.columns.get(column.name)?.identityAlways ? [at] : [],
      )
      const key = always.filter((at) => relation.columns[at]!.key)
      const identityAlways = { key, others: key.length < always.length }
      this.known.set(relation, {
        relation,
        target,
        identityAlways,
        common: [],
        others: new Map(),
        sets: new Map(),
      })
    }
  }

  of(relation: Relation): RelationStatements {
    const known = this.known.get(relation)
    if (!known) throw new Error(`target of ${relation.schema}.${relation.name} is not loaded`)
    const { owner } = known.target
    return owner && (owner.risky || this.wall.ran) ? this.ofOwner(known, owner) : known
  }

  private ofOwner(known: RelationStatements, owner: TableOwner): RelationStatements {
    if (!known.asOwner) {
      if (this.binary)
        throw new TextWanted(
          `rows of ${known.relation.schema}.${known.relation.name} are written as their owner`,
        )
      requireActing(known.relation, owner, this.client.user ?? '')
      const target = { ...known.target, asOwner: true }
      known.asOwner = { ...known, target, common: [], others: new Map(), sets: new Map() }
    }
    return known.asOwner
  }

  /** Code of one owner may have given code to tables that had none. */
  private async lookAgain(): Promise<void> {
    const harmless = [...this.known.values()].filter(({ target }) => target.owner && !target.owner.risky)
    if (harmless.length === 0) return
    const owners = await loadOwners(
      this.client,
      harmless.map(({ relation }) => relation),
    )
    if (harmless.every(({ target }, i) => isSameOwner(target.owner, owners[i]))) this.wall.ran = false
    else await this.reset()
  }

  has(relation: Relation): boolean {
    return this.ignored.has(relation) || (this.known.has(relation) && !this.waiting.isLate(relation))
  }

  /** Whether a relation that is loaded takes no rows. */
  ignores(relation: Relation): boolean {
    return (this.ignored.size > 0 && this.ignored.has(relation)) || this.waiting.has(relation)
  }

  /** The statement of a change. Allocates nothing for the common shapes. `checked`: as in ChangeShape. */
  forChange(known: RelationStatements, change: RowChange, checked = false): Prepared {
    if (!isCommon(change, known.identityAlways))
      return this.forShape(known, { ...shapeOf(change, known.identityAlways), checked })
    const shape = commonShape(change) + (checked ? commonShapes : 0)
    const prepared = known.common[shape]
    if (prepared && !(prepared.wall && this.stepwise)) return prepared
    const made = this.forShape(known, { ...shapeOf(change, known.identityAlways), checked })
    known.common[shape] = made
    return made
  }

  forShape(known: RelationStatements, shape: ChangeShape): Prepared {
    const key = shapeKey(shape)
    return this.keep(known, key, () => this.planner.row(known.relation, known.target, shape))
  }

  /** Whether the table's changes may be put together, apart from those of others. */
  isFree({ target }: RelationStatements): boolean {
    return this.planner.isFree(target)
  }

  /** How, when `operations` are done to it; undefined: one by one. */
  sets(known: RelationStatements, operations: number): SetPlan | undefined {
    if (!known.sets.has(operations))
      known.sets.set(
        operations,
        this.planner.sets(known.relation, known.target, operations, this.binary !== undefined),
      )
    return known.sets.get(operations)
  }

  forSet(known: RelationStatements, statement: SetStatement): Prepared {
    return this.keep(known, statement.sql, () => statement)
  }

  /** What moves progress. The parameters are name, epoch, position before, position after, microseconds. */
  advance(sql: string): Prepared {
    this.advancing ??= {
      statement: { sql, types: advanceTypes, parameters: new Int16Array() },
      name: `f${++this.made}`,
      parsed: false,
    }
    return this.advancing
  }

  existence(known: RelationStatements, shape: ChangeShape): Prepared {
    const key = `exists ${shapeKey(shape)}`
    return this.keep(known, key, () => this.planner.exists(known.relation, known.target, shape))
  }

  /** One statement for all tables, since foreign keys may demand it; but for those of owners that are not trusted, one for each owner. */
  truncates(relations: readonly Relation[], restartIdentity: boolean): Prepared[] {
    const byOwner = new Map<number | undefined, TargetTable[]>()
    for (const { target } of relations.map((relation) => this.of(relation))) {
      const owner = target.asOwner ? target.owner?.oid : undefined
      byOwner.set(owner, [...(byOwner.get(owner) ?? []), target])
    }
    return [...byOwner.values()].map((targets) => {
      const sql = this.planner.truncate(targets, restartIdentity)
      const statement = { sql, types: [], parameters: new Int16Array() }
      const { asOwner, owner } = targets[0]!
      return asOwner && owner
        ? this.wall.wrap(statement, owner, false)
        : { statement, name: '', parsed: false }
    })
  }

  /** Forgets everything, here and on the server: after DDL, after an error, or when there are too many. */
  async reset(): Promise<void> {
    this.advancing = undefined
    this.ignored.clear()
    await this.wall.drop()
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
    if (!prepared || (prepared.wall && this.stepwise)) {
      const statement = plan()
      prepared = statement.owner
        ? this.wall.wrap(statement, statement.owner, this.stepwise)
        : { statement, name: `f${++this.made}`, parsed: false }
      this.sinceReset++
      known.others.set(key, prepared)
    }
    return prepared
  }

  private forgetParsed(): void {
    this.advancing = undefined
    for (const { common, others } of this.known.values())
      for (const prepared of [...common, ...others.values()]) if (prepared) prepared.parsed = false
  }
}

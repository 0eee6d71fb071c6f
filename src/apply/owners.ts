import type pg from 'pg'
import { ExitCode, FollowerError } from '../errors.ts'
import { type Relation, relationName } from '../model/relation.ts'
import type { ColumnCast, TableOwner } from '../model/target.ts'
import { quoteIdentifier } from '../postgres/identifier.ts'
import { sql } from '../postgres/sql.ts'

interface Row {
  place: string
  owner: string
  owner_oid: string
  partition: string | null
  risky: string
  may_act: string
  casts: string
}

/** Reads who owns the downstream tables of the relations, by one query; undefined where the owner is trusted. */
export async function loadOwners(
  client: pg.Client,
  relations: readonly Relation[],
): Promise<readonly (TableOwner | undefined)[]> {
  const { rows } = await client.query<Row>(sql('query/target_owners'), [
    relations.map((relation) => relation.schema),
    relations.map((relation) => relation.name),
  ])
  const owners = new Map(rows.map((row) => [Number(row.place), tableOwner(row)]))
  return relations.map((_, i) => owners.get(i + 1))
}

function tableOwner(row: Row): TableOwner {
  return {
    role: row.owner,
    oid: Number(row.owner_oid),
    risky: row.risky === 't',
    mayAct: row.may_act === 't',
    partition: row.partition ?? undefined,
    casts: new Map(Object.entries(JSON.parse(row.casts) as Record<string, ColumnCast>)),
  }
}

/** Whether the statements of a table have to be other ones. */
export function isSameOwner(a: TableOwner | undefined, b: TableOwner | undefined): boolean {
  return (
    a?.oid === b?.oid && a?.risky === b?.risky && a?.mayAct === b?.mayAct && a?.partition === b?.partition
  )
}

/** Throws where rows would have to be applied as an owner that the daemon can't act for. */
export function requireActing(relation: Relation, owner: TableOwner, daemon: string): void {
  if (owner.partition === undefined && owner.mayAct) return
  const role = quoteIdentifier(owner.role)
  const name = owner.partition ?? relationName(relation)
  throw new FollowerError(
    `rows of ${relationName(relation)} run code of ${owner.role}, and can't do so with its rights`,
    {
      code: 'FLW-316',
      exit: ExitCode.apply,
      detail:
        owner.partition === undefined
          ? `${name} has triggers, rules or expressions that run as its owner ${owner.role}, for whom ${daemon} may not act`
          : `it is part of one partitioned table with ${name}, which belongs to ${owner.role} while it does not; one of them has triggers, rules or expressions`,
      fix:
        owner.partition === undefined
          ? [`GRANT ${role} TO ${quoteIdentifier(daemon)};   -- downstream`]
          : [`ALTER TABLE ${name} OWNER TO …;   -- downstream: one owner for the table and its partitions`],
      context: { relation: relationName(relation), role: owner.role },
    },
  )
}

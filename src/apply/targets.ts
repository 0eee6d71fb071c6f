import type pg from 'pg'
import { ExitCode, FollowerError } from '../errors.ts'
import { type Relation, relationName } from '../model/relation.ts'
import type { TargetColumn, TargetTable } from '../model/target.ts'
import { sql } from '../postgres/sql.ts'

interface Row {
  place: string
  kind: string
  columns: string
  keys: string
  deferrable_keys: string
  replica_triggers: string
}

/** Reads the downstream tables that take the relations' changes, by one query; undefined where there is none. */
export async function loadTargets(
  client: pg.Client,
  relations: readonly Relation[],
): Promise<readonly (TargetTable | undefined)[]> {
  const { rows } = await client.query<Row>(sql('query/target_tables'), [
    relations.map((relation) => relation.schema),
    relations.map((relation) => relation.name),
    relations.map((relation) => relation.mayBeView === true),
  ])
  const found = new Map(rows.map((row) => [Number(row.place), row]))
  return relations.map((relation, i) => {
    const row = found.get(i + 1)
    return row && targetTable(relation, row)
  })
}

function targetTable(relation: Relation, row: Row): TargetTable {
  const columns = JSON.parse(row.columns) as TargetColumn[]
  const keys = JSON.parse(row.keys) as { primary: boolean; columns: string[] }[]
  return {
    schema: relation.schema,
    name: relation.name,
    kind: row.kind,
    columns: new Map(columns.map((column) => [column.name, column])),
    primaryKey: keys.find((key) => key.primary)?.columns ?? [],
    uniqueKeys: keys.map((key) => key.columns),
    deferrableKeys: row.deferrable_keys === 't',
    replicaTriggers: row.replica_triggers === 't',
  }
}

export function missingTable(relation: Relation): FollowerError {
  return new FollowerError(`table ${relationName(relation)} does not exist downstream`, {
    code: 'FLW-301',
    exit: ExitCode.apply,
    detail: 'the upstream changed rows of it',
    fix: [`create ${relationName(relation)} downstream, or leave it out of the publication`],
    context: { relation: relationName(relation) },
  })
}

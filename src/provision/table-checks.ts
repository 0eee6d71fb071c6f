import type { FollowerError } from '../errors.ts'
import type { FollowSettings } from '../model/follow.ts'
import { type Finding, finding } from './findings.ts'
import {
  type CopyTargets,
  displayTable,
  type FollowedTable,
  lacksIdentity,
  type TableName,
  type Uncopied,
  type UnlikeRoot,
} from './tables.ts'

/** Pure: patterns that name nothing. */
export function checkPatterns(unknown: readonly TableName[]): FollowerError[] {
  if (unknown.length === 0) return []
  return [
    finding({
      code: 'FLW-118',
      message: `there is no such table upstream: ${list(unknown, 5).join(', ')}`,
      fix: ['correct --tables: schema.table, or schema.* for all tables of a schema'],
    }),
  ]
}

/** Pure: tables whose UPDATE and DELETE would begin to fail upstream. */
export function checkIdentities(
  settings: FollowSettings,
  tables: readonly FollowedTable[],
  captured: boolean,
): FollowerError[] {
  const lacking = tables.filter(lacksIdentity)
  if (lacking.length === 0) return []
  // The capture objects give and take back FULL.
  if (settings.noIdentity === 'full' && captured) return []
  // A publication that the user made isn't ours to change.
  if (settings.noIdentity === 'insert-only' && settings.publications.length === 0) return []
  const [first] = lacking
  return [
    finding({
      code: 'FLW-131',
      message: `${count(lacking.length, 'table has', 'tables have')} no usable replica identity: UPDATE and DELETE there would fail upstream`,
      detail: lacking
        .slice(0, listed)
        .map((table) => `${displayTable(table)}: ${table.identity}`)
        .concat(lacking.length > listed ? [`and ${lacking.length - listed} more`] : [])
        .join('\n'),
      fix: [
        `ALTER TABLE ${displayTable(first!)} ADD PRIMARY KEY (…);   -- upstream, for each of them`,
        `or ALTER TABLE ${displayTable(first!)} REPLICA IDENTITY USING INDEX …;   -- a unique index over NOT NULL columns`,
        'or let follower use whole rows (more WAL, slower):  follower start --no-identity full …',
        ...(settings.plugin === 'pgoutput'
          ? ['or follow only their inserts:  follower start --no-identity insert-only …']
          : []),
      ],
    }),
  ]
}

/** Pure: partitions whose old rows are written by another identity than the one that they are sent under. */
export function checkUnlikeRoots(found: readonly UnlikeRoot[]): FollowerError[] {
  const [first] = found
  if (!first) return []
  return [
    finding({
      code: 'FLW-133',
      message: `${count(found.length, 'partition has', 'partitions have')} another replica identity than the root that they are published as`,
      detail: found
        .slice(0, listed)
        .map((it) => `${it.partition}: ${it.partitionIdentity}, ${it.root}: ${it.rootIdentity}`)
        .concat(found.length > listed ? [`and ${found.length - listed} more`] : [])
        .join('\n'),
      effect: 'nothing was changed; rows to be updated or deleted could not be found downstream',
      fix: [
        `ALTER TABLE ${first.partition} REPLICA IDENTITY …;   -- upstream, as ${first.root} has it; for each of them`,
        'or publish the partitions under their own names: publish_via_partition_root = false',
      ],
    }),
  ]
}

/** Pure: what is there upstream and would never arrive, since nothing is copied. */
export function checkUncopied(uncopied: Uncopied): FollowerError[] {
  const found: Finding[] = []
  if (uncopied.missing.length > 0)
    found.push({
      code: 'FLW-119',
      message: `${count(uncopied.missing.length, 'table is', 'tables are')} missing downstream`,
      detail: list(uncopied.missing, listed).join('\n'),
      effect: 'nothing was changed; tables are made in an empty database only',
      fix: [
        'pg_dump --schema-only <upstream> | psql <downstream>, then follower start …',
        'or use an empty database downstream:  follower start --copy all …',
      ],
    })
  if (uncopied.empty.length > 0)
    found.push({
      code: 'FLW-120',
      message: `${count(uncopied.empty.length, 'table holds', 'tables hold')} rows upstream and none downstream`,
      detail: list(uncopied.empty, listed).join('\n'),
      effect: 'nothing was changed; other tables hold rows downstream already, which are not touched',
      fix: [
        'follower start --copy data --overwrite …   # all rows are copied, those downstream are removed',
        'or pg_dump --data-only <upstream> | psql <downstream>   # while nothing writes upstream',
        'or, if those rows shall stay away:  follower start --copy none …',
      ],
    })
  return found.map(finding)
}

/** Pure: what stands against a copy of rows. */
export function checkTargets(targets: CopyTargets, overwrite: boolean): FollowerError[] {
  const found: Finding[] = []
  if (targets.missing.length > 0)
    found.push({
      code: 'FLW-119',
      message: `${count(targets.missing.length, 'table is', 'tables are')} missing downstream`,
      detail: list(targets.missing, listed).join('\n'),
      effect: 'nothing was changed; --copy data brings rows, not tables',
      fix: [
        'follower start --copy all …   # into an empty database: the schema, too',
        'or pg_dump --schema-only <upstream> | psql <downstream>, then follower start --copy data …',
      ],
    })
  if (targets.filled.length > 0 && !overwrite)
    found.push({
      code: 'FLW-122',
      message: `${count(targets.filled.length, 'table holds', 'tables hold')} rows downstream already`,
      detail: list(targets.filled, listed).join('\n'),
      effect: 'nothing was changed',
      fix: [
        `TRUNCATE ${displayTable(targets.filled[0]!)};   -- downstream, for each of them; or all of them at once:`,
        'follower start --copy data --overwrite …   # their rows are removed',
        'or, if the rows are the upstream’s:  follower start --copy none …',
      ],
    })
  return found.map(finding)
}

/**
 * Pure: what a first start brings where nobody has said it: all, into a database that has none of the tables; rows, where all
 * tables are there and empty. Where rows are there already, somebody has begun to bring them: then it is for that person to say.
 */
export function defaultCopy(
  settings: FollowSettings,
  tables: readonly FollowedTable[],
  uncopied: Uncopied,
): FollowSettings['copy'] {
  if (settings.plugin !== 'pgoutput' || uncopied.settled.size > 0) return undefined
  if (uncopied.missing.length === 0) return uncopied.empty.length > 0 ? 'data' : undefined
  const whole = settings.tables.length === 0 && settings.publications.length === 0
  const logged = tables.filter((table) => !table.unlogged)
  return whole && uncopied.missing.length === logged.length ? 'all' : undefined
}

/** Pure: what stands against a copy of the schema. */
export function checkAbsent({ present }: CopyTargets): FollowerError[] {
  if (present.length === 0) return []
  return [
    finding({
      code: 'FLW-127',
      message: `${count(present.length, 'table is', 'tables are')} there already downstream`,
      detail: list(present, listed).join('\n'),
      effect: 'nothing was changed; --copy all makes the schema, and changes none that is there',
      fix: [
        'use an empty database downstream',
        'or, where the schema is there:  follower start --copy data …',
      ],
    }),
  ]
}

/** Names in one message at most. */
const listed = 20

function list(tables: readonly TableName[], most: number): string[] {
  const names = tables.slice(0, most).map(displayTable)
  return tables.length > most ? [...names, `and ${tables.length - most} more`] : names
}

function count(n: number, one: string, many: string): string {
  return n === 1 ? `1 ${one}` : `${n} ${many}`
}

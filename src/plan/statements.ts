import { ExitCode, FollowerError } from '../errors.ts'
import { type Relation, relationName } from '../model/relation.ts'
import type { ChangeShape, RowStatement } from '../model/statement.ts'
import type { ColumnCast, TableOwner, TargetColumn, TargetTable } from '../model/target.ts'
import { quoteIdentifier } from '../postgres/identifier.ts'
import { tableExpression } from './truncate.ts'

/** Collects parameters while SQL is put together; a value that is used twice is one parameter. */
class Parameters {
  private readonly types: number[] = []
  private readonly refs: number[] = []
  private readonly casts: string[] = []
  private readonly owner: TableOwner | undefined

  constructor(target: TargetTable) {
    this.owner = target.asOwner ? target.owner : undefined
  }

  /** `ref`: as RowStatement.parameters. */
  use(ref: number, column: TargetColumn): string {
    let at = this.refs.indexOf(ref)
    if (at < 0) {
      at = this.refs.push(ref) - 1
      this.types.push(column.typeOid)
      if (this.owner) this.casts.push(castText(at + 1, this.owner.casts.get(column.name)!))
    }
    return this.casts[at] ?? `$${at + 1}`
  }

  statement(sql: string): RowStatement {
    const { types, owner, casts } = this
    return { sql, types, parameters: Int16Array.from(this.refs), ...(owner && { owner, casts }) }
  }
}

/**
 * An element of a function's only parameter, an array of texts, as its type's input function reads it. Where a cast from
 * text is something else (regclass, name, or what a user has made), by an array of one: its elements are read by that function.
 */
function castText(n: number, { type, cast }: ColumnCast): string {
  return cast ? `((ARRAY[($1)[${n}]]::text::${type}[])[1])` : `(($1)[${n}]::${type})`
}

interface Mapped {
  /** Index in the relation, so in the tuples. */
  readonly index: number
  readonly name: string
  readonly key: boolean
  readonly column: TargetColumn
}

/** The relation's columns with their downstream counterparts; throws where one is missing. */
function mapColumns(relation: Relation, target: TargetTable): Mapped[] {
  const missing = relation.columns
    .filter((column) => !target.columns.has(column.name))
    .map((column) => column.name)
  if (missing.length > 0)
    throw new FollowerError(
      `table ${relationName(target)} has no column ${missing.map(quoteIdentifier).join(', ')} downstream`,
      {
        code: 'FLW-302',
        exit: ExitCode.apply,
        detail: `the upstream's table has ${relation.columns.length} columns, the downstream's ${target.columns.size}`,
        fix: missing.map(
          (name) =>
            `ALTER TABLE ${quoteIdentifier(target.schema)}.${quoteIdentifier(target.name)} ADD COLUMN ${quoteIdentifier(name)} …;  -- downstream`,
        ),
        context: { relation: relationName(relation), columns: missing.join(',') },
      },
    )
  return relation.columns.map((column, index) => ({
    index,
    name: quoteIdentifier(column.name),
    key: column.key,
    column: target.columns.get(column.name)!,
  }))
}

export function planInsert(relation: Relation, target: TargetTable, shape: ChangeShape): RowStatement {
  const written = mapColumns(relation, target).filter((each) => !each.column.generated)
  const parameters = new Parameters(target)
  const head = `INSERT INTO ${quoteIdentifier(target.schema)}.${quoteIdentifier(target.name)}`
  const conflict = onConflict(written, target, shape, parameters)
  if (written.length === 0) return parameters.statement(`${head} DEFAULT VALUES${conflict}`)
  const values = written.map((each) => parameters.use(each.index, each.column))
  return parameters.statement(
    `${head} (${written.map((each) => each.name).join(', ')}) OVERRIDING SYSTEM VALUE VALUES (${values.join(', ')})${conflict}`,
  )
}

function onConflict(
  written: Mapped[],
  target: TargetTable,
  shape: ChangeShape,
  parameters: Parameters,
): string {
  if (shape.existing === 'error') return ''
  if (shape.existing === 'skip' && !target.deferrableKeys) return ' ON CONFLICT DO NOTHING'
  const key = target.primaryKey.length > 0 ? target.primaryKey : target.uniqueKeys[0]
  if (!key) return ''
  if (shape.existing === 'skip') return ` ON CONFLICT (${key.map(quoteIdentifier).join(', ')}) DO NOTHING`
  const set = written
    .filter((each) => !each.column.identityAlways)
    .map((each) => `${each.name} = ${parameters.use(each.index, each.column)}`)
  return ` ON CONFLICT (${key.map(quoteIdentifier).join(', ')}) DO ${set.length > 0 ? `UPDATE SET ${set.join(', ')}` : 'NOTHING'}`
}

export function planUpdate(relation: Relation, target: TargetTable, shape: ChangeShape): RowStatement {
  const columns = mapColumns(relation, target)
  const parameters = new Parameters(target)
  const unchanged = new Set(shape.unchanged)
  const set = columns
    .filter((each) => !each.column.generated && !each.column.identityAlways && !unchanged.has(each.index))
    .map((each) => `${each.name} = ${parameters.use(each.index, each.column)}`)
  const where = whereRow(relation, target, columns, shape, parameters)
  if (set.length === 0) {
    // Nothing that may be written has changed; touch the row all the same, so that a missing one is noticed.
    const free = columns.find((each) => !each.column.identityAlways && !each.column.generated)
    if (!free) return planExists(relation, target, shape)
    set.push(`${free.name} = ${free.name}`)
  }
  const update = `UPDATE ${tableExpression(target)} SET ${set.join(', ')} WHERE ${where}`
  return parameters.statement(shape.checked ? expectOne(`${update} RETURNING 1`) : update)
}

/** DELETE and INSERT in one statement: the only way to change an identity ALWAYS column. Unchanged values come from the old row. */
export function planReplace(relation: Relation, target: TargetTable, shape: ChangeShape): RowStatement {
  const columns = mapColumns(relation, target)
  const parameters = new Parameters(target)
  const unchanged = new Set(shape.unchanged)
  const where = whereRow(relation, target, columns, shape, parameters)
  const sent = columns.filter((each) => !each.column.generated)
  const sentNames = new Set(sent.map((each) => each.column.name))
  const local = [...target.columns.values()].filter(
    (column) => !column.generated && !sentNames.has(column.name),
  )
  const names = [...sent.map((each) => each.name), ...local.map((column) => quoteIdentifier(column.name))]
  const values = [
    ...sent.map((each) =>
      unchanged.has(each.index) ? `gone.${each.name}` : parameters.use(each.index, each.column),
    ),
    ...local.map((column) => `gone.${quoteIdentifier(column.name)}`),
  ]
  const gone = `gone AS (DELETE FROM ${tableExpression(target)} WHERE ${where} RETURNING *)`
  const insert =
    `INSERT INTO ${quoteIdentifier(target.schema)}.${quoteIdentifier(target.name)} (${names.join(', ')}) ` +
    `OVERRIDING SYSTEM VALUE SELECT ${values.join(', ')} FROM gone`
  return parameters.statement(
    shape.checked ? expectOne(`${insert} RETURNING 1`, `${gone}, `) : `WITH ${gone} ${insert}`,
  )
}

export function planDelete(relation: Relation, target: TargetTable, shape: ChangeShape): RowStatement {
  const parameters = new Parameters(target)
  const where = whereRow(relation, target, mapColumns(relation, target), shape, parameters)
  const gone = `DELETE FROM ${tableExpression(target)} WHERE ${where}`
  return parameters.statement(shape.checked ? expectOne(`${gone} RETURNING 1`) : gone)
}

export function planExists(relation: Relation, target: TargetTable, shape: ChangeShape): RowStatement {
  const parameters = new Parameters(target)
  const where = whereRow(relation, target, mapColumns(relation, target), shape, parameters)
  const found = `SELECT 1 FROM ${tableExpression(target)} WHERE ${where}`
  return parameters.statement(shape.checked ? expectOne(found) : found)
}

/** Divides by zero where the statement doesn't return exactly one row. */
function expectOne(sql: string, before = ''): string {
  return (
    `WITH ${before}met AS (${sql}) ` +
    'SELECT 1 OPERATOR(pg_catalog./) (pg_catalog.count(*) OPERATOR(pg_catalog.=) 1)::pg_catalog.int4 FROM met'
  )
}

/** Finds one row: by the replica identity, under FULL by the downstream's primary key or else by every column. */
function whereRow(
  relation: Relation,
  target: TargetTable,
  columns: Mapped[],
  shape: ChangeShape,
  parameters: Parameters,
): string {
  const chosen = identityColumns(relation, target, columns)
  if (chosen.length === 0 && relation.columns.length > 0) throw noIdentity(relation)
  const parameter = (each: Mapped): string =>
    parameters.use(shape.old === 'none' ? each.index : -1 - each.index, each.column)
  const condition = chosen.map((each) => equals(each, parameter(each))).join(' AND ')
  const names = new Set(chosen.map((each) => each.column.name))
  if (
    target.uniqueKeys.some((key) => key.every((name) => names.has(name) && target.columns.get(name)?.notNull))
  )
    return condition
  if (relation.identity !== 'f' && partOfGeneratedKey(target, names))
    throw noIdentity(relation, 'its key holds a generated column, which is not sent')
  // Rows of a table without columns are all alike.
  const place = target.kind === 'p' ? 'tableoid, ctid' : 'ctid'
  return `(${place}) = (SELECT ${place} FROM ${tableExpression(target)} WHERE ${condition || 'true'}${sameFirst(chosen, parameter)} LIMIT 1)`
}

/** Before PostgreSQL 18 the generated columns of a key are not sent: what is left of it may fit other rows. */
function partOfGeneratedKey(target: TargetTable, names: ReadonlySet<string>): boolean {
  return target.uniqueKeys.some((key) => {
    const others = key.filter((name) => !names.has(name))
    return (
      key.length - others.length === names.size && others.some((name) => target.columns.get(name)?.generated)
    )
  })
}

/** Of several rows that are equal, the one that is the same: 1.0 is not to go for 1.00. */
function sameFirst(chosen: Mapped[], parameter: (each: Mapped) => string): string {
  const inexact = chosen.filter((each) => each.column.equality !== null && !each.column.exact)
  return inexact.length === 0
    ? ''
    : ` ORDER BY ${sameText(inexact.map((each) => each.name).join(', '), inexact.map(parameter).join(', '))} DESC`
}

function identityColumns(relation: Relation, target: TargetTable, columns: Mapped[]): Mapped[] {
  if (relation.identity !== 'f') return columns.filter((each) => each.key)
  const byName = new Map(columns.map((each) => [each.column.name, each]))
  const key = target.primaryKey.map((name) => byName.get(name))
  if (key.length > 0 && key.every((each) => each !== undefined)) return key as Mapped[]
  return columns.filter((each) => !each.column.generated)
}

function equals(each: Mapped, parameter: string): string {
  const { equality, notNull } = each.column
  if (equality === null) return sameText(each.name, parameter)
  const equal = `${each.name} ${equality} ${parameter}`
  // Not IS NOT DISTINCT FROM, which looks for its operator in the search_path.
  return notNull ? equal : `(${equal} OR ${each.name} IS NULL AND ${parameter} IS NULL)`
}

/** As the types write them, NULL and all. Stored images may differ where the values don't: of a composite type that has grown. */
function sameText(names: string, parameters: string): string {
  return `ROW(${names})::text = ROW(${parameters})::text`
}

function noIdentity(relation: Relation, detail?: string): FollowerError {
  return new FollowerError(
    `table ${relationName(relation)} has no replica identity: its UPDATE and DELETE name no row`,
    {
      code: 'FLW-303',
      exit: ExitCode.apply,
      ...(detail === undefined ? {} : { detail }),
      fix: [
        `ALTER TABLE ${quoteIdentifier(relation.schema)}.${quoteIdentifier(relation.name)} REPLICA IDENTITY FULL;  -- upstream`,
      ],
      context: { relation: relationName(relation) },
    },
  )
}

import type pg from 'pg'
import { loadOwners, requireActing } from '../apply/owners.ts'
import { Wall } from '../apply/wall.ts'
import type { OwnerWall } from '../copy/copier.ts'
import { qualified } from '../copy/statements.ts'
import type { TableDefinition } from '../copy/table.ts'
import { CopyFailed } from '../copy/transfer.ts'
import type { Relation } from '../model/relation.ts'
import type { RowStatement } from '../model/statement.ts'
import type { ColumnCast, TableOwner } from '../model/target.ts'
import { quoteIdentifier } from '../postgres/identifier.ts'
import { Pipeline } from '../postgres/pipeline.ts'

const stageName = 'pg_temp.follower_copy_stage'

/**
 * Where rows of the table run code of an owner who is not trusted with the daemon's rights: COPY would run it with these, and can't
 * run in a function. So the rows come as text into a temporary table, and from there by one INSERT in the owner's function (apply/wall.ts).
 */
export async function copyWall(client: pg.Client, table: TableDefinition): Promise<OwnerWall | undefined> {
  const relation = relationOf(table)
  const [owner] = await loadOwners(client, [relation])
  if (!owner?.risky) return undefined
  requireActing(relation, owner, client.user ?? '')
  return new StagedWall(client, table, owner)
}

/** Which of the tables belong, in part at least, to owners that are not trusted with the daemon's rights. */
export async function untrusted(
  client: pg.Client,
  tables: readonly TableDefinition[],
): Promise<readonly boolean[]> {
  return (await loadOwners(client, tables.map(relationOf))).map((owner) => owner !== undefined)
}

function relationOf({ oid, schema, name }: TableDefinition): Relation {
  return { oid, schema, name, identity: 'd', columns: [] }
}

class StagedWall implements OwnerWall {
  private readonly client: pg.Client
  private readonly pipeline: Pipeline
  private readonly wall: Wall
  private readonly table: TableDefinition
  private readonly owner: TableOwner

  constructor(client: pg.Client, table: TableDefinition, owner: TableOwner) {
    this.client = client
    this.pipeline = new Pipeline(client)
    // Nothing stays prepared here.
    this.wall = new Wall(client, () => {})
    this.table = table
    this.owner = owner
  }

  async stage(columns: readonly string[]): Promise<string> {
    const list = columns.map((_, i) => `c${i + 1} pg_catalog.text`).join(', ')
    await this.client.query(
      `CREATE TEMPORARY TABLE follower_copy_stage (${list}) ON COMMIT DROP;
       GRANT SELECT ON ${stageName} TO ${quoteIdentifier(this.owner.role)}`,
    )
    return stageName
  }

  async unstage(columns: readonly string[]): Promise<void> {
    const values = columns.map((name, i) => castText(`c${i + 1}`, this.owner.casts.get(name)!))
    const names = columns.map(quoteIdentifier).join(', ')
    await this.run(
      `INSERT INTO ${qualified(this.table)}${columns.length > 0 ? ` (${names})` : ''} OVERRIDING SYSTEM VALUE SELECT ${values.join(', ')} FROM ${stageName}`,
    )
  }

  async run(sql: string): Promise<void> {
    await this.wall.learn()
    const statement: RowStatement = { sql, types: [], parameters: new Int16Array() }
    const prepared = this.wall.wrap(statement, this.owner, false)
    await this.exchange(() => {
      this.wall.before(this.pipeline, prepared)
      // Not one row for each that was met.
      this.pipeline.statement(`SELECT pg_temp.${prepared.wall?.name}(ARRAY[]::pg_catalog.text[])`)
    })
  }

  async beforeCommit(): Promise<void> {
    await this.exchange(() => this.wall.beforeCommit(this.pipeline))
  }

  async afterCommit(): Promise<void> {
    await this.wall.afterCommit(this.pipeline)
    await this.wall.drop()
  }

  private async exchange(write: () => void): Promise<void> {
    this.pipeline.open()
    write()
    const { error } = await this.pipeline.sync()
    if (error) throw new CopyFailed('downstream', error)
  }
}

/** A text as its type's input function reads it, also where a cast from text is something else: see plan/statements.ts. */
function castText(value: string, { type, cast }: ColumnCast): string {
  return cast ? `((ARRAY[${value}]::pg_catalog.text::${type}[])[1])` : `(${value}::${type})`
}

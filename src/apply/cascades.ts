import type pg from 'pg'
import type { Relation } from '../model/relation.ts'
import { sql } from '../postgres/sql.ts'

/**
 * Foreign keys downstream that act (ON DELETE CASCADE, SET NULL, ON UPDATE CASCADE): they have done already what the
 * upstream's own foreign keys did and the stream says next. Only where the session is no replica.
 */
export class Cascades {
  private readonly client: pg.Client
  /** Relations that rows were deleted or updated of in this transaction, as `sql` names them. */
  private readonly touched = new Set<string>()
  private readonly explained = new Set<Relation>()

  constructor(client: pg.Client) {
    this.client = client
  }

  /** A transaction begins. */
  forget(): void {
    this.touched.clear()
    this.explained.clear()
  }

  changed(relation: Relation): void {
    this.touched.add(JSON.stringify([relation.schema, relation.name]))
  }

  /** Whether a row of the relation may be missing since a table that it refers to, directly or not, was changed before. */
  async explains(relation: Relation): Promise<boolean> {
    if (this.explained.has(relation)) return true
    if (this.touched.size === 0) return false
    const tables = [...this.touched].map((text) => JSON.parse(text) as [schema: string, name: string])
    const { rows } = await this.client.query<{ found: string }>(sql('query/cascades_into'), [
      relation.schema,
      relation.name,
      tables.map(([schema]) => schema),
      tables.map(([, name]) => name),
    ])
    const found = rows[0]?.found === 't'
    if (found) this.explained.add(relation)
    return found
  }
}

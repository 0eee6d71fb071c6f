import { formatLsn, type Lsn } from '../model/lsn.ts'
import { quoteLiteral } from '../postgres/identifier.ts'

/**
 * Tables that are still to be copied, by OID: their rows are not applied, since the copy will stand for a later position. A TRUNCATE
 * leaves nothing to copy: from there on the table is as any other. So tables that are truncated all the time need not be met in between.
 */
export class Waiting {
  private readonly tables: Set<number>
  /** Truncated by the transaction in hand. */
  private readonly truncated = new Set<number>()
  private readonly follow: string

  constructor(tables: Iterable<number>, follow: string) {
    this.tables = new Set(tables)
    this.follow = follow
  }

  has(oid: number): boolean {
    return this.tables.size > 0 && this.tables.has(oid) && !this.truncated.has(oid)
  }

  /** What has to run where relations are truncated, besides: it updates one row each. */
  truncate(oids: readonly number[], lsn: Lsn): string[] {
    const waiting = this.tables.size === 0 ? [] : oids.filter((oid) => this.tables.has(oid))
    return waiting.map((oid) => {
      this.truncated.add(oid)
      return `UPDATE follower.copied_table SET state = 'copied', lsn = ${quoteLiteral(formatLsn(lsn))}, rows = 0, bytes = 0,
        updated_at = clock_timestamp() WHERE follow = ${quoteLiteral(this.follow)} AND relation = ${oid}`
    })
  }

  committed(): void {
    for (const oid of this.truncated) this.tables.delete(oid)
    this.truncated.clear()
  }

  rolledBack(): void {
    this.truncated.clear()
  }
}

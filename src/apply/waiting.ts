import { formatLsn, type Lsn } from '../model/lsn.ts'
import type { Relation } from '../model/relation.ts'
import { quoteLiteral } from '../postgres/identifier.ts'

export interface WaitingOptions {
  readonly follow: string
  /** Are still to be copied, by OID. */
  readonly tables: Iterable<number>
  /** All tables that were copied, wait for it, or were made in the stream; grows. undefined: no table is late. */
  readonly known: Set<number> | undefined
  /** All others are left out. */
  readonly only: ReadonlySet<number> | undefined
  /**
   * Notes a table that has come into the follow after its beginning, whose rows from before then were never sent, through the
   * connection that applies: in its open transaction, if there is one. Says whether it waits for its copy.
   */
  readonly late: (relation: Relation) => Promise<boolean>
}

/**
 * Tables that are still to be copied, by OID: their rows are not applied, since the copy will stand for a later position. A TRUNCATE
 * leaves nothing to copy: from there on the table is as any other. So tables that are truncated all the time need not be met in between.
 */
export class Waiting {
  private readonly options: WaitingOptions
  private readonly tables: Set<number>
  /** Truncated by the transaction in hand. */
  private readonly truncated = new Set<number>()
  /** Late ones met since the last commit. */
  private readonly met = new Set<number>()

  constructor(options: WaitingOptions) {
    this.options = options
    this.tables = new Set(options.tables)
  }

  /** Whether the table has come into the follow, and was not met yet. */
  isLate(relation: Relation): boolean {
    const { known, only } = this.options
    return only === undefined && known !== undefined && !known.has(relation.oid)
  }

  /** Before anything of the relation is applied. */
  async meet(relation: Relation): Promise<void> {
    if (!this.isLate(relation)) return
    if (await this.options.late(relation)) this.tables.add(relation.oid)
    this.met.add(relation.oid)
    this.options.known?.add(relation.oid)
  }

  has(relation: Relation): boolean {
    const { only } = this.options
    if (only !== undefined) return !only.has(relation.oid)
    return this.tables.size > 0 && this.tables.has(relation.oid) && !this.truncated.has(relation.oid)
  }

  /** Those of a TRUNCATE that it is done to. */
  truncatable(relations: readonly Relation[]): readonly Relation[] {
    const { only } = this.options
    return only ? relations.filter(({ oid }) => only.has(oid)) : relations
  }

  /** What has to run where relations are truncated, besides: it updates one row each. */
  truncate(relations: readonly Relation[], lsn: Lsn): string[] {
    if (this.options.only) return []
    const waiting = relations.filter((relation) => this.has(relation))
    return waiting.map(({ oid }) => {
      this.truncated.add(oid)
      return `UPDATE follower.copied_table SET state = 'copied', lsn = ${quoteLiteral(formatLsn(lsn))}, rows = 0, bytes = 0, overwrite = false, behind = false,
        updated_at = clock_timestamp() WHERE follow = ${quoteLiteral(this.options.follow)} AND relation = ${oid}`
    })
  }

  committed(): void {
    for (const oid of this.truncated) this.tables.delete(oid)
    this.truncated.clear()
    this.met.clear()
  }

  /** What was noted of tables may be undone with the transaction: they are met again. */
  rolledBack(): void {
    for (const oid of this.met) {
      this.tables.delete(oid)
      this.options.known?.delete(oid)
    }
    this.met.clear()
    this.truncated.clear()
  }
}

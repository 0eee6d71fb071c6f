import type pg from 'pg'
import type { RowStatement } from '../model/statement.ts'
import type { TableOwner } from '../model/target.ts'
import { quoteIdentifier, quoteLiteral } from '../postgres/identifier.ts'
import type { Pipeline } from '../postgres/pipeline.ts'
import type { Prepared } from './prepared.ts'

/** The line of a body's first probe, in plpgsql's counting. */
export const firstProbe = 4

const textOid = 25

/**
 * Rows of tables whose owner is not trusted with the daemon's rights: each statement runs in a SECURITY DEFINER function
 * in pg_temp that belongs to the owner. Code in there can't leave that role; but it can change the session, and the function
 * (it is its owner's). So each call is preceded by a check, and whatever else follows by restoring the session:
 * sql/downstream/rows.sql. Everything is written into the exchange in hand; a session without such tables writes nothing.
 */
export class Wall {
  /** Code of an owner has run since the tables were looked at: those of such owners may have got code, too. */
  ran = false
  /** Code of this owner (OID) has run since the session was restored. */
  private dirty: number | undefined
  /** Code of an owner has run in the transaction in hand. */
  private open = false
  /** The session's settings as they are to be, as an SQL literal. */
  private settings: string | undefined
  private readonly functions: string[] = []
  private made = 0
  private readonly client: pg.Client
  private readonly forget: () => void

  /** `forget`: no statement is prepared any more. */
  constructor(client: pg.Client, forget: () => void) {
    this.client = client
    this.forget = forget
  }

  /** Reads what `restore` needs, before any such code runs. */
  async learn(): Promise<void> {
    if (this.settings !== undefined) return
    const { rows } = await this.client.query<{ name: string; setting: string }>(
      `SELECT name, setting FROM pg_catalog.pg_settings WHERE source = 'session' AND context IN ('user', 'superuser')
         AND name NOT IN ('follower.place', 'role', 'session_authorization', 'transaction_isolation', 'transaction_read_only', 'transaction_deferrable')`,
    )
    const settings = rows.flatMap(({ name, setting }) => [name, setting])
    const elements = settings.map((text) => `"${text.replaceAll(/["\\]/g, '\\$&')}"`)
    // One constant and no expression: it is parsed with each row.
    this.settings = `${quoteLiteral(`{${elements.join(',')}}`)}::pg_catalog.text[]`
  }

  /** The call of a function with the statement as its body. `probe`: so that an error says which value was refused. */
  wrap(statement: RowStatement, owner: TableOwner, probe: boolean): Prepared {
    const name = `follower_row_${++this.made}`
    const values = Array.from(statement.parameters, (_, i) => `$${i + 1}`)
    const sql = `SELECT pg_catalog.generate_series(1, pg_temp.${name}(ARRAY[${values.join(', ')}]::pg_catalog.text[]))`
    const probes = probe ? (statement.casts ?? []).map((cast) => `probe := ${cast} IS NULL;`) : []
    const body = [
      '#variable_conflict use_column',
      'DECLARE met integer; probe boolean;',
      'BEGIN',
      ...probes,
      `${statement.sql.replace(/^SELECT /, 'PERFORM ')};`,
      'GET DIAGNOSTICS met = ROW_COUNT;',
      `RETURN ${statement.sql.startsWith('TRUNCATE ') ? '1' : 'met'};`,
      'END',
    ]
    const signature = `pg_temp.${name}(pg_catalog.text[])`
    const create = [
      `CREATE FUNCTION ${signature} RETURNS pg_catalog.int4 LANGUAGE plpgsql SECURITY DEFINER AS ${quoteLiteral(body.join('\n'))}`,
      `ALTER FUNCTION ${signature} OWNER TO ${quoteIdentifier(owner.role)}`,
    ]
    return {
      statement: { ...statement, sql, types: values.map(() => textOid) },
      // Code in there might PREPARE something else under a name.
      name: '',
      parsed: false,
      wall: { name, owner, create, made: false },
    }
  }

  /** Writes what has to come before a statement. */
  before(pipeline: Pipeline, { wall }: Prepared): void {
    if (!wall) {
      if (this.dirty !== undefined) this.restore(pipeline)
      return
    }
    const { owner, name } = wall
    if (this.dirty !== undefined && !(wall.made && this.dirty === owner.oid)) this.restore(pipeline)
    if (!wall.made) {
      for (const sql of wall.create) pipeline.statement(sql)
      this.functions.push(name)
      wall.made = true
    }
    pipeline.statement(
      `SELECT follower.check_wall(${this.settings}, '${name}', '${owner.oid}'::pg_catalog.oid)`,
    )
    this.dirty = owner.oid
    this.open = true
    this.ran = true
  }

  /** Lets run what waits for COMMIT, then makes the session the daemon's own again, for the progress row. */
  beforeCommit(pipeline: Pipeline): void {
    if (!this.open) return
    if (this.dirty !== undefined) this.restore(pipeline)
    pipeline.statement('SELECT follower.fire_deferred()')
    this.restore(pipeline)
  }

  /**
   * What was deferred again, from PostgreSQL 18 on, has run at COMMIT with its owner's rights, and may have set
   * synchronous_commit: a transaction with the session's own makes what came before it as durable as itself (P2).
   */
  async afterCommit(pipeline: Pipeline): Promise<void> {
    if (!this.open) return
    pipeline.open()
    this.restore(pipeline)
    pipeline.statement('SELECT pg_catalog.pg_current_xact_id()')
    const { error } = await pipeline.sync()
    if (error) throw error
    this.open = false
  }

  /** Restores the session in an exchange of its own. */
  async clean(): Promise<void> {
    if (this.dirty === undefined) return
    await this.client.query(this.restoring())
  }

  /** Drops the functions, whatever became of them. */
  async drop(): Promise<void> {
    await this.clean()
    this.ran = false
    if (this.functions.length === 0) return
    const list = this.functions.splice(0).map((name) => `pg_temp.${name}(pg_catalog.text[])`)
    await this.client.query(`DROP FUNCTION IF EXISTS ${list.join(', ')} CASCADE`)
  }

  /** The transaction in hand was rolled back, with all settings. */
  rolledBack(): void {
    this.open = false
  }

  private restore(pipeline: Pipeline): void {
    pipeline.statement(this.restoring())
  }

  private restoring(): string {
    this.dirty = undefined
    this.forget()
    return `SELECT follower.restore_session(${this.settings})`
  }
}

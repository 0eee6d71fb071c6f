import { createHash } from 'node:crypto'
import type pg from 'pg'
import { copyOut } from './copy-out.ts'
import type { Difference } from './difference.ts'

interface Table {
  readonly name: string
  /** Quoted, in the end's own order. */
  readonly columns: readonly string[]
}

interface RowsCompared {
  readonly differences: readonly Difference[]
  readonly tables: number
  readonly rows: number
}

/** Rows that a difference shows at most, and so many bytes of each. */
const shown = 3
const shownBytes = 300

/** Compares tables and materialized views that both ends have; what one lacks is a difference of the catalogs. */
export async function compareRows(
  upstream: pg.Client,
  downstream: pg.Client,
  only: readonly string[] | undefined,
): Promise<RowsCompared> {
  const downTables = new Map((await tables(downstream)).map((table) => [table.name, table]))
  const differences: Difference[] = []
  let compared = 0
  let rows = 0
  for (const table of await tables(upstream)) {
    const other = downTables.get(table.name)
    if (!other || (only && !only.includes(table.name))) continue
    const text = copyStatement({
      ...table,
      columns: table.columns.filter((it) => other.columns.includes(it)),
    })
    const [up, down] = await Promise.all([digest(upstream, text), digest(downstream, text)])
    compared++
    rows += up.rows
    const place = { kind: 'rows', identity: table.name }
    if (up.rows !== down.rows)
      differences.push({
        ...place,
        aspect: 'count',
        upstream: String(up.rows),
        downstream: String(down.rows),
      })
    if (up.hash !== down.hash)
      differences.push({
        ...place,
        aspect: 'only at one end',
        ...(await onlyAtOneEnd(upstream, downstream, text)),
      })
  }
  return { differences, tables: compared, rows }
}

async function tables(client: pg.Client): Promise<Table[]> {
  const { rows } = await client.query<{ name: string; columns: string[] }>(
    `SELECT format('%I.%I', n.nspname, c.relname) AS name,
            coalesce(array_agg(quote_ident(a.attname) ORDER BY a.attnum) FILTER (WHERE a.attname IS NOT NULL), '{}') AS columns
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
     WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p' AND c.relispopulated
       AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'follower')
     GROUP BY 1 ORDER BY 1`,
  )
  return rows
}

/** Ordered by the bytes of every column's text, so that both ends agree whatever their collations. */
function copyStatement({ name, columns }: Table): string {
  const order = columns.map((column) => `${column}::text COLLATE "C"`).join(', ')
  return `COPY (SELECT ${columns.join(', ')} FROM ONLY ${name}${order && ` ORDER BY ${order}`}) TO STDOUT`
}

async function digest(client: pg.Client, text: string): Promise<{ hash: string; rows: number }> {
  const hash = createHash('sha256')
  const rows = await copyOut(client, text, (data) => hash.update(data))
  return { hash: hash.digest('hex'), rows }
}

/** The first rows that only one end has. */
async function onlyAtOneEnd(upstream: pg.Client, downstream: pg.Client, text: string) {
  const balance = new Map<string, number>()
  const count = (step: number) => (data: Buffer) => {
    const line = data.toString('utf8').trimEnd()
    const sum = (balance.get(line) ?? 0) + step
    if (sum === 0) balance.delete(line)
    else balance.set(line, sum)
  }
  await copyOut(upstream, text, count(1))
  await copyOut(downstream, text, count(-1))
  const only = (sign: number): string =>
    [...balance]
      .filter(([, sum]) => Math.sign(sum) === sign)
      .slice(0, shown)
      .map(([line]) => line.slice(0, shownBytes))
      .join('\n')
  return { upstream: only(1), downstream: only(-1) }
}

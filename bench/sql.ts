import pg from 'pg'

/** Runs statements in one simple query on a connection of its own; resolves with the rows of the last one. */
export async function run(conninfo: string, text: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: conninfo })
  await client.connect()
  try {
    const result: unknown = await client.query(text)
    const last = (Array.isArray(result) ? result.at(-1) : result) as pg.QueryResult
    return last.rows
  } finally {
    await client.end()
  }
}

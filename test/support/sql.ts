import pg from 'pg'
import { cleanUp } from './cleanup.ts'

/** A row; every value is PostgreSQL's own text. */
export type Row = Record<string, string | null>

const asText = { getTypeParser: () => (value: string | Buffer) => value }

/** A connection that is closed at the end of the test (or file). Values are text. */
export async function client(conninfo: string, options: pg.ClientConfig = {}): Promise<pg.Client> {
  const it = await open(conninfo, options)
  cleanUp(() => it.end())
  return it
}

/** Runs one statement on a connection of its own and returns its rows. */
export async function query(conninfo: string, text: string, values?: readonly unknown[]): Promise<Row[]> {
  const it = await open(conninfo)
  try {
    const result = await it.query<Row>(text, values && [...values])
    return result.rows
  } finally {
    await it.end()
  }
}

/** The only value of the only row. */
export async function value(
  conninfo: string,
  text: string,
  values?: readonly unknown[],
): Promise<string | null> {
  return only(text, await query(conninfo, text, values))
}

function only(text: string, rows: readonly Row[]): string | null {
  const row = rows[0]
  if (rows.length !== 1 || !row) throw new Error(`${rows.length} rows, not one: ${text}`)
  return Object.values(row)[0] ?? null
}

/**
 * Asks again and again over one connection, which costs the server less than one for each question; after an error over a new
 * one. For what is waited for: nothing is to be left in the session.
 */
export class Poll {
  readonly #conninfo: string
  #client: pg.Client | undefined

  constructor(conninfo: string) {
    this.#conninfo = conninfo
  }

  /** The only value of the only row. */
  async value(text: string, values?: readonly unknown[]): Promise<string | null> {
    try {
      this.#client ??= await open(this.#conninfo)
      return only(text, (await this.#client.query<Row>(text, values && [...values])).rows)
    } catch (error) {
      await this.end()
      throw error
    }
  }

  async end(): Promise<void> {
    const client = this.#client
    this.#client = undefined
    await client?.end().catch(() => {})
  }
}

/** Runs a script of several statements as one simple query: one implicit transaction, unless it says BEGIN itself. */
export async function script(conninfo: string, text: string): Promise<void> {
  await query(conninfo, text)
}

/** Runs each statement in a message, thus a transaction, of its own. */
export async function statements(conninfo: string, texts: readonly string[]): Promise<void> {
  const it = await open(conninfo)
  try {
    for (const text of texts) await it.query(text)
  } finally {
    await it.end()
  }
}

async function open(conninfo: string, options: pg.ClientConfig = {}): Promise<pg.Client> {
  const it = new pg.Client({
    connectionString: conninfo,
    application_name: 'follower test',
    types: asText,
    ...options,
  } as pg.ClientConfig)
  // A server that a test kills must not end the test's process.
  it.on('error', () => {})
  await it.connect()
  return it
}

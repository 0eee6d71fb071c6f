import { randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'

const branches = 8
const tellers = 80
const accounts = 20_000
const movements = 40_000

/** A bank in the manner of TPC-B: every transaction changes four tables, and all sums stay equal. */
export const bankSchema = `
  CREATE SEQUENCE receipt START 1000;
  CREATE TABLE branches (id int PRIMARY KEY, balance bigint NOT NULL DEFAULT 0);
  CREATE TABLE tellers (id int PRIMARY KEY, branch int NOT NULL REFERENCES branches, balance bigint NOT NULL DEFAULT 0);
  CREATE TABLE accounts (id int PRIMARY KEY, branch int NOT NULL REFERENCES branches, balance bigint NOT NULL DEFAULT 0, filler text);
  CREATE INDEX accounts_branch ON accounts (branch);
  CREATE TABLE history (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account int NOT NULL REFERENCES accounts, teller int NOT NULL,
    branch int NOT NULL, delta bigint NOT NULL, receipt bigint NOT NULL DEFAULT nextval('receipt'), at timestamptz NOT NULL DEFAULT clock_timestamp());
  CREATE INDEX history_at ON history (at);
  CREATE VIEW branch_sums AS SELECT branch, sum(balance) AS balance FROM accounts GROUP BY branch`

/** What has happened before anybody follows. */
export const bankRows = `
  INSERT INTO branches SELECT n FROM generate_series(1, ${branches}) n;
  INSERT INTO tellers SELECT n, n % ${branches} + 1 FROM generate_series(1, ${tellers}) n;
  INSERT INTO accounts SELECT n, n % ${branches} + 1, 0, repeat('x', 60) FROM generate_series(1, ${accounts}) n;
  INSERT INTO history (account, teller, branch, delta)
    SELECT n % ${accounts} + 1, n % ${tellers} + 1, n % ${branches} + 1, 1 + n % 4999 FROM generate_series(1, ${movements}) n;
  UPDATE branches SET balance = s.sum FROM (SELECT branch, sum(delta) FROM history GROUP BY branch) s WHERE id = s.branch;
  UPDATE tellers SET balance = s.sum FROM (SELECT teller, sum(delta) FROM history GROUP BY teller) s WHERE id = s.teller;
  UPDATE accounts SET balance = s.sum FROM (SELECT account, sum(delta) FROM history GROUP BY account) s WHERE id = s.account`

/** Rows that are there then. */
export const rowsBefore = branches + tellers + accounts + movements

/** True where every transaction arrived once: a lost or doubled one moves one of the four sums. */
export const sumsAgree = `
  SELECT (SELECT sum(delta) FROM history) = ALL (ARRAY[(SELECT sum(balance) FROM branches),
    (SELECT sum(balance) FROM tellers), (SELECT sum(balance) FROM accounts)]) AS agree`

interface SchemaChange {
  /** When, as a share of the load's time. */
  readonly at: number
  readonly what: string
  /** Each in a transaction of its own. */
  readonly sql: readonly string[]
  /** Columns and values that the writers use from then on. */
  readonly writes?: readonly [column: string, value: string]
}

/** What happens to the schema while the writers go on. */
export const schemaChanges: readonly SchemaChange[] = [
  {
    at: 0.08,
    what: 'a table with rows',
    sql: [
      "CREATE TABLE notes (id serial PRIMARY KEY, said text); INSERT INTO notes (said) VALUES ('it’s “noted”'), (NULL), (E'two\\nlines')",
    ],
  },
  {
    at: 0.16,
    what: 'a column',
    sql: ["ALTER TABLE accounts ADD COLUMN opened date NOT NULL DEFAULT '2026-01-01'"],
  },
  { at: 0.24, what: 'an index', sql: ['CREATE INDEX history_account ON history (account, at)'] },
  {
    at: 0.32,
    what: 'an enum type, used in a column',
    sql: ["CREATE TYPE channel AS ENUM ('counter', 'machine'); ALTER TABLE history ADD COLUMN via channel"],
    writes: ['via', "'machine'"],
  },
  {
    at: 0.48,
    what: 'a view',
    sql: [
      'CREATE VIEW busy AS SELECT account, count(*) AS n FROM history GROUP BY account HAVING count(*) > 3',
    ],
  },
  {
    at: 0.56,
    what: 'a new value of the enum type, used at once',
    sql: ["ALTER TYPE channel ADD VALUE 'phone'"],
    writes: ['via', "'phone'"],
  },
  {
    at: 0.64,
    what: 'a function',
    sql: [
      "CREATE FUNCTION balance_of(account int) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT balance FROM accounts WHERE id = account'",
    ],
  },
  { at: 0.72, what: 'a dropped table', sql: ['DROP TABLE notes'] },
  {
    at: 0.8,
    what: 'a constraint and a comment',
    sql: [
      "ALTER TABLE history ADD CONSTRAINT moved CHECK (delta <> 0); COMMENT ON TABLE history IS 'every movement'",
    ],
  },
]

/** Writers on connections of their own. */
export class Load {
  transactions = 0
  #stopping = false
  #extra: readonly [column: string, value: string] | undefined
  readonly #writers: Promise<void>[]

  constructor(conninfo: string, writers: number) {
    this.#writers = Array.from({ length: writers }, () => this.#write(conninfo))
    // Reported by whoever awaits `ended`.
    this.ended.catch(() => {})
  }

  /** Rows changed: every transaction has four. */
  get rows(): number {
    return this.transactions * 4
  }

  /** Changes the schema on a connection of its own. */
  async change(client: pg.Client, change: SchemaChange): Promise<void> {
    for (const text of change.sql) await client.query(text)
    this.#extra = change.writes ?? this.#extra
  }

  /** Resolves when every writer has ended; rejects with the first error of one. */
  async stop(): Promise<void> {
    this.#stopping = true
    await this.ended
  }

  /** Rejects as soon as a writer fails. */
  get ended(): Promise<unknown> {
    return Promise.all(this.#writers)
  }

  async #write(conninfo: string): Promise<void> {
    const client = new pg.Client({ connectionString: conninfo, application_name: 'bank' })
    client.on('error', () => {})
    await client.connect()
    try {
      while (!this.#stopping) {
        await client.query(transaction(this.#extra))
        this.transactions++
        // Leaves the processor to the others: the demo shows correctness, the benchmark shows speed.
        await sleep(2)
      }
    } finally {
      await client.end()
    }
  }
}

/** One string is one transaction. The tables come in one order, so that writers never wait in a circle. */
function transaction(extra: readonly [column: string, value: string] | undefined): string {
  const [account, teller, branch] = [
    randomInt(1, accounts + 1),
    randomInt(1, tellers + 1),
    randomInt(1, branches + 1),
  ]
  const delta = randomInt(1, 5000) * (randomInt(2) === 0 ? 1 : -1)
  const add = (table: string, id: number): string =>
    `UPDATE ${table} SET balance = balance + ${delta} WHERE id = ${id};`
  const [column, value] = extra ? [`, ${extra[0]}`, `, ${extra[1]}`] : ['', '']
  return `${add('accounts', account)} ${add('tellers', teller)} ${add('branches', branch)}
    INSERT INTO history (account, teller, branch, delta${column}) VALUES (${account}, ${teller}, ${branch}, ${delta}${value})`
}

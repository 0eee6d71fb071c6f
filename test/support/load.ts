import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { cleanUp } from './cleanup.ts'
import { type Random, random } from './random.ts'
import { script } from './sql.ts'

const accounts = 40

/** For a Reader: the sum of balances in every committed state, and what no transaction takes back. */
export const look = `
SELECT (SELECT concat('balances come to ', sum(balance)) FROM account
        HAVING sum(balance) IS DISTINCT FROM ${accounts * 1000}) AS wrong,
       ARRAY[(SELECT count(*) FROM ledger), (SELECT sum(n) FROM hot)]::int[]
         || ARRAY(SELECT (SELECT max(n) FROM ledger WHERE writer = w) FROM generate_series(0, 3) w) AS grows`

export interface LoadOptions {
  readonly seed: number
  /** Where its tables are; made if absent. */
  readonly schema?: string
  readonly writers?: number
  /** One more writer that creates, alters and drops. On unless false. */
  readonly ddl?: boolean
  /** Milliseconds between two transactions of one writer, on average. */
  readonly pause?: number
}

/** The load's tables. No unique index keeps a ledger entry from being there twice. */
export const loadTables = `
CREATE TABLE account (id int PRIMARY KEY, balance int8 NOT NULL);
INSERT INTO account SELECT i, 1000 FROM generate_series(1, ${accounts}) i;
CREATE TABLE ledger (writer int, n int, what text);
CREATE INDEX ON ledger (writer, n);
ALTER TABLE ledger REPLICA IDENTITY FULL;
CREATE TABLE hot (id int PRIMARY KEY, n int8 NOT NULL) WITH (fillfactor = 50);
INSERT INTO hot SELECT i, 0 FROM generate_series(0, 2) i;
CREATE TABLE cold (id int8 PRIMARY KEY, a int, b text UNIQUE, c jsonb);
INSERT INTO cold SELECT i, i, 'row ' || i, jsonb_build_object('i', i) FROM generate_series(1, 500) i;
CREATE TABLE scratch (writer int, n int, t timestamptz DEFAULT clock_timestamp(), PRIMARY KEY (writer, n));
CREATE TABLE document (id int8 PRIMARY KEY, body text, n int NOT NULL DEFAULT 0);
ALTER TABLE document ALTER body SET STORAGE EXTERNAL;
INSERT INTO document SELECT i, repeat(md5(i::text), 200) FROM generate_series(1, 20) i`

/** Statements of one transaction, without BEGIN and COMMIT; one that ends with ROLLBACK leaves nothing. */
type Transaction = readonly string[]
type Kind = (random: Random, writer: number, n: number) => Transaction

const kinds: Readonly<Record<string, Kind>> = {
  transfer: (random) => {
    const amount = random.below(100)
    // In the order of ids: two transfers never wait for one another in a circle.
    const [a, b] = [random.below(accounts) + 1, random.below(accounts) + 1].sort((x, y) => x - y)
    return [
      `UPDATE account SET balance = balance - ${amount} WHERE id = ${a}`,
      `UPDATE account SET balance = balance + ${amount} WHERE id = ${b}`,
    ]
  },
  hot: (random) => [`UPDATE hot SET n = n + 1 WHERE id = ${random.below(3)}`],
  cold: (random, writer, n) => [
    `UPDATE cold SET a = a + 1, b = 'w${writer} ${n} ' || id, c = c || '{"x": [1.50, null, "ü"]}' WHERE id = ${random.below(500) + 1}`,
  ],
  // Every writer has ids of its own, for keys that never meet, however long it runs.
  insert: (random, writer, n) => [
    `INSERT INTO cold SELECT ${writer} * 1000000000000::int8 + ${n} * 1000 + i, i, ${random.one(['NULL', `'i ' || i || ' ${writer} ${n}'`])}, NULL
       FROM generate_series(1, ${random.one([1, 3, 300])}) i`,
  ],
  delete: (random) => [
    `DELETE FROM cold WHERE id IN (SELECT id FROM cold WHERE id > 100000 ORDER BY id LIMIT ${random.one([1, 50])} FOR UPDATE SKIP LOCKED)`,
  ],
  key: (_random, writer) => [
    `UPDATE cold SET id = id + 500000000000 WHERE id = (SELECT max(id) FROM cold WHERE id / 1000000000000 = ${writer} AND id % 1000000000000 < 500000000000)`,
  ],
  scratch: (_random, writer, n) => [
    `INSERT INTO scratch VALUES (${writer}, ${n})`,
    `INSERT INTO scratch VALUES (${writer}, -${n})`,
  ],
  truncate: (_random, writer, n) => ['TRUNCATE scratch', `INSERT INTO scratch VALUES (${writer}, ${n})`],
  // The TOASTed body is sent by one of these and not by the others.
  toast: (random, writer, n) => [
    `UPDATE document SET n = n + 1 WHERE id = ${random.below(20) + 1}`,
    random.one([
      `UPDATE document SET body = repeat(md5('${writer} ${n}'), 100 + ${random.below(300)}) WHERE id = ${random.below(20) + 1}`,
      `INSERT INTO document VALUES (1000 * ${n} + ${writer}, repeat('x${n}', 3000))`,
      `UPDATE document SET id = id + 1000000000000 WHERE id = (SELECT max(id) FROM document WHERE id > 100 AND id < 500000000 AND id % 1000 = ${writer})`,
      'DELETE FROM document WHERE id > 1000000000000',
    ]),
  ],
  savepoint: (random, writer, n) => [
    'SAVEPOINT a',
    `INSERT INTO ledger VALUES (${writer}, ${n}, 'rolled back')`,
    `UPDATE hot SET n = n + 1000 WHERE id = ${random.below(3)}`,
    'ROLLBACK TO a',
    'SAVEPOINT b',
    `UPDATE hot SET n = n + 1 WHERE id = ${random.below(3)}`,
    'RELEASE b',
  ],
  rollback: (_random, writer, n) => [
    `INSERT INTO ledger VALUES (${writer}, ${n}, 'rolled back')`,
    'ROLLBACK',
  ],
}

const often = ['transfer', 'transfer', 'transfer', 'hot', 'cold', 'savepoint']
const choices = [...often, ...Object.keys(kinds)]

/** One round of schema changes; each entry is a transaction. */
function ddlRound(k: number): readonly Transaction[] {
  const old = k - 2
  return [
    [
      `CREATE TABLE thing_${k} (id int PRIMARY KEY, a text)`,
      `INSERT INTO thing_${k} SELECT i, 'a' || i FROM generate_series(1, 20) i`,
    ],
    [
      `ALTER TABLE thing_${k} ADD COLUMN b int NOT NULL DEFAULT 7`,
      `INSERT INTO thing_${k} VALUES (21, 'x', 8)`,
    ],
    [`CREATE INDEX thing_${k}_a ON thing_${k} (a, b)`],
    // One string of several statements, of which only the first is a schema change.
    [
      `ALTER TABLE thing_${k} ADD COLUMN e float8; UPDATE hot SET n = n + 1 WHERE id = 0; UPDATE thing_${k} SET e = 0.1::float8 + 0.2`,
    ],
    [`CREATE TYPE mood_${k} AS ENUM ('sad', 'ok')`, `ALTER TABLE thing_${k} ADD COLUMN m mood_${k}`],
    [`ALTER TYPE mood_${k} ADD VALUE 'happy' BEFORE 'ok'`],
    [`UPDATE thing_${k} SET m = 'happy', b = b + 1 WHERE id % 2 = 0`],
    [
      `CREATE TABLE copy_${k} AS SELECT id, m, b FROM thing_${k} WHERE id < 10`,
      `ALTER TABLE copy_${k} ADD PRIMARY KEY (id)`,
    ],
    [
      `UPDATE copy_${k} SET b = 0 WHERE id = 3`,
      `ALTER TABLE thing_${k} RENAME COLUMN a TO z`,
      `UPDATE thing_${k} SET z = 'renamed' WHERE id = 1`,
    ],
    [
      'SAVEPOINT s',
      `CREATE TABLE never_${k} (id int PRIMARY KEY)`,
      'ROLLBACK TO s',
      `CREATE VIEW view_${k} AS SELECT id FROM thing_${k}`,
    ],
    [`ALTER TABLE thing_${k} DROP COLUMN z CASCADE`],
    [
      `DROP VIEW IF EXISTS view_${old}`,
      `DROP TABLE IF EXISTS thing_${old}, copy_${old}`,
      `DROP TYPE IF EXISTS mood_${old}`,
    ],
  ]
}

/** The next transaction; `whole`: the one before is known to be committed. */
type Next = (random: Random, n: number, whole: boolean) => Transaction

/** Round after round. What is left of one whose transaction got lost would not find what that one made. */
function schemaChanges(): Next {
  let k = 1
  let round: Transaction[] = []
  return (_random, _n, whole) => {
    if (round.length === 0 || !whole) round = [...ddlRound(++k)]
    return round.shift()!
  }
}

/** Makes the load's tables and starts its writers. Stopped at the end of the test (or file), if not before. */
export async function startLoad(conninfo: string, options: LoadOptions): Promise<Load> {
  const schema = options.schema ?? 'public'
  await script(conninfo, `CREATE SCHEMA IF NOT EXISTS ${schema}`)
  await script(conninfo, `SET search_path = ${schema}; BEGIN; ${loadTables}; COMMIT`)
  const load = new Load(conninfo, schema, options)
  cleanUp(() => load.stop().catch(() => {}))
  return load
}

/**
 * Several writers at once, until stopped: transfers that keep the sum of balances, with a ledger entry in every
 * transaction; updates, deletes, changed keys, TOAST, TRUNCATE, savepoints, rollbacks, schema changes. A
 * writer that loses its connection makes another one, and never writes an entry again whose fate it does not know.
 */
export class Load {
  /** Transactions that are known to be committed. */
  committed = 0
  /** Milliseconds between two transactions of one writer, on average. */
  pause: number
  readonly #conninfo: string
  readonly #schema: string
  readonly #writers: Promise<void>[] = []
  #stopped = false
  #failure: unknown
  #held: Promise<void> | undefined
  #release = (): void => {}
  /** Transactions in flight. */
  #busy = 0
  #schemaHeld: Promise<void> | undefined
  #releaseSchema = (): void => {}
  #schemaBusy = false
  #forgotten = false

  constructor(conninfo: string, schema: string, options: LoadOptions) {
    this.#conninfo = conninfo
    this.#schema = schema
    this.pause = options.pause ?? 20
    const count = options.writers ?? 3
    for (let writer = 1; writer <= count; writer++)
      this.#writers.push(this.#run(writer, random(options.seed + writer), (it, n) => rows(it, writer, n)))
    if (options.ddl !== false) {
      this.#writers.push(this.#run(0, random(options.seed), schemaChanges()))
    }
  }

  /** Lets nobody change the schema until `releaseSchema`. Resolves when no transaction is in flight that does. */
  async holdSchema(): Promise<void> {
    this.#schemaHeld ??= new Promise((resolve) => {
      this.#releaseSchema = resolve
    })
    while (this.#schemaBusy) await sleep(20)
  }

  releaseSchema(): void {
    this.#releaseSchema()
    this.#schemaHeld = undefined
  }

  /** What its rounds have made so far may be gone. */
  forgetSchema(): void {
    this.#forgotten = true
  }

  /** Lets no writer begin a transaction until `release`. Resolves when none is in flight any more. */
  async hold(): Promise<void> {
    this.#held ??= new Promise((resolve) => {
      this.#release = resolve
    })
    while (this.#busy > 0) await sleep(20)
  }

  release(): void {
    this.#release()
    this.#held = undefined
  }

  /** What a statement failed with, if one did: then nobody writes any more. */
  get failure(): unknown {
    return this.#failure
  }

  /** Ends after the transactions in hand. Throws what a statement failed with, if one did. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.release()
    this.releaseSchema()
    await Promise.all(this.#writers)
    if (this.#failure) throw this.#failure
  }

  async #run(writer: number, random: Random, next: Next): Promise<void> {
    let session: pg.Client | undefined
    let whole = true
    for (let n = 1; !this.#stopped; n++) {
      while (this.#held || (writer === 0 && this.#schemaHeld)) {
        await this.#held
        if (writer === 0) await this.#schemaHeld
      }
      if (this.#stopped) break
      this.#busy++
      if (writer === 0) {
        this.#schemaBusy = true
        if (this.#forgotten) whole = false
        this.#forgotten = false
      }
      const transaction = next(random, n, whole)
      whole = false
      try {
        session ??= await this.#connect()
        await this.#commit(session, transaction, writer, n)
        whole = true
      } catch (error) {
        if (isDeadlock(error)) await session?.query('ROLLBACK').catch(() => {})
        else if (isLost(error)) {
          await session?.end().catch(() => {})
          session = undefined
          await sleep(100)
        } else {
          this.#failure ??= new Error(`${transaction.join('; ')}: ${String(error)}`, { cause: error })
          this.#stopped = true
        }
      } finally {
        this.#busy--
        if (writer === 0) this.#schemaBusy = false
      }
      // Schema changes are rarer: each is a transaction of its own downstream.
      await sleep(random.below(writer === 0 ? 500 : 2 * this.pause))
    }
    await session?.end().catch(() => {})
  }

  async #commit(session: pg.Client, transaction: Transaction, writer: number, n: number): Promise<void> {
    await session.query('BEGIN')
    for (const statement of transaction) await session.query(statement)
    if (transaction.at(-1) === 'ROLLBACK') return
    await session.query(`INSERT INTO ledger VALUES (${writer}, ${n}, 'done')`)
    await session.query('COMMIT')
    this.committed++
  }

  async #connect(): Promise<pg.Client> {
    const session = new pg.Client({ connectionString: this.#conninfo, application_name: 'load' })
    session.on('error', () => {})
    await session.connect()
    await session.query(`SET search_path = ${this.#schema}`)
    return session
  }
}

function rows(random: Random, writer: number, n: number): Transaction {
  return kinds[random.one(choices)]!(random, writer, n)
}

function isDeadlock(error: unknown): boolean {
  return (error as { code?: string }).code === '40P01'
}

/** The server went away, is starting or refuses; never an error of a statement. */
function isLost(error: unknown): boolean {
  const { code, message } = error as { code?: string; message: string }
  return (
    /^(08|57P0)/.test(code ?? '') ||
    /^E(CONN|PIPE)/.test(code ?? '') ||
    /Connection terminated|not queryable|connection error|socket/i.test(message)
  )
}

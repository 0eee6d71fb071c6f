/** What is written upstream before the consumers drain it. SQL of the workload runs in a database of its own. */
export interface Workload {
  readonly name: string
  readonly title: string
  /** Tables and rows that both ends begin with. */
  readonly tables: string
  /** One statement for each client that writes, all at once; `CALL`s commit as they go. */
  readonly load: readonly string[]
  /** Compared at both ends after each drain: one row. */
  readonly check: string
  /** Row changes, and upstream transactions. */
  readonly changes: number
  readonly transactions: number
}

const wideColumns = Array.from({ length: 49 }, (_, i) => i + 1)

/** The workloads of docs/bench.md; `scale` 1 is the full size. */
export function workloads(scale: number): readonly Workload[] {
  const n = (full: number): number => Math.max(100, Math.round(full * scale))
  return [
    {
      name: 'W1',
      title: `one transaction of ${count(n(1_000_000))} inserts`,
      tables: item,
      load: [insertItems(1, n(1_000_000))],
      check: checkOf('item'),
      changes: n(1_000_000),
      transactions: 1,
    },
    {
      name: 'W2',
      title: `${count(n(200_000))} transactions of one insert`,
      tables: `${item};
        CREATE PROCEDURE fill(n int) LANGUAGE plpgsql AS $$
        BEGIN
          FOR i IN 1..n LOOP
            INSERT INTO item VALUES (${row});
            COMMIT;
          END LOOP;
        END $$`,
      load: [`CALL fill(${n(200_000)})`],
      check: checkOf('item'),
      changes: n(200_000),
      transactions: n(200_000),
    },
    {
      name: 'W3',
      title: `${count(n(200_000))} transactions of TPC-B, 4 clients`,
      tables: tpcb(Math.max(1, Math.round(20 * scale))),
      load: [1, 2, 3, 4].map((seed) => `CALL tpcb(${n(200_000) / 4}, ${seed})`),
      check: `SELECT (SELECT sum(balance) FROM branch) AS branches, (SELECT sum(balance) FROM teller) AS tellers,
        (SELECT sum(balance) FROM account) AS accounts, (SELECT sum(delta) || '/' || count(*) FROM history) AS history`,
      changes: n(800_000),
      transactions: n(200_000),
    },
    {
      name: 'W4',
      title: `${count(n(1_000_000))} updates by key in ${count(n(10_000))} transactions`,
      tables: `${item}; ${insertItems(1, n(1_000_000))}; ${byKey('UPDATE item SET a = a + 1 WHERE id = k')}`,
      load: [`CALL work(${n(10_000)}, 100, ${n(1_000_000)})`],
      check: checkOf('item'),
      changes: n(10_000) * 100,
      transactions: n(10_000),
    },
    {
      name: 'W5',
      title: `${count(n(1_000_000))} deletes by key in ${count(n(10_000))} transactions`,
      tables: `${item}; ${insertItems(1, n(1_000_000))}; ${byKey('DELETE FROM item WHERE id = k')}`,
      load: [`CALL work(${n(10_000)}, 100, ${n(1_000_000)})`],
      check: checkOf('item'),
      changes: n(10_000) * 100,
      transactions: n(10_000),
    },
    {
      name: 'W6',
      title: `${count(n(100_000))} rows of 50 columns and a text of 1 kB`,
      tables: `CREATE TABLE item (id int8 PRIMARY KEY, ${wideColumns.map((i) => `c${i} int`).join(', ')}, b text)`,
      load: [
        `INSERT INTO item SELECT i, ${wideColumns.map((c) => `i + ${c}`).join(', ')}, repeat(md5(i::text), 32) FROM generate_series(1, ${n(100_000)}) i`,
      ],
      check: checkOf('item'),
      changes: n(100_000),
      transactions: 1,
    },
  ]
}

/** Transactions of 1 000 inserts; `scale` 1 is 10 M and 20 M of them. */
export function growth(scale: number): readonly Workload[] {
  return [10, 20].map((millions) => {
    const transactions = Math.max(1, Math.round(millions * 1000 * scale))
    return {
      name: `G${millions}`,
      title: `${count(transactions * 1000)} inserts in ${count(transactions)} transactions`,
      tables: `${item};
        CREATE PROCEDURE fill(n int) LANGUAGE plpgsql AS $$
        BEGIN
          FOR t IN 1..n LOOP
            INSERT INTO item SELECT ${row} FROM generate_series((t - 1) * 1000 + 1, t * 1000) i;
            COMMIT;
          END LOOP;
        END $$`,
      load: [`CALL fill(${transactions})`],
      check: checkOf('item'),
      changes: transactions * 1000,
      transactions,
    }
  })
}

const item = 'CREATE TABLE item (id int8 PRIMARY KEY, a int, b text, c timestamptz, d numeric(12,2))'
const row = `i, i % 1000, md5(i::text), timestamptz '2026-01-01' + interval '1 second' * i, i * 1.25`

function insertItems(from: number, to: number): string {
  return `INSERT INTO item SELECT ${row} FROM generate_series(${from}, ${to}) i`
}

function checkOf(table: string): string {
  return `SELECT count(*) AS rows, sum(hashtextextended(t::text, 0)) AS hash FROM ${table} t`
}

/** A procedure that runs one statement for keys in an order like chance's: each key once, since the step is prime. */
function byKey(statement: string): string {
  return `CREATE PROCEDURE work(transactions int, each int, keys int8) LANGUAGE plpgsql AS $$
    DECLARE k int8 := 1;
    BEGIN
      FOR t IN 1..transactions LOOP
        FOR i IN 1..each LOOP
          k := (k - 1 + 611953) % keys + 1;
          ${statement};
        END LOOP;
        COMMIT;
      END LOOP;
    END $$`
}

/** The tables and the transaction of pgbench: https://www.postgresql.org/docs/current/pgbench.html */
function tpcb(scale: number): string {
  return `
    CREATE TABLE branch (id int PRIMARY KEY, balance int8 NOT NULL, filler char(88)) WITH (fillfactor = 80);
    CREATE TABLE teller (id int PRIMARY KEY, branch int, balance int8 NOT NULL, filler char(84)) WITH (fillfactor = 80);
    CREATE TABLE account (id int PRIMARY KEY, branch int, balance int8 NOT NULL, filler char(84)) WITH (fillfactor = 90);
    CREATE TABLE history (teller int, branch int, account int, delta int, at timestamptz, filler char(22));
    ALTER TABLE history REPLICA IDENTITY FULL;
    INSERT INTO branch SELECT i, 0 FROM generate_series(1, ${scale}) i;
    INSERT INTO teller SELECT i, (i - 1) / 10 + 1, 0 FROM generate_series(1, ${scale * 10}) i;
    INSERT INTO account SELECT i, (i - 1) / 100000 + 1, 0, '' FROM generate_series(1, ${scale * 100_000}) i;
    CREATE PROCEDURE tpcb(n int, seed int) LANGUAGE plpgsql AS $$
    DECLARE a int; t int; b int; d int;
    BEGIN
      PERFORM setseed(seed / 10.0);
      FOR i IN 1..n LOOP
        a := 1 + floor(random() * ${scale * 100_000}); t := 1 + floor(random() * ${scale * 10});
        b := 1 + floor(random() * ${scale}); d := floor(random() * 10000) - 5000;
        UPDATE account SET balance = balance + d WHERE id = a;
        UPDATE teller SET balance = balance + d WHERE id = t;
        UPDATE branch SET balance = balance + d WHERE id = b;
        INSERT INTO history VALUES (t, b, a, d, clock_timestamp());
        COMMIT;
      END LOOP;
    END $$`
}

export function count(n: number): string {
  return n.toLocaleString('en').replaceAll(',', ' ')
}

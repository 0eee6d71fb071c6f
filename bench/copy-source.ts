/** A database to be copied: SQL that makes it. */
export interface CopySource {
  readonly name: string
  readonly title: string
  /** Tables without indexes and constraints. */
  readonly tables: string
  readonly rows: string
  /** Indexes and constraints, as they stand before the copy begins. */
  readonly indexes: string
  /** Compared at both ends after each copy: one row. */
  readonly check: string
  readonly rowCount: number
}

/** What is copied; `scale` 1 is the full size. */
export function copySources(scale: number): readonly CopySource[] {
  return [pgbench(Math.max(1, Math.round(50 * scale))), mix(200, Math.max(10, Math.round(10_000 * scale)))]
}

/** As `pgbench --initialize` leaves it. */
function pgbench(scale: number): CopySource {
  const accounts = scale * 100_000
  return {
    name: 'C1',
    title: `pgbench scale ${scale}`,
    tables: `CREATE TABLE pgbench_history(tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
      CREATE TABLE pgbench_tellers(tid int NOT NULL, bid int, tbalance int, filler char(84)) WITH (fillfactor = 100);
      CREATE TABLE pgbench_accounts(aid int NOT NULL, bid int, abalance int, filler char(84)) WITH (fillfactor = 100);
      CREATE TABLE pgbench_branches(bid int NOT NULL, bbalance int, filler char(88)) WITH (fillfactor = 100)`,
    rows: `INSERT INTO pgbench_branches SELECT i, 0 FROM generate_series(1, ${scale}) i;
      INSERT INTO pgbench_tellers SELECT i, (i - 1) / 10 + 1, 0 FROM generate_series(1, ${scale * 10}) i;
      INSERT INTO pgbench_accounts SELECT i, (i - 1) / 100000 + 1, 0, '' FROM generate_series(1, ${accounts}) i`,
    // What follows the copy refuses UPDATEs of a table without a key.
    indexes: `ALTER TABLE pgbench_history REPLICA IDENTITY FULL;
      ALTER TABLE pgbench_branches ADD PRIMARY KEY (bid);
      ALTER TABLE pgbench_tellers ADD PRIMARY KEY (tid);
      ALTER TABLE pgbench_accounts ADD PRIMARY KEY (aid)`,
    check: `SELECT (SELECT count(*) || '/' || sum(hashint4(aid)::bigint) FROM pgbench_accounts) AS accounts,
      (SELECT count(*) FROM pgbench_tellers) AS tellers, (SELECT count(*) FROM pgbench_branches) AS branches,
      (SELECT count(*) FROM pg_index WHERE indrelid::regclass::text LIKE 'pgbench%' AND indisvalid) AS indexes`,
    rowCount: accounts + scale * 11,
  }
}

/** Tables of several shapes and very different sizes, with a foreign key and a second index each. */
function mix(count: number, rows: number): CopySource {
  const numbers = Array.from({ length: count }, (_, i) => i)
  // One of ten is ten times as large.
  const size = (i: number): number => (i % 10 === 0 ? rows * 10 : rows)
  const each = (text: (i: number) => string): string => numbers.map(text).join(';\n')
  return {
    name: 'C2',
    title: `${count} tables of ${rows} to ${rows * 10} rows`,
    tables: each(
      (i) =>
        `CREATE TABLE mix_${i} (id bigint NOT NULL, parent bigint, n numeric(12, 2), t timestamptz, name text, doc jsonb, tags text[]${i % 3 === 0 ? ', note text' : ''})`,
    ),
    rows: each(
      (i) =>
        `INSERT INTO mix_${i} SELECT k, (k + 1) / 2, k / 7.0, '2026-01-01'::timestamptz + k * interval '1 s', 'name ' || k,
          CASE WHEN k % 4 = 0 THEN jsonb_build_object('k', k, 'v', md5(k::text)) END, ARRAY['a', md5(k::text)]${i % 3 === 0 ? ", repeat('note ', (k % 40)::int)" : ''}
          FROM generate_series(1, ${size(i)}) k`,
    ),
    indexes: each(
      (i) =>
        `ALTER TABLE mix_${i} ADD PRIMARY KEY (id); CREATE INDEX ON mix_${i} (name); ALTER TABLE mix_${i} ADD FOREIGN KEY (parent) REFERENCES mix_${i}`,
    ),
    check: `SELECT ${[0, 1, 99, count - 1].map((i) => `(SELECT count(*) || '/' || sum(hashtext(x::text)::bigint) FROM mix_${i} x) AS m${i}`).join(', ')},
      (SELECT sum((xpath('/row/c/text()', query_to_xml('SELECT count(*) AS c FROM ' || c.oid::regclass, false, true, '')))[1]::text::bigint)
         FROM pg_class c WHERE c.relname LIKE 'mix\\_%' AND c.relkind = 'r') AS rows,
      (SELECT count(*) FROM pg_index WHERE indrelid::regclass::text LIKE 'mix%' AND indisvalid) AS indexes`,
    rowCount: numbers.reduce((sum, i) => sum + size(i), 0),
  }
}

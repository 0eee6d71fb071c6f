-- Whether what happens to rows of the tables $3 (schemas), $4 (names) may reach the table $1, $2 by actions of foreign keys: ON DELETE or
-- ON UPDATE other than NO ACTION and RESTRICT, from table to table, at least one; of a partitioned table, of its partitions, too.
WITH RECURSIVE reached (oid, acts) AS (
  SELECT c.oid, false
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = $1 AND c.relname = $2
  UNION
  SELECT x.oid, x.acts
  FROM reached r
  CROSS JOIN LATERAL (
    SELECT t.relid::oid, r.acts FROM pg_catalog.pg_partition_tree(r.oid) t
    UNION ALL
    SELECT f.confrelid, true FROM pg_catalog.pg_constraint f
    WHERE f.conrelid = r.oid AND f.contype = 'f' AND (f.confdeltype NOT IN ('a', 'r') OR f.confupdtype NOT IN ('a', 'r'))
  ) x (oid, acts)
)
SELECT EXISTS (
  SELECT FROM reached r
  JOIN pg_catalog.pg_class c ON c.oid = r.oid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE r.acts
    AND (n.nspname, c.relname) IN (SELECT w.schema, w.name FROM unnest($3::text[], $4::text[]) w (schema, name))
) AS found;

-- A partition of a table: its name, and what its bound demands of every row, as an expression.
-- $1: qualified name of the table, $2: name of the partition, $3: its schema, or NULL
SELECT c.oid::pg_catalog.regclass AS partition, pg_catalog.pg_get_partition_constraintdef(c.oid) AS expression
  FROM pg_catalog.pg_inherits i
  JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
 WHERE i.inhparent = pg_catalog.to_regclass($1) AND c.relname = $2::name
   AND ($3::text IS NULL OR c.relnamespace = pg_catalog.to_regnamespace($3))

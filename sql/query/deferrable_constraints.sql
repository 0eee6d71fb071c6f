-- Names of the deferrable constraints of the tables $1 (schemas), $2 (names), of their partitions, and of foreign keys that refer to them, as
-- SET CONSTRAINTS takes them: one text, NULL where there are none.
SELECT pg_catalog.string_agg(DISTINCT pg_catalog.format('%I.%I', s.nspname, k.conname), ', ') AS names
FROM unnest($1::text[], $2::text[]) w (schema, name)
JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
JOIN pg_catalog.pg_constraint k ON k.condeferrable AND EXISTS (
  SELECT FROM (SELECT c.oid UNION ALL SELECT t.relid FROM pg_catalog.pg_partition_tree(c.oid) t) x (oid)
  WHERE x.oid IN (k.conrelid, k.confrelid))
JOIN pg_catalog.pg_namespace s ON s.oid = k.connamespace;

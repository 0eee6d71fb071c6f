-- What the tables $1 (OIDs) are: asked under a snapshot, and again later under a lock, when it tells whether that snapshot still shows
-- their rows: `files` changes with each TRUNCATE and rewrite of the table or a partition of it.
-- `form` of a column: values of equal form have the same binary representation in every server; null where only text is safe.
WITH RECURSIVE part AS (
  SELECT c.oid AS root, c.oid FROM pg_catalog.pg_class c WHERE c.oid = ANY ($1::oid[])
  UNION ALL
  SELECT p.root, i.inhrelid
  FROM part p
  JOIN pg_catalog.pg_class k ON k.oid = p.oid AND k.relkind = 'p'
  JOIN pg_catalog.pg_inherits i ON i.inhparent = p.oid
), base AS (
  SELECT DISTINCT a.atttypid AS oid, a.atttypid AS base FROM pg_catalog.pg_attribute a WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0
  UNION ALL
  SELECT b.oid, d.typbasetype FROM base b JOIN pg_catalog.pg_type d ON d.oid = b.base AND d.typtype = 'd'
), type AS MATERIALIZED (
  SELECT b.oid,
    CASE
      WHEN y.typtype = 'e' THEN 'enum'
      WHEN y.oid < 16384 AND y.typtype IN ('b', 'r', 'm') AND y.typsend <> 0 AND y.typreceive <> 0
        AND coalesce(m.typtype, 'b') IN ('b', 'r', 'm')
        -- Numbers of objects, what depends on the locale or declares an encoding, and what is refused where it is empty.
        AND y.typname !~ '^_?(reg.*|money|xml|int2vector|oidvector|tsquery)$' THEN y.typname::text
    END AS form
  FROM base b
  JOIN pg_catalog.pg_type y ON y.oid = b.base AND y.typtype <> 'd'
  LEFT JOIN pg_catalog.pg_type m ON m.oid = y.typelem AND y.typcategory = 'A'
)
SELECT c.oid, n.nspname AS schema, c.relname AS name, c.relkind AS kind,
  (SELECT string_agg(p.oid || ':' || k.relfilenode, ' ' ORDER BY p.oid)
     FROM part p JOIN pg_catalog.pg_class k ON k.oid = p.oid WHERE p.root = c.oid) AS files,
  (SELECT coalesce(json_agg(json_build_object(
       'number', a.attnum, 'name', a.attname, 'type', a.atttypid::bigint, 'modifier', a.atttypmod,
       'generated', a.attgenerated <> '', 'form', t.form) ORDER BY a.attnum), '[]')
     FROM pg_catalog.pg_attribute a LEFT JOIN type t ON t.oid = a.atttypid
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY ($1::oid[]) AND c.relkind IN ('r', 'p');

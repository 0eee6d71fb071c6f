-- What the applier must know of downstream tables. $1 schemas, $2 tables, $3 whether each may be a materialized view: one row each,
-- by its place among them, or none where there is no such table.
WITH RECURSIVE target AS MATERIALIZED (
  SELECT w.place, c.oid, c.relkind
  FROM unnest($1::text[], $2::text[], $3::boolean[]) WITH ORDINALITY w (schema, name, may_be_view, place)
  JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema
  JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
    AND (c.relkind IN ('r', 'p', 'f', 'v') OR c.relkind = 'm' AND w.may_be_view)
), base AS (
  -- a domain compares as its base type, which may be a domain, too
  SELECT DISTINCT a.atttypid AS oid, a.atttypid AS base
  FROM target c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT b.oid, d.typbasetype FROM base b JOIN pg_catalog.pg_type d ON d.oid = b.base AND d.typtype = 'd'
), type AS MATERIALIZED (
  SELECT w.oid, m.oid IS NOT NULL AS is_array, o.opcfamily, o.opcintype, o.method
  FROM base w
  JOIN pg_catalog.pg_type b ON b.oid = w.base AND b.typtype <> 'd'
  -- an array compares as its elements
  LEFT JOIN pg_catalog.pg_type m ON m.oid = b.typelem AND b.typcategory = 'A'
  CROSS JOIN LATERAL (SELECT coalesce(m.oid, b.oid) AS oid, coalesce(m.typtype, b.typtype) AS typtype) x
  -- Where several types would do (a varchar is a text, and a bpchar, too), the preferred one, as the parser has it.
  CROSS JOIN LATERAL (
    SELECT p.opcfamily, p.opcintype, am.amname AS method
    FROM pg_catalog.pg_opclass p
    JOIN pg_catalog.pg_am am ON am.oid = p.opcmethod AND am.amname IN ('btree', 'hash')
    WHERE p.opcdefault AND (p.opcintype = x.oid
      OR p.opcintype = CASE x.typtype WHEN 'e' THEN 'pg_catalog.anyenum'::regtype
           WHEN 'r' THEN 'pg_catalog.anyrange'::regtype WHEN 'm' THEN 'pg_catalog.anymultirange'::regtype END
      OR p.opcintype IN (
        SELECT k.casttarget FROM pg_catalog.pg_cast k
        WHERE k.castsource = x.oid AND k.castmethod = 'b' AND k.castcontext = 'i'))
    ORDER BY p.opcintype = x.oid DESC,
      (SELECT i.typispreferred FROM pg_catalog.pg_type i WHERE i.oid = p.opcintype) DESC, am.amname
    LIMIT 1) o
), equality AS MATERIALIZED (
  SELECT t.oid,
    -- The operator by its schema, since an extension's stands in the search_path of nobody.
    CASE WHEN t.is_array THEN 'OPERATOR(pg_catalog.=)' ELSE (
      SELECT pg_catalog.format('OPERATOR(%I.%s)', s.nspname, p.oprname)
      FROM pg_catalog.pg_amop w
      JOIN pg_catalog.pg_operator p ON p.oid = w.amopopr
      JOIN pg_catalog.pg_namespace s ON s.oid = p.oprnamespace
      WHERE w.amopfamily = t.opcfamily AND w.amoplefttype = t.opcintype AND w.amoprighttype = t.opcintype
        AND w.amopstrategy = CASE t.method WHEN 'btree' THEN 3 ELSE 1 END) END AS operator,
    -- btree's equalimage: equal values are the same bytes; bpchar says so, too, and is wrong about trailing spaces
    NOT t.is_array AND t.method = 'btree' AND t.opcintype <> 'pg_catalog.bpchar'::regtype AND EXISTS (SELECT FROM pg_catalog.pg_amproc f
      WHERE f.amprocfamily = t.opcfamily AND f.amproclefttype = t.opcintype
        AND f.amprocrighttype = t.opcintype AND f.amprocnum = 4) AS exact
  FROM type t
), form AS MATERIALIZED (
  -- Whose values have one binary representation in every server, as in table_definitions.sql; base: what it is called.
  SELECT b.oid, y.oid AS base, n.nspname || '.' || y.typname AS name
  FROM base b
  JOIN pg_catalog.pg_type y ON y.oid = b.base AND y.typtype <> 'd'
  JOIN pg_catalog.pg_namespace n ON n.oid = y.typnamespace
  LEFT JOIN pg_catalog.pg_type m ON m.oid = y.typelem AND y.typcategory = 'A'
  WHERE y.typtype = 'e' OR y.oid < 16384 AND y.typtype IN ('b', 'r', 'm') AND y.typsend <> 0 AND y.typreceive <> 0
    AND coalesce(m.typtype, 'b') IN ('b', 'r', 'm')
    AND y.typname !~ '^_?(reg.*|money|xml|int2vector|oidvector|tsquery)$'
), replica_trigger AS MATERIALIZED (
  SELECT g.tgrelid FROM pg_catalog.pg_trigger g
  WHERE NOT g.tgisinternal
    AND g.tgenabled IN ('A', CASE pg_catalog.current_setting('session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END)
)
SELECT
  c.place,
  c.relkind AS kind,
  (SELECT coalesce(json_agg(json_build_object(
      'name', a.attname,
      'typeOid', a.atttypid::bigint,
      'notNull', a.attnotnull,
      'generated', a.attgenerated <> '',
      'identityAlways', a.attidentity = 'a',
      'equality', e.operator,
      -- 0 where a list of values can't be told in one array: of arrays, and of those whose elements are told apart otherwise
      'arrayOid', CASE WHEN y.typdelim = ',' AND y.typcategory <> 'A' THEN y.typarray::bigint ELSE 0 END,
      'exact', coalesce(e.exact, false) AND coalesce(l.collisdeterministic, true),
      'binary', (SELECT json_build_object('oid', f.base::bigint, 'name', f.name) FROM form f WHERE f.oid = a.atttypid)
    ) ORDER BY a.attnum), '[]')
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_type y ON y.oid = a.atttypid
    LEFT JOIN equality e ON e.oid = a.atttypid
    LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
  (SELECT coalesce(json_agg(json_build_object('primary', i.indisprimary, 'columns', k.names)), '[]')
    FROM pg_catalog.pg_index i
    CROSS JOIN LATERAL (
      SELECT json_agg(a.attname ORDER BY u.n) AS names
      FROM unnest(i.indkey::int2[]) WITH ORDINALITY u(attnum, n)
      JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.attnum
      WHERE u.n <= i.indnkeyatts) k
    WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
      AND i.indpred IS NULL AND i.indexprs IS NULL) AS keys,
  EXISTS (
    SELECT FROM pg_catalog.pg_index i
    WHERE i.indrelid = c.oid AND NOT i.indimmediate) AS deferrable_keys,
  EXISTS (
    SELECT FROM replica_trigger g
    WHERE g.tgrelid = c.oid OR g.tgrelid IN (SELECT p.relid FROM pg_catalog.pg_partition_tree(c.oid) p))
  OR EXISTS (
    SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type <> '1') AS replica_triggers
FROM target c;

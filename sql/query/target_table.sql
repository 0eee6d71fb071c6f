-- What the applier must know of a downstream table. $1 schema, $2 table, $3 whether it may be a materialized view.
-- One row, or none where there is no such table.
SELECT
  c.relkind AS kind,
  (SELECT coalesce(json_agg(json_build_object(
      'name', a.attname,
      'typeOid', a.atttypid::bigint,
      'notNull', a.attnotnull,
      'generated', a.attgenerated <> '',
      'identityAlways', a.attidentity = 'a',
      'equality', e.equality
    ) ORDER BY a.attnum), '[]')
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    -- a domain compares as its base type, an array as its elements
    LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype
    LEFT JOIN pg_catalog.pg_type m ON m.oid = coalesce(b.typelem, t.typelem) AND coalesce(b.typcategory, t.typcategory) = 'A'
    CROSS JOIN LATERAL (SELECT coalesce(m.oid, b.oid, t.oid) AS oid, coalesce(m.typtype, b.typtype, t.typtype) AS typtype) x
    CROSS JOIN LATERAL (SELECT x.typtype IN ('e', 'r', 'm') OR EXISTS (
      SELECT FROM pg_catalog.pg_opclass o
      JOIN pg_catalog.pg_am am ON am.oid = o.opcmethod AND am.amname IN ('btree', 'hash')
      WHERE o.opcdefault AND (o.opcintype = x.oid OR EXISTS (
        SELECT FROM pg_catalog.pg_cast k
        WHERE k.castsource = x.oid AND k.casttarget = o.opcintype AND k.castmethod = 'b' AND k.castcontext = 'i'))
    ) AS equality) e
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
    SELECT FROM pg_catalog.pg_trigger g
    WHERE NOT g.tgisinternal AND g.tgenabled IN ('R', 'A')
      AND (g.tgrelid = c.oid OR g.tgrelid IN (SELECT p.relid FROM pg_catalog.pg_partition_tree(c.oid) p))) AS replica_triggers
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2 AND (c.relkind IN ('r', 'p', 'f', 'v') OR c.relkind = 'm' AND $3::boolean);

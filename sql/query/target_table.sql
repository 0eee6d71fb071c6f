-- What the applier must know of a downstream table. $1 schema, $2 table.
-- One row, or none where there is no such table.
SELECT
  c.relkind AS kind,
  (SELECT coalesce(json_agg(json_build_object(
      'name', a.attname,
      'typeOid', a.atttypid::bigint,
      'notNull', a.attnotnull,
      'generated', a.attgenerated <> '',
      'identityAlways', a.attidentity = 'a',
      'equality', e.operator,
      'exact', coalesce(e.exact, false)
    ) ORDER BY a.attnum), '[]')
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    -- a domain compares as its base type, an array as its elements
    LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype
    LEFT JOIN pg_catalog.pg_type m ON m.oid = coalesce(b.typelem, t.typelem) AND coalesce(b.typcategory, t.typcategory) = 'A'
    CROSS JOIN LATERAL (SELECT coalesce(m.oid, b.oid, t.oid) AS oid, coalesce(m.typtype, b.typtype, t.typtype) AS typtype) x
    -- The operator by its schema, since an extension's stands in the search_path of nobody. Where several types would
    -- do (a varchar is a text, and a bpchar, too), the preferred one, as the parser has it.
    LEFT JOIN LATERAL (
      SELECT
        CASE WHEN m.oid IS NULL
          THEN pg_catalog.format('OPERATOR(%I.%s)', s.nspname, p.oprname)
          ELSE 'OPERATOR(pg_catalog.=)' END AS operator,
        -- btree's equalimage: equal values are the same bytes
        m.oid IS NULL AND EXISTS (SELECT FROM pg_catalog.pg_amproc f
          WHERE f.amprocfamily = o.opcfamily AND f.amproclefttype = o.opcintype
            AND f.amprocrighttype = o.opcintype AND f.amprocnum = 4 AND am.amname = 'btree')
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_collation l
            WHERE l.oid = a.attcollation AND NOT l.collisdeterministic) AS exact
      FROM pg_catalog.pg_opclass o
      JOIN pg_catalog.pg_type i ON i.oid = o.opcintype
      JOIN pg_catalog.pg_am am ON am.oid = o.opcmethod
      JOIN pg_catalog.pg_amop w ON w.amopfamily = o.opcfamily AND w.amoplefttype = o.opcintype
        AND w.amoprighttype = o.opcintype
        AND (am.amname, w.amopstrategy) IN (('btree', 3), ('hash', 1))
      JOIN pg_catalog.pg_operator p ON p.oid = w.amopopr
      JOIN pg_catalog.pg_namespace s ON s.oid = p.oprnamespace
      WHERE o.opcdefault AND (o.opcintype = x.oid
        OR o.opcintype = CASE x.typtype WHEN 'e' THEN 'pg_catalog.anyenum'::regtype
             WHEN 'r' THEN 'pg_catalog.anyrange'::regtype WHEN 'm' THEN 'pg_catalog.anymultirange'::regtype END
        OR EXISTS (
          SELECT FROM pg_catalog.pg_cast k
          WHERE k.castsource = x.oid AND k.casttarget = o.opcintype AND k.castmethod = 'b' AND k.castcontext = 'i'))
      ORDER BY o.opcintype = x.oid DESC, i.typispreferred DESC, am.amname
      LIMIT 1) e ON true
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
WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'f', 'v');

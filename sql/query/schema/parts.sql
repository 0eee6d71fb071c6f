-- What has no statement of its own, or belongs to something: of what it is a part. Members of an extension are parts of it.
WITH part (catalog, object, of_catalog, of_object) AS (
  SELECT 'pg_attrdef', d.oid, 'pg_class', d.adrelid FROM pg_attrdef d
  UNION ALL
  SELECT 'pg_rewrite', r.oid, 'pg_class', r.ev_class FROM pg_rewrite r
  UNION ALL
  SELECT 'pg_policy', p.oid, 'pg_class', p.polrelid FROM pg_policy p
  UNION ALL
  SELECT 'row security', c.oid, 'pg_class', c.oid FROM pg_class c WHERE c.relrowsecurity OR c.relforcerowsecurity
  UNION ALL
  SELECT 'pg_trigger', t.oid, o.catalog, o.object
  FROM pg_trigger t CROSS JOIN LATERAL (
    SELECT 'pg_constraint', t.tgconstraint WHERE t.tgisinternal AND t.tgconstraint <> 0
    UNION ALL SELECT 'pg_trigger', t.tgparentid WHERE NOT t.tgisinternal AND t.tgparentid <> 0
    UNION ALL SELECT 'pg_class', t.tgrelid
    LIMIT 1) o (catalog, object)
  UNION ALL
  SELECT 'trigger state', t.oid, 'pg_trigger', t.tgparentid FROM pg_trigger t WHERE t.tgparentid <> 0
  UNION ALL
  -- A check that an heir or a partition has from a parent whose own is not validated comes with that one.
  SELECT 'pg_constraint', k.oid, CASE WHEN k.contype = 'f' AND k.conparentid <> 0 OR h.oid IS NOT NULL THEN 'pg_constraint' WHEN t.oid IS NOT NULL THEN 'pg_trigger'
      WHEN k.conrelid <> 0 THEN 'pg_class' ELSE 'pg_type' END,
    CASE WHEN k.contype = 'f' AND k.conparentid <> 0 THEN k.conparentid WHEN h.oid IS NOT NULL THEN h.oid WHEN t.oid IS NOT NULL THEN t.oid WHEN k.conrelid <> 0 THEN k.conrelid ELSE k.contypid END
  FROM pg_constraint k LEFT JOIN pg_trigger t ON k.contype = 't' AND t.tgconstraint = k.oid
  LEFT JOIN LATERAL (
    SELECT p.oid FROM pg_inherits i JOIN pg_constraint p ON p.conrelid = i.inhparent AND p.contype = k.contype AND NOT p.convalidated
    WHERE i.inhrelid = k.conrelid AND NOT k.conislocal AND (k.contype = 'c' AND p.conname = k.conname OR k.contype = 'n' AND (
      SELECT a.attname FROM pg_attribute a WHERE a.attrelid = p.conrelid AND a.attnum = p.conkey[1]) = (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = k.conrelid AND a.attnum = k.conkey[1]))
    ORDER BY i.inhseqno LIMIT 1) h ON true
  UNION ALL
  SELECT 'pg_class', i.indexrelid, CASE WHEN k.oid IS NOT NULL THEN 'pg_constraint' ELSE 'pg_class' END, coalesce(k.oid, i.indrelid)
  FROM pg_index i LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
  UNION ALL
  SELECT 'index partition', i.indexrelid, 'pg_class', i.indexrelid FROM pg_index i JOIN pg_inherits h ON h.inhrelid = i.indexrelid
  UNION ALL
  SELECT 'partition', c.oid, 'pg_class', c.oid FROM pg_class c WHERE c.relispartition AND c.relkind IN ('r', 'p')
  UNION ALL
  SELECT 'pg_class', c.oid, 'pg_type', c.reltype FROM pg_class c WHERE c.relkind = 'c'
  UNION ALL
  SELECT 'pg_type', t.oid, 'pg_class', t.typrelid FROM pg_type t JOIN pg_class c ON c.oid = t.typrelid AND c.relkind <> 'c'
  UNION ALL
  SELECT 'pg_type', t.typarray, 'pg_type', t.oid FROM pg_type t WHERE t.typarray <> 0
  UNION ALL
  SELECT 'pg_type', r.rngmultitypid, 'pg_type', r.rngtypid FROM pg_range r
  UNION ALL
  -- The constructors of a range and its multirange.
  SELECT 'pg_proc', d.objid, 'pg_type', d.refobjid FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'i' AND d.refclassid = 'pg_type'::regclass
)
SELECT p.catalog, p.object, p.of_catalog, p.of_object FROM part p WHERE p.object >= 16384
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.deptype = 'e' AND d.objid = p.object AND d.classid = to_regclass('pg_catalog.' || quote_ident(p.catalog)))
UNION ALL
SELECT (SELECT c.relname FROM pg_class c WHERE c.oid = d.classid), d.objid, 'pg_extension', d.refobjid FROM pg_depend d WHERE d.deptype = 'e';

-- What needs what: pg_depend, and what the separate statements of one object need of one another.
-- A partition's index does not need its parent's (P, S): it is attached by a statement of its own.
SELECT DISTINCT c.relname AS catalog, d.objid AS object, r.relname AS needs_catalog, d.refobjid AS needs_object
FROM pg_depend d JOIN pg_class c ON c.oid = d.classid JOIN pg_class r ON r.oid = d.refclassid
WHERE d.deptype NOT IN ('P', 'S', 'e', 'x') AND d.objid >= 16384 AND d.refobjid >= 16384

UNION ALL
SELECT 'partition', i.inhrelid, n.catalog, n.object
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid AND c.relispartition AND c.relkind IN ('r', 'p')
CROSS JOIN LATERAL (
  SELECT 'pg_class', i.inhrelid
  UNION ALL SELECT 'pg_class', i.inhparent
  UNION ALL SELECT 'partition', i.inhparent
  -- An identity goes to the partitions that are attached later.
  UNION ALL SELECT 'pg_class', d.objid FROM pg_depend d
   WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.inhparent AND d.refobjsubid > 0 AND d.deptype = 'i') n (catalog, object)

UNION ALL
-- A default that is set before an heir is made would be inherited.
SELECT 'pg_attrdef', a.oid, 'pg_class', i.inhrelid
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid AND NOT c.relispartition JOIN pg_attrdef a ON a.adrelid = i.inhparent
JOIN pg_attribute t ON t.attrelid = a.adrelid AND t.attnum = a.adnum AND t.attgenerated = ''

UNION ALL
SELECT 'index partition', h.inhrelid, 'pg_class', unnest(ARRAY[h.inhrelid, h.inhparent])
FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid AND c.relkind IN ('i', 'I')

UNION ALL
SELECT 'row security', c.oid, 'pg_class', c.oid FROM pg_class c WHERE c.relrowsecurity OR c.relforcerowsecurity

UNION ALL
SELECT 'trigger state', t.oid, 'pg_trigger', t.tgparentid FROM pg_trigger t WHERE t.tgparentid <> 0;

-- Columns of tables, views and composite types. Their order counts only in composite types.
WITH relation AS (
  SELECT c.*, format('%I.%I', n.nspname, c.relname) AS name
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'follower')
    AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
    AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
)
SELECT 'column' AS kind, c.name AS relation, format('%s.%I', c.name, a.attname) AS identity, v.aspect, v.value
FROM relation c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
CROSS JOIN LATERAL (VALUES
  ('type', format_type(a.atttypid, a.atttypmod)),
  ('not null', a.attnotnull::text),
  ('default', pg_get_expr(d.adbin, d.adrelid)),
  ('identity', nullif(a.attidentity::text, '')),
  ('generated', nullif(a.attgenerated::text, '')),
  ('collation', (SELECT format('%I.%I', n.nspname, o.collname)
                 FROM pg_collation o JOIN pg_namespace n ON n.oid = o.collnamespace WHERE o.oid = a.attcollation)),
  ('storage', a.attstorage::text),
  ('compression', nullif(to_jsonb(a) ->> 'attcompression', '')),
  ('statistics', CASE WHEN a.attstattarget >= 0 THEN a.attstattarget::text END),
  ('options', (SELECT string_agg(o, ' ' ORDER BY o) FROM unnest(a.attoptions) o
    -- A stamp that minor releases of 2026 put on each column: the server's own.
    WHERE o NOT LIKE 'pg\_attver=%')),
  ('foreign options', a.attfdwoptions::text),
  ('inherited', format('%s %s', a.attislocal, a.attinhcount)),
  ('acl', (SELECT string_agg(format('%s=%s%s', coalesce(g.rolname, 'public'), x.privilege_type, CASE WHEN x.is_grantable THEN '*' END), ' '
                             ORDER BY g.rolname, x.privilege_type)
           FROM aclexplode(a.attacl) x LEFT JOIN pg_roles g ON g.oid = x.grantee)),
  ('position', CASE WHEN c.relkind = 'c' THEN
    (SELECT count(*)::text FROM pg_attribute b
     WHERE b.attrelid = a.attrelid AND b.attnum BETWEEN 1 AND a.attnum AND NOT b.attisdropped) END)
) v (aspect, value)
WHERE v.value IS NOT NULL

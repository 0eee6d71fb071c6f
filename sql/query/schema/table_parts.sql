-- What is added to a table before its rows come: sequences and identities, defaults, places among partitions.
WITH relation AS (
  SELECT c.*, n.nspname, format('%I.%I', n.nspname, c.relname) AS named
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.oid >= 16384 AND c.relpersistence <> 't'
), sequence AS (
  SELECT c.*, o.refobjid::regclass::text AS table_named, quote_ident(a.attname) AS column_named, coalesce(o.deptype = 'i', false) AS identity, a.attidentity,
    format('START WITH %s INCREMENT BY %s MINVALUE %s MAXVALUE %s CACHE %s %s', s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache,
      CASE WHEN s.seqcycle THEN 'CYCLE' ELSE 'NO CYCLE' END) AS options,
    format_type(s.seqtypid, NULL) AS type
  FROM relation c JOIN pg_sequence s ON s.seqrelid = c.oid
  LEFT JOIN pg_depend o ON o.classid = 'pg_class'::regclass AND o.objid = c.oid AND o.refclassid = 'pg_class'::regclass
    AND o.refobjsubid > 0 AND o.deptype IN ('a', 'i')
  LEFT JOIN pg_attribute a ON a.attrelid = o.refobjid AND a.attnum = o.refobjsubid
)
SELECT 'pg_class' AS catalog, s.oid AS object, CASE WHEN s.identity THEN 'IDENTITY' ELSE 'SEQUENCE' END AS kind, s.nspname AS schema, s.relname AS name,
  CASE WHEN s.identity THEN
    format('ALTER TABLE %s ALTER COLUMN %s ADD GENERATED %s AS IDENTITY (SEQUENCE NAME %s %s)', s.table_named, s.column_named,
      CASE s.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END, s.named, s.options)
  ELSE format('CREATE %sSEQUENCE %s AS %s %s', CASE s.relpersistence WHEN 'u' THEN 'UNLOGGED ' END, s.named, s.type, s.options) END AS statement,
  -- An owned sequence has its table's owner.
  CASE WHEN NOT s.identity THEN 'SEQUENCE ' || s.named END AS alter,
  CASE WHEN NOT s.identity THEN pg_get_userbyid(s.relowner) END AS owner,
  CASE WHEN NOT s.identity AND s.table_named IS NOT NULL THEN format('ALTER SEQUENCE %s OWNED BY %s.%s', s.named, s.table_named, s.column_named) END AS after
FROM sequence s

UNION ALL
SELECT 'pg_attrdef', d.oid, 'DEFAULT', c.nspname, format('%s %s', c.relname, a.attname),
  format('ALTER TABLE ONLY %s ALTER COLUMN %I SET DEFAULT %s', c.named, a.attname, pg_get_expr(d.adbin, d.adrelid)), NULL, NULL, NULL
FROM pg_attrdef d
JOIN relation c ON c.oid = d.adrelid
JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum AND a.attgenerated = ''

UNION ALL
SELECT 'partition', c.oid, 'TABLE ATTACH', c.nspname, c.relname,
  format('ALTER TABLE ONLY %s ATTACH PARTITION %s %s', i.inhparent::regclass, c.named, pg_get_expr(c.relpartbound, c.oid)), NULL, NULL, NULL
FROM relation c JOIN pg_inherits i ON i.inhrelid = c.oid
WHERE c.relispartition AND c.relkind IN ('r', 'p');

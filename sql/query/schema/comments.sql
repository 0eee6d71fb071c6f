-- Comments on what the copy of a schema carries.
SELECT (SELECT c.relname FROM pg_class c WHERE c.oid = d.classoid) AS catalog, d.objoid AS object,
  string_agg(concat('COMMENT ON ',
    CASE WHEN k.contypid <> 0 THEN format('CONSTRAINT %I ON DOMAIN %s', k.conname, format_type(k.contypid, NULL))
      WHEN i.type LIKE '% column' THEN 'COLUMN ' || i.identity
      WHEN i.type = 'table constraint' THEN 'CONSTRAINT ' || i.identity
      WHEN i.type = 'statistics object' THEN 'STATISTICS ' || i.identity
      WHEN i.type = 'aggregate' THEN 'AGGREGATE ' || regexp_replace(i.identity, '\(\)$', '(*)')
      ELSE upper(i.type) || ' ' || i.identity END,
    ' IS ', quote_literal(d.description)), E';\n' ORDER BY d.objsubid) AS statement
FROM pg_description d
CROSS JOIN LATERAL pg_identify_object(d.classoid, d.objoid, d.objsubid) i
LEFT JOIN pg_constraint k ON d.classoid = 'pg_constraint'::regclass AND k.oid = d.objoid
WHERE (d.objoid >= 16384 OR d.classoid = 'pg_namespace'::regclass AND d.objoid = 2200 AND d.description <> 'standard public schema')
  AND coalesce(i.schema, '') <> 'follower' AND NOT (i.type = 'event trigger' AND i.identity ~ '^"?follower_') AND i.identity !~ '(^| )"?pg_temp'
  AND d.classoid IN ('pg_class'::regclass, 'pg_type'::regclass, 'pg_proc'::regclass, 'pg_namespace'::regclass, 'pg_constraint'::regclass, 'pg_trigger'::regclass,
    'pg_rewrite'::regclass, 'pg_policy'::regclass, 'pg_statistic_ext'::regclass, 'pg_extension'::regclass, 'pg_collation'::regclass, 'pg_event_trigger'::regclass)
GROUP BY d.classoid, d.objoid;

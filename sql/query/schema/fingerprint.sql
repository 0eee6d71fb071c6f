-- Changes with every change of what the files of this directory read. Under a snapshot and without one: the functions that write definitions
-- look at the catalogs as they are now.
SELECT md5(string_agg(f.catalog || f.value, ' ' ORDER BY f.catalog)) AS value FROM (
  -- Without what statistics, VACUUM, TRUNCATE and REFRESH change: these make files, and tables and indexes for long values, anew.
  SELECT 'class', md5(string_agg((to_jsonb(c) - '{relfilenode,reltoastrelid,relispopulated,relpages,reltuples,relallvisible,relallfrozen,relfrozenxid,relminmxid,relhasindex,relhastriggers,relhasrules,relhassubclass}'::text[])::text, '' ORDER BY c.oid))
    FROM pg_class c WHERE c.oid >= 16384 AND c.relpersistence <> 't' AND c.relnamespace <> 'pg_toast'::regnamespace
  UNION ALL
  SELECT 'toast', md5(string_agg(c.oid || ' ' || s.reloptions::text, ',' ORDER BY c.oid)) FROM pg_class c JOIN pg_class s ON s.oid = c.reltoastrelid WHERE c.relpersistence <> 't'
  UNION ALL
  -- A table that is written anew loses the values that stand for those of its rows that have none.
  SELECT 'attribute', md5(string_agg((to_jsonb(a) - '{attcacheoff,atthasmissing,attmissingval}'::text[])::text, '' ORDER BY a.attrelid, a.attnum))
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.oid >= 16384 AND c.relpersistence <> 't' AND c.relnamespace <> 'pg_toast'::regnamespace
  UNION ALL
  SELECT 'type', md5(string_agg(t.oid || ' ' || t.xmin, ',' ORDER BY t.oid)) FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.oid >= 16384 AND n.nspname !~ '^pg_t'
  UNION ALL
  SELECT 'index', md5(string_agg(to_jsonb(i)::text, '' ORDER BY i.indexrelid)) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.oid >= 16384 AND c.relpersistence <> 't' AND c.relnamespace <> 'pg_toast'::regnamespace
  UNION ALL
  SELECT 'default', md5(string_agg(d.oid || ' ' || d.xmin, ',' ORDER BY d.oid)) FROM pg_attrdef d JOIN pg_class c ON c.oid = d.adrelid WHERE c.relpersistence <> 't'
  UNION ALL
  SELECT 'constraint', md5(string_agg(k.oid || ' ' || k.xmin, ',' ORDER BY k.oid)) FROM pg_constraint k LEFT JOIN pg_class c ON c.oid = k.conrelid WHERE k.oid >= 16384 AND coalesce(c.relpersistence <> 't', true)
  UNION ALL
  SELECT 'rewrite', md5(string_agg(r.oid || ' ' || r.xmin, ',' ORDER BY r.oid)) FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE r.oid >= 16384 AND c.relpersistence <> 't'
  UNION ALL
  SELECT 'trigger', md5(string_agg(t.oid || ' ' || t.xmin, ',' ORDER BY t.oid)) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE t.oid >= 16384 AND c.relpersistence <> 't'
  UNION ALL
  SELECT 'namespace', md5(string_agg(n.oid || ' ' || n.xmin, ',' ORDER BY n.oid)) FROM pg_namespace n WHERE n.nspname !~ '^pg_t'
  UNION ALL SELECT 'proc', md5(string_agg(oid || ' ' || xmin, ',' ORDER BY oid)) FROM pg_proc WHERE oid >= 16384
  UNION ALL SELECT 'enum', md5(string_agg(oid || ' ' || xmin, ',' ORDER BY oid)) FROM pg_enum
  UNION ALL SELECT 'policy', md5(string_agg(oid || ' ' || xmin, ',' ORDER BY oid)) FROM pg_policy
  UNION ALL SELECT 'statistics', md5(string_agg(oid || ' ' || xmin, ',' ORDER BY oid)) FROM pg_statistic_ext
  UNION ALL SELECT 'collation', md5(string_agg(oid || ' ' || xmin, ',' ORDER BY oid)) FROM pg_collation WHERE oid >= 16384
  UNION ALL SELECT 'extension', md5(string_agg(oid || ' ' || xmin, ',' ORDER BY oid)) FROM pg_extension
  UNION ALL SELECT 'event trigger', md5(string_agg(oid || ' ' || xmin, ',' ORDER BY oid)) FROM pg_event_trigger
  UNION ALL SELECT 'default acl', md5(string_agg(oid || ' ' || xmin, ',' ORDER BY oid)) FROM pg_default_acl
) f (catalog, value);

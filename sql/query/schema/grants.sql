-- What is granted otherwise than it is from the beginning (pg_init_privs for what initdb or an extension made). $1: the other end's major.
WITH object (catalog, classid, oid, part, word, named, columns, kind, owner, acl) AS (
  SELECT 'pg_class', 'pg_class'::regclass::oid, c.oid, 0, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, format('%I.%I', n.nspname, c.relname), '',
    CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner, c.relacl
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') AND c.relpersistence <> 't' AND n.nspname NOT IN ('follower', 'information_schema')
  UNION ALL
  SELECT 'pg_class', 'pg_class'::regclass, c.oid, a.attnum, 'TABLE', format('%I.%I', n.nspname, c.relname), format(' (%I)', a.attname), 'c', c.relowner, a.attacl
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE a.attacl IS NOT NULL AND NOT a.attisdropped AND c.relpersistence <> 't' AND n.nspname NOT IN ('follower', 'information_schema')
  UNION ALL
  SELECT 'pg_proc', 'pg_proc'::regclass, p.oid, 0, 'ROUTINE', p.oid::regprocedure::text, '', 'f', p.proowner, p.proacl
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.proacl IS NOT NULL AND n.nspname NOT IN ('follower', 'information_schema')
  UNION ALL
  SELECT 'pg_type', 'pg_type'::regclass, t.oid, 0, 'TYPE', format('%I.%I', n.nspname, t.typname), '', 'T', t.typowner, t.typacl
  FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.typacl IS NOT NULL AND n.nspname NOT IN ('follower', 'information_schema')
  UNION ALL
  SELECT 'pg_namespace', 'pg_namespace'::regclass, n.oid, 0, 'SCHEMA', quote_ident(n.nspname), '', 'n', n.nspowner, n.nspacl
  FROM pg_namespace n WHERE n.nspname NOT IN ('follower', 'information_schema') AND n.nspname !~ '^pg_(temp|toast)'
  UNION ALL
  SELECT 'pg_language', 'pg_language'::regclass, l.oid, 0, 'LANGUAGE', quote_ident(l.lanname), '', 'l', l.lanowner, l.lanacl FROM pg_language l
  UNION ALL
  -- Those of extensions: a copy with others is refused.
  SELECT 'pg_foreign_data_wrapper', 'pg_foreign_data_wrapper'::regclass, w.oid, 0, 'FOREIGN DATA WRAPPER', quote_ident(w.fdwname), '', 'F', w.fdwowner, w.fdwacl
  FROM pg_foreign_data_wrapper w
  UNION ALL
  SELECT 'pg_foreign_server', 'pg_foreign_server'::regclass, s.oid, 0, 'FOREIGN SERVER', quote_ident(s.srvname), '', 'S', s.srvowner, s.srvacl FROM pg_foreign_server s
), changed AS (
  -- The schema public is there already, as the other end's major makes it, whatever this one's began with.
  SELECT o.*, coalesce(o.acl, acldefault(o.kind, o.owner)) AS now,
    CASE WHEN o.catalog = 'pg_namespace' AND o.named = quote_ident('public') THEN acldefault('n', o.owner) || makeaclitem(0, o.owner, 'USAGE', false)
        || CASE WHEN $1::integer < 15 THEN ARRAY[makeaclitem(0, o.owner, 'CREATE', false)] ELSE '{}' END
      ELSE coalesce(i.initprivs, acldefault(o.kind, o.owner)) END AS base
  FROM object o LEFT JOIN pg_init_privs i ON i.classoid = o.classid AND i.objoid = o.oid AND i.objsubid = o.part
  WHERE o.acl IS DISTINCT FROM i.initprivs OR o.catalog = 'pg_namespace' AND o.named = quote_ident('public')
), step AS (
  SELECT o.catalog, o.oid, o.part, o.named, 0 AS place, format('REVOKE %s ON %s %s FROM %s', string_agg(b.privilege_type || o.columns, ', '), o.word, o.named,
    CASE b.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(b.grantee)) END) AS statement
  FROM changed o CROSS JOIN LATERAL aclexplode(o.base) b
  WHERE NOT EXISTS (SELECT FROM aclexplode(o.now) a WHERE a.grantee = b.grantee AND a.privilege_type = b.privilege_type AND a.is_grantable = b.is_grantable)
    AND (b.privilege_type <> 'MAINTAIN' OR $1::integer >= 17)
  GROUP BY o.catalog, o.oid, o.part, o.word, o.named, b.grantee
  UNION ALL
  SELECT o.catalog, o.oid, o.part, o.named, CASE WHEN a.grantor = o.owner THEN 1 ELSE 1 + min(a.place) END,
    concat(CASE WHEN a.grantor <> o.owner THEN format(E'SET ROLE %I;\n', pg_get_userbyid(a.grantor)) END,
      format('GRANT %s ON %s %s TO %s', string_agg(a.privilege_type || o.columns, ', '), o.word, o.named, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END),
      CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' END, CASE WHEN a.grantor <> o.owner THEN E';\nRESET ROLE' END)
  FROM changed o CROSS JOIN LATERAL aclexplode(o.now) WITH ORDINALITY a (grantor, grantee, privilege_type, is_grantable, place)
  WHERE NOT EXISTS (SELECT FROM aclexplode(o.base) b WHERE b.grantee = a.grantee AND b.privilege_type = a.privilege_type AND b.is_grantable = a.is_grantable)
    AND (a.privilege_type <> 'MAINTAIN' OR $1::integer >= 17)
  GROUP BY o.catalog, o.oid, o.part, o.word, o.named, o.owner, a.grantor, a.grantee, a.is_grantable
)
SELECT s.catalog, s.oid AS object, min(s.named) AS named, string_agg(s.statement, E';\n' ORDER BY s.part, s.place, s.statement) AS statement,
  -- What the server or an extension made.
  s.oid < 16384 AND min(s.named) <> quote_ident('public') OR EXISTS (
    SELECT FROM pg_depend d WHERE d.classid = to_regclass('pg_catalog.' || s.catalog) AND d.objid = s.oid AND d.deptype = 'e') AS separate
FROM step s GROUP BY s.catalog, s.oid;

-- Objects of the database as a whole: schemas, extensions, collations, event triggers, default privileges.
-- Columns: where the catalog has it, what it is to people, the statement that makes it, ALTER what ... OWNER TO whom, statements after that.
SELECT 'pg_namespace' AS catalog, n.oid AS object, 'SCHEMA' AS kind, n.nspname AS schema, n.nspname AS name,
  -- Every database begins with a schema public; the owner that its major gives it stays.
  CASE WHEN n.nspname <> 'public' THEN format('CREATE SCHEMA %I', n.nspname) ELSE '' END AS statement,
  format('SCHEMA %I', n.nspname) AS alter,
  CASE WHEN n.nspname <> 'public' OR pg_get_userbyid(n.nspowner) <>
      CASE WHEN current_setting('server_version_num')::integer < 150000 THEN pg_get_userbyid(10) ELSE 'pg_database_owner' END THEN pg_get_userbyid(n.nspowner) END AS owner,
  NULL AS after
FROM pg_namespace n WHERE (n.oid >= 16384 OR n.nspname = 'public')

UNION ALL
SELECT 'pg_extension', e.oid, 'EXTENSION', n.nspname, e.extname, format('CREATE EXTENSION IF NOT EXISTS %I WITH SCHEMA %I', e.extname, n.nspname), NULL, NULL, NULL
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.oid >= 16384

UNION ALL
-- The column of a locale has had three names.
SELECT 'pg_collation', c.oid, 'COLLATION', n.nspname, c.collname,
  format('CREATE COLLATION %I.%I (%s)', n.nspname, c.collname, concat_ws(', ',
    'PROVIDER = ' || CASE c.collprovider WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END,
    CASE WHEN NOT c.collisdeterministic THEN 'DETERMINISTIC = false' END,
    'LOCALE = ' || quote_literal(l.locale), 'LC_COLLATE = ' || quote_literal(CASE WHEN l.locale IS NULL THEN c.collcollate END),
    'LC_CTYPE = ' || quote_literal(CASE WHEN l.locale IS NULL THEN c.collctype END), 'RULES = ' || quote_literal(to_jsonb(c) ->> 'collicurules'))),
  format('COLLATION %I.%I', n.nspname, c.collname), pg_get_userbyid(c.collowner), NULL
FROM pg_collation c
JOIN pg_namespace n ON n.oid = c.collnamespace
CROSS JOIN LATERAL (VALUES (coalesce(to_jsonb(c) ->> 'colllocale', to_jsonb(c) ->> 'colliculocale', CASE WHEN c.collprovider = 'i' THEN c.collcollate END))) l (locale)
WHERE c.oid >= 16384

UNION ALL
SELECT 'pg_event_trigger', e.oid, 'EVENT TRIGGER', '-', e.evtname,
  concat(format('CREATE EVENT TRIGGER %I ON %I', e.evtname, e.evtevent),
    (SELECT format(' WHEN TAG IN (%s)', string_agg(quote_literal(t), ', ')) FROM unnest(e.evttags) t HAVING count(*) > 0),
    format(' EXECUTE FUNCTION %s()', e.evtfoid::regproc)),
  format('EVENT TRIGGER %I', e.evtname), pg_get_userbyid(e.evtowner),
  CASE e.evtenabled WHEN 'D' THEN format('ALTER EVENT TRIGGER %I DISABLE', e.evtname) WHEN 'R' THEN format('ALTER EVENT TRIGGER %I ENABLE REPLICA', e.evtname)
    WHEN 'A' THEN format('ALTER EVENT TRIGGER %I ENABLE ALWAYS', e.evtname) END
FROM pg_event_trigger e WHERE e.evtname !~ '^follower_'

UNION ALL
SELECT 'pg_default_acl', d.oid, 'DEFAULT ACL', coalesce(n.nspname, '-'), pg_get_userbyid(d.defaclrole), string_agg(s.statement, E';\n' ORDER BY s.statement DESC), NULL, NULL, NULL
FROM pg_default_acl d
LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
CROSS JOIN LATERAL (SELECT
  -- Within a schema nothing is granted to begin with, as of a column.
  acldefault(CASE WHEN d.defaclnamespace <> 0 THEN 'c' WHEN d.defaclobjtype = 'S' THEN 's' ELSE d.defaclobjtype END, d.defaclrole) AS acl,
  concat('ALTER DEFAULT PRIVILEGES FOR ROLE ', quote_ident(pg_get_userbyid(d.defaclrole)), ' IN SCHEMA ' || quote_ident(n.nspname), ' ') AS head,
  CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS' WHEN 'T' THEN 'TYPES' WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END AS word) b
CROSS JOIN LATERAL (
  SELECT format('%sREVOKE %s ON %s FROM %s', b.head, string_agg(x.privilege_type, ', '), b.word, coalesce(quote_ident(r.rolname), 'PUBLIC')) AS statement
  FROM (SELECT o.grantee, o.privilege_type FROM aclexplode(b.acl) o EXCEPT SELECT a.grantee, a.privilege_type FROM aclexplode(d.defaclacl) a) x
  LEFT JOIN pg_roles r ON r.oid = x.grantee
  WHERE x.privilege_type <> 'MAINTAIN' OR $1::integer >= 17
  GROUP BY r.rolname
  UNION ALL
  SELECT format('%sGRANT %s ON %s TO %s%s', b.head, string_agg(x.privilege_type, ', '), b.word, coalesce(quote_ident(r.rolname), 'PUBLIC'), CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' END)
  FROM (SELECT a.grantee, a.privilege_type, a.is_grantable FROM aclexplode(d.defaclacl) a EXCEPT SELECT o.grantee, o.privilege_type, o.is_grantable FROM aclexplode(b.acl) o) x
  LEFT JOIN pg_roles r ON r.oid = x.grantee
  WHERE x.privilege_type <> 'MAINTAIN' OR $1::integer >= 17
  GROUP BY r.rolname, x.is_grantable) s
GROUP BY d.oid, n.nspname, d.defaclrole;

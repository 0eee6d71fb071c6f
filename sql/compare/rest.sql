-- Schemas, extensions, default privileges, event triggers, collations, text search, foreign servers, and every comment.
WITH space AS (
  SELECT * FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'follower')
), member AS (
  SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
)
SELECT 'schema' AS kind, NULL::text AS relation, quote_ident(s.nspname) AS identity, v.aspect, v.value
FROM space s
CROSS JOIN LATERAL (VALUES
  ('owner', pg_get_userbyid(s.nspowner)::text),
  ('acl', (SELECT string_agg(format('%s=%s%s', coalesce(g.rolname, 'public'), a.privilege_type, CASE WHEN a.is_grantable THEN '*' END), ' '
                             ORDER BY g.rolname, a.privilege_type)
           FROM aclexplode(coalesce(s.nspacl, acldefault('n', s.nspowner))) a LEFT JOIN pg_roles g ON g.oid = a.grantee))
) v (aspect, value)
WHERE v.value IS NOT NULL AND NOT EXISTS (SELECT FROM member WHERE classid = 'pg_namespace'::regclass AND objid = s.oid)

UNION ALL
SELECT 'extension', NULL, quote_ident(e.extname), v.aspect, v.value
FROM pg_extension e
CROSS JOIN LATERAL (VALUES ('schema', e.extnamespace::regnamespace::text), ('~version', e.extversion),
                           ('owner', pg_get_userbyid(e.extowner)::text)) v (aspect, value)

UNION ALL
SELECT 'default privileges', NULL, format('%s in %s on %s', pg_get_userbyid(d.defaclrole), nullif(d.defaclnamespace, 0)::regnamespace, d.defaclobjtype),
       'acl', (SELECT string_agg(format('%s=%s%s', coalesce(g.rolname, 'public'), a.privilege_type, CASE WHEN a.is_grantable THEN '*' END), ' '
                                 ORDER BY g.rolname, a.privilege_type)
               FROM aclexplode(d.defaclacl) a LEFT JOIN pg_roles g ON g.oid = a.grantee WHERE a.privilege_type <> 'MAINTAIN')
FROM pg_default_acl d

UNION ALL
SELECT 'event trigger', NULL, quote_ident(e.evtname), 'definition',
       format('%s %s %s %s %s', e.evtevent, e.evtfoid::regprocedure, e.evtenabled, e.evttags, pg_get_userbyid(e.evtowner))
FROM pg_event_trigger e
WHERE e.evtname !~ '^follower_' AND NOT EXISTS (SELECT FROM member WHERE classid = 'pg_event_trigger'::regclass AND objid = e.oid)

UNION ALL
SELECT 'collation', NULL, format('%s.%I', c.collnamespace::regnamespace, c.collname), 'definition',
       format('%s %s %s %s %s %s', c.collprovider, c.collisdeterministic, c.collcollate, c.collctype,
              coalesce(to_jsonb(c) ->> 'colllocale', to_jsonb(c) ->> 'colliculocale'), pg_get_userbyid(c.collowner))
FROM pg_collation c JOIN space ON space.oid = c.collnamespace

UNION ALL
SELECT 'text search configuration', NULL, format('%s.%I', c.cfgnamespace::regnamespace, c.cfgname), 'mapping',
       format('%s: %s', c.cfgparser::regclass::text, (SELECT string_agg(format('%s:%s', m.maptokentype, m.mapdict::regdictionary), ' ' ORDER BY m.maptokentype, m.mapseqno)
                                FROM pg_ts_config_map m WHERE m.mapcfg = c.oid))
FROM pg_ts_config c JOIN space ON space.oid = c.cfgnamespace

UNION ALL
SELECT 'text search dictionary', NULL, format('%s.%I', d.dictnamespace::regnamespace, d.dictname), 'definition',
       format('%s %s', (SELECT tmplname FROM pg_ts_template WHERE oid = d.dicttemplate), d.dictinitoption)
FROM pg_ts_dict d JOIN space ON space.oid = d.dictnamespace
WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_ts_dict'::regclass AND objid = d.oid)

UNION ALL
SELECT 'operator class', NULL, format('%s.%I using %s', c.opcnamespace::regnamespace, c.opcname, (SELECT amname FROM pg_am WHERE oid = c.opcmethod)), 'definition',
       format('%s default %s %s %s', c.opcintype::regtype, c.opcdefault, nullif(c.opckeytype, 0)::regtype, pg_get_userbyid(c.opcowner))
FROM pg_opclass c JOIN space ON space.oid = c.opcnamespace
WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_opclass'::regclass AND objid = c.oid)

UNION ALL
SELECT 'foreign server', NULL, quote_ident(s.srvname), 'definition',
       format('%s %s %s %s', (SELECT fdwname FROM pg_foreign_data_wrapper WHERE oid = s.srvfdw), s.srvtype, s.srvoptions, pg_get_userbyid(s.srvowner))
FROM pg_foreign_server s

UNION ALL
SELECT 'comment', NULL, format('%s %s', i.type, i.identity), 'text', d.description
FROM pg_description d
CROSS JOIN LATERAL pg_identify_object(d.classoid, d.objoid, d.objsubid) i
WHERE d.objoid >= 16384 AND coalesce(i.schema, '') <> 'follower' AND i.identity !~ '^follower(_|\.|$)' AND i.identity !~ ' on follower\.'
  AND i.type NOT LIKE 'publication%'
  AND NOT EXISTS (SELECT FROM member WHERE classid = d.classoid AND objid = d.objoid)

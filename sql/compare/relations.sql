-- What is to be equal at both ends: tables, views, sequences, composite types, and what hangs on tables.
-- Aspects that start with ~ compare only between equal majors. Names need search_path = pg_catalog to come qualified.
WITH relation AS (
  SELECT c.*, format('%I.%I', n.nspname, c.relname) AS name
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'follower')
    AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
), access AS (
  SELECT c.oid,
         string_agg(format('%s=%s%s', coalesce(g.rolname, 'public'), a.privilege_type, CASE WHEN a.is_grantable THEN '*' END), ' '
                    ORDER BY g.rolname, a.privilege_type) FILTER (WHERE a.privilege_type <> 'MAINTAIN') AS acl,
         string_agg(coalesce(g.rolname, 'public'), ' ' ORDER BY g.rolname) FILTER (WHERE a.privilege_type = 'MAINTAIN') AS maintain
  FROM relation c
  CROSS JOIN LATERAL aclexplode(coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, c.relowner))) a
  LEFT JOIN pg_roles g ON g.oid = a.grantee
  GROUP BY c.oid
)
SELECT 'relation' AS kind, c.name AS relation, c.name AS identity, v.aspect, v.value
FROM relation c LEFT JOIN access ON access.oid = c.oid
CROSS JOIN LATERAL (VALUES
  ('kind', c.relkind::text),
  ('persistence', c.relpersistence::text),
  ('owner', pg_get_userbyid(c.relowner)::text),
  ('acl', access.acl),
  ('~maintain', access.maintain),
  ('options', (SELECT string_agg(o, ' ' ORDER BY o) FROM unnest(c.reloptions) o)),
  ('toast options', (SELECT string_agg(o, ' ' ORDER BY o) FROM pg_class t, unnest(t.reloptions) o WHERE t.oid = c.reltoastrelid)),
  ('access method', (SELECT amname::text FROM pg_am WHERE oid = c.relam)),
  ('row security', format('%s %s', c.relrowsecurity, c.relforcerowsecurity)),
  ('of type', CASE WHEN c.reloftype <> 0 THEN format_type(c.reloftype, NULL) END),
  ('populated', c.relispopulated::text),
  ('parents', (SELECT string_agg(format('%s%s', i.inhparent::regclass, CASE WHEN i.inhdetachpending THEN ' detaching' END), ', ' ORDER BY i.inhseqno)
               FROM pg_inherits i WHERE i.inhrelid = c.oid)),
  ('partition key', pg_get_partkeydef(c.oid)),
  ('partition bound', pg_get_expr(c.relpartbound, c.oid)),
  ('view', CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END),
  ('foreign', (SELECT format('%s %s', s.srvname, f.ftoptions) FROM pg_foreign_table f JOIN pg_foreign_server s ON s.oid = f.ftserver WHERE f.ftrelid = c.oid)),
  ('sequence', (SELECT format('%s start %s by %s min %s max %s cache %s cycle %s', format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle)
                FROM pg_sequence s WHERE s.seqrelid = c.oid)),
  ('owned by', (SELECT format('%s.%I %s', d.refobjid::regclass, a.attname, d.deptype)
                FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
                WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass
                  AND d.deptype IN ('a', 'i') AND c.relkind = 'S'))
) v (aspect, value)
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c') AND v.value IS NOT NULL

UNION ALL
SELECT 'constraint', c.name, format('%s on %s', quote_ident(k.conname), c.name),
       CASE k.contype WHEN 'n' THEN '~' ELSE '' END || v.aspect, v.value
FROM pg_constraint k JOIN relation c ON c.oid = k.conrelid
CROSS JOIN LATERAL (VALUES
  ('definition', pg_get_constraintdef(k.oid)),
  ('inherited', format('%s %s', k.conislocal, k.coninhcount)),
  ('~enforced', to_jsonb(k) ->> 'conenforced')
) v (aspect, value)
WHERE k.contype <> 't' AND v.value IS NOT NULL

UNION ALL
SELECT 'index', format('%s', t.name), c.name, v.aspect, v.value
FROM pg_index i JOIN relation c ON c.oid = i.indexrelid JOIN relation t ON t.oid = i.indrelid
CROSS JOIN LATERAL (VALUES
  ('definition', pg_get_indexdef(i.indexrelid)),
  ('valid', format('%s %s', i.indisvalid, i.indisready)),
  ('clustered', i.indisclustered::text),
  ('parent', (SELECT inhparent::regclass::text FROM pg_inherits WHERE inhrelid = i.indexrelid)),
  ('statistics', (SELECT string_agg(format('%s:%s', attnum, attstattarget), ' ' ORDER BY attnum) FROM pg_attribute
                  WHERE attrelid = i.indexrelid AND attstattarget >= 0))
) v (aspect, value)
WHERE v.value IS NOT NULL

UNION ALL
SELECT 'trigger', c.name, format('%s on %s', quote_ident(t.tgname), c.name), v.aspect, v.value
FROM pg_trigger t JOIN relation c ON c.oid = t.tgrelid
CROSS JOIN LATERAL (VALUES ('definition', pg_get_triggerdef(t.oid)), ('enabled', t.tgenabled::text)) v (aspect, value)
WHERE NOT t.tgisinternal

UNION ALL
SELECT 'rule', c.name, format('%s on %s', quote_ident(r.rulename), c.name), v.aspect, v.value
FROM pg_rewrite r JOIN relation c ON c.oid = r.ev_class
CROSS JOIN LATERAL (VALUES ('definition', pg_get_ruledef(r.oid)), ('enabled', r.ev_enabled::text)) v (aspect, value)
WHERE r.rulename <> '_RETURN'

UNION ALL
SELECT 'policy', c.name, format('%s on %s', quote_ident(p.polname), c.name), v.aspect, v.value
FROM pg_policy p JOIN relation c ON c.oid = p.polrelid
CROSS JOIN LATERAL (VALUES
  ('command', format('%s %s', p.polcmd, p.polpermissive)),
  ('roles', (SELECT string_agg(CASE r WHEN 0 THEN 'public' ELSE pg_get_userbyid(r) END, ' ' ORDER BY pg_get_userbyid(r)) FROM unnest(p.polroles) r)),
  ('using', pg_get_expr(p.polqual, p.polrelid)),
  ('check', pg_get_expr(p.polwithcheck, p.polrelid))
) v (aspect, value)
WHERE v.value IS NOT NULL

UNION ALL
SELECT 'statistics', (SELECT name FROM relation WHERE oid = s.stxrelid), format('%I.%I', n.nspname, s.stxname), v.aspect, v.value
FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
CROSS JOIN LATERAL (VALUES
  ('definition', pg_get_statisticsobjdef(s.oid)),
  ('owner', pg_get_userbyid(s.stxowner)::text),
  ('target', nullif(coalesce(to_jsonb(s) ->> 'stxstattarget', '-1'), '-1'))
) v (aspect, value)
WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'follower') AND v.value IS NOT NULL

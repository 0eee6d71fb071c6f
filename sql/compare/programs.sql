-- Functions, procedures, aggregates, types, domains, operators, casts.
WITH space AS (
  SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'follower')
), member AS (
  SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
)
SELECT 'function' AS kind, NULL::text AS relation, p.oid::regprocedure::text AS identity, v.aspect, v.value
FROM pg_proc p JOIN space ON space.oid = p.pronamespace
CROSS JOIN LATERAL (VALUES
  ('definition', CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) END),
  ('aggregate', (SELECT format('%s %s %s %s %s %s %s', g.aggkind, g.aggtransfn, g.aggfinalfn, g.aggcombinefn,
                               format_type(g.aggtranstype, NULL), g.agginitval, g.aggsortop::regoperator)
                 FROM pg_aggregate g WHERE g.aggfnoid = p.oid)),
  ('owner', pg_get_userbyid(p.proowner)::text),
  ('acl', (SELECT string_agg(format('%s=%s%s', coalesce(g.rolname, 'public'), a.privilege_type, CASE WHEN a.is_grantable THEN '*' END), ' '
                             ORDER BY g.rolname, a.privilege_type)
           FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a LEFT JOIN pg_roles g ON g.oid = a.grantee))
) v (aspect, value)
WHERE v.value IS NOT NULL
  AND NOT EXISTS (SELECT FROM member WHERE classid = 'pg_proc'::regclass AND objid = p.oid)

UNION ALL
SELECT 'type', NULL, format('%I.%I', space.nspname, t.typname), v.aspect, v.value
FROM pg_type t JOIN space ON space.oid = t.typnamespace
LEFT JOIN pg_range r ON r.rngtypid = t.oid
CROSS JOIN LATERAL (VALUES
  ('kind', t.typtype::text),
  ('owner', pg_get_userbyid(t.typowner)::text),
  ('acl', (SELECT string_agg(format('%s=%s', coalesce(g.rolname, 'public'), a.privilege_type), ' ' ORDER BY g.rolname, a.privilege_type)
           FROM aclexplode(coalesce(t.typacl, acldefault('T', t.typowner))) a LEFT JOIN pg_roles g ON g.oid = a.grantee)),
  ('labels', (SELECT string_agg(quote_literal(e.enumlabel), ' ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid)),
  ('domain', CASE WHEN t.typtype = 'd' THEN format('%s not null %s default %s collation %s',
     format_type(t.typbasetype, t.typtypmod), t.typnotnull, t.typdefault, nullif(t.typcollation, 0)::regcollation) END),
  ('range', CASE WHEN t.typtype = 'r' THEN format('%s %s %s %s %s', format_type(r.rngsubtype, NULL), nullif(r.rngcollation, 0)::regcollation,
     r.rngcanonical, r.rngsubdiff, (SELECT opcname FROM pg_opclass WHERE oid = r.rngsubopc)) END),
  ('base', CASE WHEN t.typtype = 'b' THEN format('%s %s %s %s %s', t.typinput, t.typoutput, t.typlen, t.typalign, t.typstorage) END)
) v (aspect, value)
WHERE v.value IS NOT NULL AND t.typelem = 0 AND t.typtype <> 'm'
  AND (t.typrelid = 0 OR (SELECT relkind FROM pg_class WHERE oid = t.typrelid) = 'c')
  AND NOT EXISTS (SELECT FROM member WHERE classid = 'pg_type'::regclass AND objid = t.oid)

UNION ALL
SELECT 'constraint', NULL, format('%s on %s', quote_ident(k.conname), format_type(k.contypid, NULL)),
       CASE k.contype WHEN 'n' THEN '~' ELSE '' END || 'definition', pg_get_constraintdef(k.oid)
FROM pg_constraint k JOIN pg_type t ON t.oid = k.contypid JOIN space ON space.oid = t.typnamespace
WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_type'::regclass AND objid = t.oid)

UNION ALL
SELECT 'operator', NULL, o.oid::regoperator::text, 'definition',
       format('%s %s %s %s %s %s %s %s', o.oprcode, o.oprcom::regoperator, o.oprnegate::regoperator, o.oprrest, o.oprjoin,
              o.oprcanmerge, o.oprcanhash, pg_get_userbyid(o.oprowner))
FROM pg_operator o JOIN space ON space.oid = o.oprnamespace
WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_operator'::regclass AND objid = o.oid)

UNION ALL
SELECT 'cast', NULL, format('%s as %s', format_type(c.castsource, NULL), format_type(c.casttarget, NULL)), 'definition',
       format('%s %s %s', c.castcontext, c.castmethod, nullif(c.castfunc, 0)::regprocedure)
FROM pg_cast c
WHERE c.oid >= 16384 AND NOT EXISTS (SELECT FROM member WHERE classid = 'pg_cast'::regclass AND objid = c.oid)

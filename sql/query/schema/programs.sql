-- What acts on the rows of a table or is kept of them: triggers, rules, row security, statistics.
WITH RECURSIVE relation AS (
  SELECT c.*, n.nspname, format('%I.%I', n.nspname, c.relname) AS named
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm') AND c.relpersistence <> 't'
), clone (oid, of_oid) AS (
  SELECT t.oid, t.tgparentid FROM pg_trigger t WHERE t.tgparentid <> 0
  UNION ALL
  SELECT c.oid, t.tgparentid FROM clone c JOIN pg_trigger t ON t.oid = c.of_oid AND t.tgparentid <> 0
), state (code, word) AS (
  VALUES ('O'::"char", 'ENABLE'), ('D', 'DISABLE'), ('R', 'ENABLE REPLICA'), ('A', 'ENABLE ALWAYS')
)
SELECT 'pg_trigger' AS catalog, t.oid AS object, 'TRIGGER' AS kind, c.nspname AS schema, format('%s %s', c.relname, t.tgname) AS name,
  pg_get_triggerdef(t.oid) AS statement, NULL AS alter, NULL AS owner,
  CASE WHEN t.tgenabled <> 'O' THEN format('ALTER TABLE %s %s TRIGGER %I', c.named, s.word, t.tgname) END AS after
FROM pg_trigger t JOIN relation c ON c.oid = t.tgrelid JOIN state s ON s.code = t.tgenabled
WHERE NOT t.tgisinternal AND t.tgparentid = 0

UNION ALL
-- That of a partition comes with the root's, and as enabled as it. The names of a foreign key's triggers are the server's own.
SELECT 'trigger state', t.oid, 'TRIGGER', c.nspname, format('%s %s', c.relname, t.tgname), format('ALTER TABLE ONLY %s %s TRIGGER %I', c.named, s.word, t.tgname), NULL, NULL, NULL
FROM pg_trigger t JOIN relation c ON c.oid = t.tgrelid JOIN state s ON s.code = t.tgenabled
JOIN clone o ON o.oid = t.oid JOIN pg_trigger r ON r.oid = o.of_oid AND r.tgparentid = 0
WHERE t.tgenabled <> r.tgenabled AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.oid = t.tgconstraint AND k.contype <> 't')

UNION ALL
SELECT 'pg_rewrite', r.oid, 'RULE', c.nspname, format('%s %s', c.relname, r.rulename), rtrim(pg_get_ruledef(r.oid), ';'), NULL, NULL,
  CASE WHEN r.ev_enabled <> 'O' THEN format('ALTER TABLE %s %s RULE %I', c.named, s.word, r.rulename) END
FROM pg_rewrite r JOIN relation c ON c.oid = r.ev_class JOIN state s ON s.code = r.ev_enabled
WHERE r.rulename <> '_RETURN'

UNION ALL
SELECT 'row security', c.oid, 'ROW SECURITY', c.nspname, c.relname,
  concat_ws(E';\n', CASE WHEN c.relrowsecurity THEN format('ALTER TABLE ONLY %s ENABLE ROW LEVEL SECURITY', c.named) END,
    CASE WHEN c.relforcerowsecurity THEN format('ALTER TABLE ONLY %s FORCE ROW LEVEL SECURITY', c.named) END), NULL, NULL, NULL
FROM relation c WHERE c.relrowsecurity OR c.relforcerowsecurity

UNION ALL
SELECT 'pg_policy', p.oid, 'POLICY', c.nspname, format('%s %s', c.relname, p.polname),
  concat(format('CREATE POLICY %I ON %s', p.polname, c.named), CASE WHEN NOT p.polpermissive THEN ' AS RESTRICTIVE' END,
    CASE p.polcmd WHEN 'r' THEN ' FOR SELECT' WHEN 'a' THEN ' FOR INSERT' WHEN 'w' THEN ' FOR UPDATE' WHEN 'd' THEN ' FOR DELETE' END,
    ' TO ' || (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(r)) END, ', ') FROM unnest(p.polroles) r),
    format(' USING (%s)', pg_get_expr(p.polqual, p.polrelid)) || CASE WHEN p.polqual IS NULL THEN NULL ELSE '' END,
    format(' WITH CHECK (%s)', pg_get_expr(p.polwithcheck, p.polrelid)) || CASE WHEN p.polwithcheck IS NULL THEN NULL ELSE '' END), NULL, NULL, NULL
FROM pg_policy p JOIN relation c ON c.oid = p.polrelid

UNION ALL
SELECT 'pg_statistic_ext', s.oid, 'STATISTICS', n.nspname, s.stxname, pg_get_statisticsobjdef(s.oid),
  format('STATISTICS %I.%I', n.nspname, s.stxname), pg_get_userbyid(s.stxowner),
  CASE WHEN s.stxstattarget >= 0 THEN format('ALTER STATISTICS %I.%I SET STATISTICS %s', n.nspname, s.stxname, s.stxstattarget) END
FROM pg_statistic_ext s JOIN relation c ON c.oid = s.stxrelid JOIN pg_namespace n ON n.oid = s.stxnamespace;

-- Views and materialized views; the latter are filled later.
SELECT 'pg_class' AS catalog, c.oid AS object, k.kind, n.nspname AS schema, c.relname AS name,
  concat('CREATE ', k.kind, ' ', format('%I.%I', n.nspname, c.relname),
    (SELECT format(' USING %I', m.amname) FROM pg_am m WHERE m.oid = c.relam AND m.amname <> 'heap'),
    (SELECT format(' WITH (%s)', string_agg(format('%s=%L', split_part(o.text, '=', 1), substr(o.text, strpos(o.text, '=') + 1)), ', '))
      FROM (SELECT unnest(c.reloptions) UNION ALL
            SELECT 'toast.' || unnest(s.reloptions) FROM pg_class s WHERE s.oid = c.reltoastrelid) o (text) HAVING count(*) > 0),
    (SELECT format(' TABLESPACE %I', s.spcname) FROM pg_tablespace s WHERE s.oid = c.reltablespace),
    E' AS\n', rtrim(pg_get_viewdef(c.oid), ';'), CASE c.relkind WHEN 'm' THEN E'\n  WITH NO DATA' END) AS statement,
  format('%s %I.%I', k.kind, n.nspname, c.relname) AS alter, pg_get_userbyid(c.relowner) AS owner, NULL AS after
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (VALUES (CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'MATERIALIZED VIEW' END)) k (kind)
WHERE c.oid >= 16384 AND c.relkind IN ('v', 'm') AND c.relpersistence <> 't';

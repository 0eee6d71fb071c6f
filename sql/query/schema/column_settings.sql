-- What is set of single columns, of tables, materialized views and indexes: belongs to their relation.
WITH setting AS (
  SELECT c.oid, c.relkind, a.attnum, s.action
  FROM pg_class c
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_type t ON t.oid = a.atttypid
  CROSS JOIN LATERAL (VALUES
    (CASE WHEN c.relkind <> 'i' AND c.relkind <> 'I' AND a.attstorage <> t.typstorage THEN
      'SET STORAGE ' || CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END END),
    (CASE WHEN c.relkind <> 'i' AND c.relkind <> 'I' AND a.attcompression <> '' THEN
      'SET COMPRESSION ' || CASE a.attcompression WHEN 'l' THEN 'lz4' ELSE 'pglz' END END),
    (CASE WHEN a.attstattarget >= 0 THEN 'SET STATISTICS ' || a.attstattarget END),
    -- Minor releases of 2026 stamp each column with pg_attver: the server's own.
    (CASE WHEN c.relkind IN ('r', 'p', 'm') THEN (SELECT format('SET (%s)', string_agg(format('%s=%L', split_part(o, '=', 1), substr(o, strpos(o, '=') + 1)), ', ')) FROM unnest(a.attoptions) o WHERE o NOT LIKE 'pg\_attver=%' HAVING count(*) > 0) END)
  ) s (action)
  WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'm', 'i', 'I') AND c.relpersistence <> 't' AND s.action IS NOT NULL
)
SELECT 'pg_class' AS catalog, s.oid AS object,
  string_agg(CASE WHEN s.relkind IN ('i', 'I') THEN format('ALTER INDEX %s ALTER COLUMN %s %s', s.oid::regclass, s.attnum, s.action)
    ELSE format('ALTER %s %s ALTER COLUMN %I %s', CASE s.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE ONLY' END, s.oid::regclass,
      (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = s.oid AND a.attnum = s.attnum), s.action) END, E';\n' ORDER BY s.attnum, s.action) AS statement
FROM setting s
GROUP BY s.oid;

-- Indexes, and constraints with what belongs to their indexes. One that is not valid (a CREATE INDEX CONCURRENTLY that failed) has no
-- statement: it is left out, and told.
WITH index AS (
  SELECT i.*, c.oid, c.relname, c.relkind, n.nspname, t.relname AS table_name, t.relkind AS table_kind, i.indexrelid::regclass AS named, i.indrelid::regclass AS table_named,
    (SELECT format(E'SET LOCAL default_tablespace = %L;\n', s.spcname) FROM pg_tablespace s WHERE s.oid = c.reltablespace) AS place, c.reloptions,
    concat_ws(E';\n',
      CASE WHEN i.indisclustered THEN format('ALTER TABLE %s CLUSTER ON %I', i.indrelid::regclass, c.relname) END,
      CASE WHEN i.indisreplident THEN format('ALTER TABLE ONLY %s REPLICA IDENTITY USING INDEX %I', i.indrelid::regclass, c.relname) END) AS uses
  FROM pg_index i
  JOIN pg_class c ON c.oid = i.indexrelid
  JOIN pg_class t ON t.oid = i.indrelid
  JOIN pg_namespace n ON n.oid = t.relnamespace
  WHERE c.oid >= 16384 AND t.relkind IN ('r', 'p', 'm') AND t.relpersistence <> 't'
)
SELECT 'pg_class' AS catalog, i.oid AS object, 'INDEX' AS kind, i.nspname AS schema, i.relname AS name,
  CASE WHEN i.indisvalid OR i.table_kind = 'p' THEN concat(i.place, pg_get_indexdef(i.oid)) END AS statement, NULL AS alter, NULL AS owner, i.uses AS after
FROM index i
WHERE NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.oid AND k.contype IN ('p', 'u', 'x'))

UNION ALL
SELECT 'pg_constraint', k.oid, 'CONSTRAINT', i.nspname, format('%s %s', i.table_name, k.conname),
  concat(i.place, format('ALTER TABLE ONLY %s ADD CONSTRAINT %I %s', i.table_named, k.conname, pg_get_constraintdef(k.oid))), NULL, NULL,
  concat_ws(E';\n', (SELECT format('ALTER INDEX %s SET (%s)', i.named, string_agg(format('%s=%L', split_part(o, '=', 1), substr(o, strpos(o, '=') + 1)), ', ')) FROM unnest(i.reloptions) o HAVING count(*) > 0), nullif(i.uses, ''))
FROM index i JOIN pg_constraint k ON k.conindid = i.oid AND k.contype IN ('p', 'u', 'x')

UNION ALL
SELECT 'index partition', i.oid, 'INDEX ATTACH', i.nspname, i.relname,
  format('ALTER INDEX %s ATTACH PARTITION %s', h.inhparent::regclass, i.named), NULL, NULL, NULL
FROM index i JOIN pg_inherits h ON h.inhrelid = i.oid
WHERE i.relkind IN ('i', 'I');

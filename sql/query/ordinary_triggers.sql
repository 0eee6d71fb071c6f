-- Triggers and rules of downstream tables that act otherwise under session_replication_role = origin than under replica: ordinary ones,
-- and those for replicas only. $1 schemas, $2 tables. Row triggers of a table's partitions count, too; one row for a name, which a
-- partitioned table and its partitions share.
WITH wanted AS MATERIALIZED (
  SELECT c.oid
  FROM unnest($1::text[], $2::text[]) w (schema, name)
  JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema
  JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
), switched AS MATERIALIZED (
  -- Up to 14 what a partition has of its parent is called internal, too.
  SELECT g.tgrelid AS relation, 'TRIGGER' AS kind, g.tgname AS name, g.tgenabled AS enabled
  FROM pg_catalog.pg_trigger g
  WHERE g.tgenabled IN ('O', 'R') AND (NOT g.tgisinternal OR g.tgparentid <> 0 AND g.tgconstraint = 0)
  UNION ALL
  SELECT r.ev_class, 'RULE', r.rulename, r.ev_enabled
  FROM pg_catalog.pg_rewrite r
  WHERE r.ev_enabled IN ('O', 'R') AND r.ev_type <> '1'
), met AS (
  SELECT w.oid AS target, s.* FROM switched s JOIN wanted w ON w.oid = s.relation
  UNION
  SELECT w.oid, s.*
  FROM switched s
  CROSS JOIN LATERAL pg_catalog.pg_partition_ancestors(s.relation) a (relid)
  JOIN wanted w ON w.oid = a.relid
  WHERE s.kind = 'TRIGGER'
)
SELECT DISTINCT ON (t.nspname, t.relname, m.kind, m.name, m.enabled)
  pg_catalog.format('%I.%I', n.nspname, c.relname) AS relation,
  m.kind,
  pg_catalog.quote_ident(m.name) AS name,
  m.enabled
FROM met m
JOIN pg_catalog.pg_class c ON c.oid = m.relation
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
  SELECT y.nspname, x.relname FROM pg_catalog.pg_class x JOIN pg_catalog.pg_namespace y ON y.oid = x.relnamespace WHERE x.oid = m.target
) t
ORDER BY t.nspname, t.relname, m.kind, m.name, m.enabled, m.relation <> m.target, c.relname;

-- The tables, or roots that their rows are sent as, that publications $1 send, and a place in the WAL that lies behind all commits that this
-- statement sees. `lsn` is there for a publication of nothing, too. The view opens every table, so it is read once.
WITH sent AS MATERIALIZED (
  SELECT DISTINCT c.oid, n.nspname AS schema, c.relname AS name, c.relispartition AS partition
    FROM pg_publication_tables v
    JOIN pg_namespace n ON n.nspname = v.schemaname
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = v.tablename
   WHERE v.pubname = ANY ($1::text[]) AND c.relkind IN ('r', 'p') AND n.nspname <> 'follower'
), ancestor AS MATERIALIZED (
  SELECT s.oid, a.relid::oid AS relid
    FROM sent s CROSS JOIN LATERAL pg_partition_ancestors(s.oid) a
   WHERE s.partition AND a.relid <> s.oid
), below AS MATERIALIZED (
  -- Published through another publication by its root.
  SELECT a.oid FROM ancestor a JOIN sent k ON k.oid = a.relid
)
SELECT pg_current_wal_insert_lsn() AS lsn, t.oid, t.schema, t.name
  FROM (SELECT) AS one
  LEFT JOIN (SELECT s.* FROM sent s WHERE s.oid NOT IN (SELECT b.oid FROM below b)) AS t ON true;

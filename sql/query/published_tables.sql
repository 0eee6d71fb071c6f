-- What publications $1 send, by table or root: rows of it that satisfy `filter` (all where null), and of these `columns` (all that are
-- not generated where null). Run under the snapshot of a copy: what came later is not seen.
SELECT c.oid,
       -- One publication without a filter sends all rows.
       CASE WHEN bool_and(p.filter IS NOT NULL) THEN string_agg(format('(%s)', p.filter), ' OR ' ORDER BY p.filter) END AS filter,
       -- They have to agree, or the server would not decode.
       min(p.columns) AS columns,
       CASE c.relkind WHEN 'p' THEN (SELECT sum(pg_relation_size(t.relid)) FROM pg_partition_tree(c.oid) t) ELSE pg_relation_size(c.oid) END AS bytes,
       current_setting('block_size') AS block_size
  FROM (SELECT v.schemaname, v.tablename, to_jsonb(v) ->> 'rowfilter' AS filter, to_jsonb(v) ->> 'attnames' AS columns
          FROM pg_publication_tables v WHERE v.pubname = ANY ($1::text[])) p
  JOIN pg_namespace n ON n.nspname = p.schemaname
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename
 WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'follower'
   -- Published through another publication by its root.
   AND NOT EXISTS (
     SELECT FROM pg_partition_ancestors(c.oid) a (relid)
       JOIN pg_class k ON k.oid = a.relid
       JOIN pg_namespace m ON m.oid = k.relnamespace
       JOIN pg_publication_tables v ON v.schemaname = m.nspname AND v.tablename = k.relname AND v.pubname = ANY ($1::text[])
      WHERE a.relid <> c.oid AND c.relispartition)
 GROUP BY c.oid, c.relkind;

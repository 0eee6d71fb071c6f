-- The tables of the follow $1 whose rows are coming right now, with the rows and bytes that are there of them already: what is committed
-- and what the servers count. Rows of another role's COPY are counted by nobody. Rows that come by way of a temporary table, which no other
-- session sees before the COMMIT, are those of the table that the same session has locked.
-- https://www.postgresql.org/docs/current/progress-reporting.html#COPY-PROGRESS-REPORTING
SELECT t.relation, t.schema, t.name,
       t.rows + coalesce(sum(p.tuples_processed), 0) AS rows,
       t.bytes + coalesce(sum(p.bytes_processed), 0) AS bytes,
       (to_jsonb(t) ->> 'file_bytes')::bigint AS file_bytes
  FROM follower.copied_table t
  LEFT JOIN (pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace) ON n.nspname = t.schema AND c.relname = t.name
  LEFT JOIN pg_stat_progress_copy p
    ON p.datname = current_database() AND p.command = 'COPY FROM' AND p.type = 'PIPE'
   AND (p.relid = c.oid
        OR NOT EXISTS (SELECT FROM pg_class s WHERE s.oid = p.relid)
           AND EXISTS (SELECT FROM pg_locks l WHERE l.pid = p.pid AND l.locktype = 'relation' AND l.relation = c.oid AND l.mode = 'RowExclusiveLock'))
 WHERE t.follow = $1 AND (t.state = 'copying' OR t.state = 'waiting' AND p.pid IS NOT NULL)
 GROUP BY t.follow, t.relation
 ORDER BY t.schema, t.name;

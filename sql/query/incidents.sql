-- The incidents of the follow $1, the open one first, then the latest; at most $2.
SELECT i.id, i.code, i.sqlstate, i.message, i.detail, i.lsn, i.xid, i.relation, i.key, i.row_values, i.attempts,
       i.first_at, i.last_at, i.resolved_at, i.resolution
  FROM follower.incident AS i
 WHERE i.name = $1
 ORDER BY i.resolved_at IS NOT NULL, i.id DESC
 LIMIT $2::bigint;

-- What a person said to skip of the follow $1, the latest first; at most $2.
SELECT s.id, s.lsn, s.xid, s.incident, s.reason, s.asked_by, s.asked_at, s.skipped_at, s.commit_time, s.changes, s.void_at
  FROM follower.skip AS s
 WHERE s.name = $1
 ORDER BY s.id DESC
 LIMIT $2::bigint;

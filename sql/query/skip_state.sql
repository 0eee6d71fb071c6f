-- What people said of the follow $1: transactions to leave out, and how many changes were left out so far.
SELECT coalesce((SELECT sum(s.changes) FROM follower.skip AS s WHERE s.name = $1 AND s.skipped_at IS NOT NULL), 0) AS changes,
       (SELECT json_agg(json_build_object('lsn', s.lsn, 'xid', s.xid)) FROM follower.skip AS s
         WHERE s.name = $1 AND s.skipped_at IS NULL AND s.void_at IS NULL) AS asked;

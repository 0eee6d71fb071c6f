-- Asks for transaction $2 of the follow $1 to be skipped for the reason $3, if exactly that one has stopped it.
WITH asked AS (
  INSERT INTO follower.skip (name, lsn, xid, incident, reason)
  SELECT i.name, i.lsn, i.xid, i.id, $3
    FROM follower.incident AS i
    JOIN follower.progress AS p ON p.name = i.name AND p.lsn < i.lsn
   WHERE i.name = $1 AND i.resolved_at IS NULL AND i.lsn = $2::pg_lsn
     FOR UPDATE OF i
  ON CONFLICT (name, lsn) WHERE skipped_at IS NULL AND void_at IS NULL DO NOTHING
  RETURNING id)
SELECT (SELECT count(*) FROM asked) AS asked,
       EXISTS (SELECT FROM follower.skip AS s
                WHERE s.name = $1 AND s.lsn = $2::pg_lsn AND s.skipped_at IS NULL AND s.void_at IS NULL) AS before;

-- Whom the session $1 waits for: running transactions, and prepared ones (pid 0, which no session holds).
SELECT b.pid,
       a.usename AS role,
       a.application_name,
       a.backend_xid AS xid,
       a.state,
       a.xact_start AS since
  FROM unnest(pg_blocking_pids($1::integer)) AS b (pid)
  JOIN pg_stat_activity AS a ON a.pid = b.pid
UNION ALL
SELECT 0, x.owner, x.gid, x.transaction, 'prepared', x.prepared
  FROM pg_prepared_xacts AS x
  JOIN pg_locks AS l ON l.locktype = 'transactionid' AND l.transactionid = x.transaction AND NOT l.granted
 WHERE l.pid = $1::integer;

-- The replication slot $1, and where the upstream's WAL ends. to_jsonb, since columns were added over the majors
-- (invalidation_reason, conflicting, two_phase, failover): what a server doesn't have is null.
SELECT s.slot_name AS name,
       s.slot_type AS type,
       s.plugin,
       s.database,
       s.temporary,
       s.active_pid,
       s.restart_lsn,
       s.confirmed_flush_lsn,
       s.wal_status,
       s.safe_wal_size,
       to_jsonb(s) ->> 'invalidation_reason' AS invalidation_reason,
       CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_current_wal_lsn() - s.restart_lsn END AS retained_bytes,
       a.application_name,
       a.client_addr
  FROM pg_replication_slots AS s
  LEFT JOIN pg_stat_activity AS a ON a.pid = s.active_pid
 WHERE s.slot_name = $1;

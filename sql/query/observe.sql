-- Where the upstream's WAL ends, and whether a commit may wait for the walsender of slot $1.
SELECT pg_current_wal_lsn() AS lsn,
       EXISTS (
         SELECT
           FROM pg_replication_slots AS s
           JOIN pg_stat_replication AS r ON r.pid = s.active_pid
          WHERE s.slot_name = $1 AND r.sync_state <> 'async'
       ) AS waiting;

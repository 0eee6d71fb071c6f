-- What tells whether the slot $1 may be copied to pull what it holds, and where the upstream's flushed WAL ends. to_jsonb and a setting that may be
-- missing, since columns were added over the majors (two_phase, failover): what a server doesn't have is null.
SELECT pg_current_wal_flush_lsn() AS flush_lsn,
       s.confirmed_flush_lsn,
       s.active_pid IS NOT NULL AS held,
       coalesce((to_jsonb(s) ->> 'two_phase')::boolean, false) AS two_phase,
       coalesce((to_jsonb(s) ->> 'failover')::boolean, false)
         AND coalesce(current_setting('synchronized_standby_slots', true), '') <> '' AS waits_for_standbys
  FROM pg_replication_slots AS s
 WHERE s.slot_name = $1;

-- The session that brings the backlog of slot $1 in windows, by a temporary copy of the slot: that is called so by src/provision/cursor.ts.
SELECT c.active_pid AS pid, a.application_name, a.client_addr
  FROM pg_replication_slots AS s
  JOIN pg_replication_slots AS c
    ON c.temporary AND c.database = s.database AND c.slot_name ~ '_pull_[0-9a-f]{12}$'
   AND left(c.slot_name::text, -18) = left(s.slot_name::text, 45)
  JOIN pg_stat_activity AS a ON a.pid = c.active_pid
 WHERE s.slot_name = $1;

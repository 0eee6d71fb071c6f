-- Whether slot $1 reads only what comes after the WAL segment $2 (24 hexadecimal digits, the first 8 of the timeline).
SELECT substr(pg_walfile_name(restart_lsn), 9) COLLATE "C" > substr($2, 9) AS beyond
  FROM pg_replication_slots
 WHERE slot_name = $1;

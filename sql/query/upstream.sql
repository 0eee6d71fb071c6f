-- What the preflight of a follow asks the upstream's server, in one row. No parameters.
SELECT current_setting('server_version_num') AS version,
       current_setting('server_version') AS version_text,
       (SELECT system_identifier FROM pg_control_system()) AS system_identifier,
       current_database() AS database,
       pg_is_in_recovery() AS in_recovery,
       -- The name of a WAL file begins with its timeline; pg_control_checkpoint() lags behind a promotion.
       CASE WHEN NOT pg_is_in_recovery()
            THEN ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer
       END AS timeline,
       CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_flush_lsn() END AS flush_lsn,
       current_setting('wal_level') AS wal_level,
       current_setting('max_replication_slots') AS max_replication_slots,
       (SELECT count(*) FROM pg_replication_slots) AS slots,
       (SELECT string_agg(
                 format('%s (%s, %s, since %s)', s.slot_name, coalesce(s.plugin, s.slot_type),
                        CASE WHEN s.active THEN 'active' ELSE 'inactive' END, s.restart_lsn),
                 E'\n' ORDER BY s.active, s.restart_lsn)
          FROM pg_replication_slots AS s) AS slot_list,
       current_setting('max_wal_senders') AS max_wal_senders,
       (SELECT count(*) FROM pg_stat_replication) AS wal_senders,
       (SELECT setting FROM pg_settings WHERE name = 'wal_sender_timeout') AS wal_sender_timeout_ms,
       current_setting('max_slot_wal_keep_size') AS max_slot_wal_keep_size,
       r.rolname AS role,
       r.rolsuper AS superuser,
       r.rolsuper OR r.rolreplication AS may_replicate,
       has_database_privilege(current_database(), 'CREATE') AS may_create,
       obj_description(to_regnamespace('follower'), 'pg_namespace') AS capture_mark,
       -- What hand_over() gives: the registry, the key, and a capture that has this role's rights.
       EXISTS (
         SELECT
           FROM pg_namespace AS n
           JOIN pg_class AS f ON f.relnamespace = n.oid AND f.relname = 'follow'
           JOIN pg_class AS s ON s.relnamespace = n.oid AND s.relname = 'secret'
           JOIN pg_proc AS p ON p.pronamespace = n.oid AND p.proname = 'capture_ddl'
          WHERE n.nspname = 'follower' AND has_schema_privilege(n.oid, 'USAGE')
            AND has_table_privilege(f.oid, 'INSERT') AND has_table_privilege(s.oid, 'SELECT')
            AND pg_has_role(p.proowner, r.oid, 'USAGE')) AS capture_rights
  FROM pg_roles AS r
 WHERE r.rolname = current_user;

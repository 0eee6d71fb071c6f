-- What the preflight of a follow asks the downstream's server, in one row. No parameters.
SELECT current_setting('server_version_num') AS version,
       current_setting('server_version') AS version_text,
       current_database() AS database,
       pg_is_in_recovery() AS in_recovery,
       current_setting('transaction_read_only') AS read_only,
       r.rolname AS role,
       r.rolsuper AS superuser,
       has_database_privilege(current_database(), 'CREATE') AS may_create,
       to_regclass('follower.progress') IS NOT NULL AS has_progress
  FROM pg_roles AS r
 WHERE r.rolname = current_user;

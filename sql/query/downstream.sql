-- What the preflight of a follow asks the downstream's server, in one row. No parameters.
SELECT current_setting('server_version_num') AS version,
       current_setting('server_version') AS version_text,
       current_database() AS database,
       pg_is_in_recovery() AS in_recovery,
       current_setting('transaction_read_only') AS read_only,
       -- A superuser may have given it to the role or the database, and the role need not be able to set it.
       current_setting('session_replication_role') AS replication_role,
       r.rolname AS role,
       r.rolsuper AS superuser,
       has_database_privilege(current_database(), 'CREATE') AS may_create,
       (SELECT o.rolname FROM pg_namespace AS n JOIN pg_roles AS o ON o.oid = n.nspowner
         WHERE n.nspname = 'follower' AND NOT pg_has_role(n.nspowner, 'USAGE')) AS foreign_owner
  FROM pg_roles AS r
 WHERE r.rolname = current_user;

-- What a role has of what `follower print grants` prints; no row where there is no such role. $1: the role.
SELECT r.rolsuper AS superuser,
       r.rolcanlogin AS login,
       r.rolinherit AS inherit,
       r.rolreplication AS replication,
       has_database_privilege(r.oid, d.oid, 'CONNECT') AS connect,
       has_database_privilege(r.oid, d.oid, 'CREATE') AS create
  FROM pg_roles AS r
  CROSS JOIN pg_database AS d
 WHERE r.rolname = $1 AND d.datname = current_database();

-- What objects need of the server that a database is on: roles in grants and policies, tablespaces.
SELECT 'role' AS kind, r.rolname AS name, c.relname AS catalog, d.objid AS object, d.deptype = 'a' AS granted
FROM pg_shdepend d
JOIN pg_roles r ON d.refclassid = 'pg_authid'::regclass AND r.oid = d.refobjid
JOIN pg_class c ON c.oid = d.classid
WHERE d.dbid = (SELECT b.oid FROM pg_database b WHERE b.datname = current_database()) AND d.deptype IN ('a', 'r')

UNION ALL
SELECT 'tablespace', s.spcname, 'pg_class', c.oid, false FROM pg_class c JOIN pg_tablespace s ON s.oid = c.reltablespace WHERE c.oid >= 16384;

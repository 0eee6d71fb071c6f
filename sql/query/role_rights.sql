-- Attributes of a role, every role that it is a member of, directly or not, and whether the session's role may act for it: own what it
-- owns, and make it the owner of a function in pg_temp. No row where there is no such role.
-- $1: name of the role
SELECT r.rolsuper AS superuser, r.rolcreaterole AS createrole, r.rolcreatedb AS createdb,
       r.rolreplication AS replication, r.rolbypassrls AS bypassrls,
       coalesce((
         WITH RECURSIVE member (oid) AS (
           SELECT m.roleid FROM pg_catalog.pg_auth_members m WHERE m.member = r.oid
           UNION
           SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN member ON m.member = member.oid
         )
         SELECT pg_catalog.jsonb_agg(g.rolname) FROM member JOIN pg_catalog.pg_roles g USING (oid)
       ), '[]') AS member_of,
       pg_catalog.pg_has_role(r.oid, 'USAGE') AND pg_catalog.pg_has_role(r.oid,
         CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END) AS may_act,
       pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY')
         AND (pg_catalog.has_database_privilege(r.oid, pg_catalog.current_database(), 'TEMPORARY')
           -- whose ALTER FUNCTION ... OWNER TO asks for nothing
           OR EXISTS (SELECT FROM pg_catalog.pg_roles s WHERE s.rolname = current_user AND s.rolsuper)) AS may_use_temporary,
       pg_catalog.current_database() AS database
  FROM pg_catalog.pg_roles r
 WHERE r.rolname = $1::name

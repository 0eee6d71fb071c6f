-- Attributes of a role, and every role that it is a member of, directly or not. No row where there is no such role.
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
       ), '[]') AS member_of
  FROM pg_catalog.pg_roles r
 WHERE r.rolname = $1::name

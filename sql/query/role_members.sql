-- Which of the roles $2 exist, and whether the role $1 has their rights and may become them (or is one of them). $1 need not exist.
SELECT o.rolname AS name,
       o.rolname = $1 OR coalesce(pg_has_role(r.oid, o.oid, 'USAGE') AND pg_has_role(r.oid, o.oid,
         CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END), false) AS member
  FROM pg_roles AS o
  LEFT JOIN pg_roles AS r ON r.rolname = $1
 WHERE o.rolname = ANY ($2::name[]) AND NOT o.rolsuper
 ORDER BY 1;

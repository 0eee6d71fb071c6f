-- What functions of these names promise about their result: the worst of the overloaded ones.
-- $1: names, without schema
-- builtin: all of them are in pg_catalog
SELECT p.proname AS name,
       pg_catalog.max(CASE p.provolatile WHEN 'v' THEN 2 WHEN 's' THEN 1 ELSE 0 END) AS volatility,
       pg_catalog.bool_and(p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace) AS builtin
  FROM pg_catalog.pg_proc p
 WHERE p.proname = ANY ($1::name[])
 GROUP BY p.proname

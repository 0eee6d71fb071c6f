-- Bodies of the functions and procedures in language SQL that have a name. A body that is no string (BEGIN ATOMIC) has none.
-- $1: name, without schema
SELECT p.prosrc AS source
  FROM pg_catalog.pg_proc p
  JOIN pg_catalog.pg_language l ON l.oid = p.prolang
 WHERE p.proname = $1::name AND l.lanname = 'sql'

-- The publications whose comment is $1: those that a start made for its follow.
SELECT p.pubname AS name
  FROM pg_publication AS p
 WHERE obj_description(p.oid, 'pg_publication') = $1
 ORDER BY 1;

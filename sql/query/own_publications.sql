-- The publications whose comment is $1: those that a start made for its follow; and whether this role may drop them.
SELECT p.pubname AS name,
       pg_has_role(p.pubowner, 'USAGE') AS mine
  FROM pg_publication AS p
 WHERE obj_description(p.oid, 'pg_publication') = $1
 ORDER BY 1;

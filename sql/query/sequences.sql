-- Sequences whose positions a copy brings, and whether this role may read them.
SELECT n.nspname AS schema, c.relname AS name, s.seqstart AS start, current_user AS role,
  -- NULL where it is gone since the snapshot.
  has_schema_privilege(n.oid, 'USAGE') AS reachable, has_schema_privilege(n.oid, 'USAGE') AND has_sequence_privilege(c.oid, 'SELECT') AS readable,
  EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') AS member
FROM pg_sequence s
JOIN pg_class c ON c.oid = s.seqrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence <> 't' AND n.nspname <> 'follower'
ORDER BY 1, 2;

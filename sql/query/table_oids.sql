-- OIDs of the tables $1 (schemas), $2 (names), or of every table and partitioned table where $1 is empty; one array.
SELECT ARRAY(
  SELECT c.oid
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
   WHERE c.relkind IN ('r', 'p')
     AND c.oid >= 16384
     AND (cardinality($1::text[]) = 0
          OR (n.nspname, c.relname) IN (SELECT w.schema, w.name FROM unnest($1::text[], $2::text[]) AS w (schema, name)))
   ORDER BY c.oid) AS oids;

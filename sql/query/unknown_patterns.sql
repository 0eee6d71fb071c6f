-- Which of the patterns $1 (schemas) and $2 (tables, '*' for all) name nothing in this database.
SELECT p.schema, p.name
  FROM unnest($1::text[], $2::text[]) AS p (schema, name)
  LEFT JOIN pg_namespace AS n ON n.nspname = p.schema
 WHERE n.oid IS NULL
    OR p.name <> '*' AND NOT EXISTS (
         SELECT FROM pg_class AS c
          WHERE c.relnamespace = n.oid AND c.relname = p.name AND c.relkind IN ('r', 'p'));

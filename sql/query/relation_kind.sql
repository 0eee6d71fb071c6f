-- pg_class.relkind of the relation $2 in schema $1; no row where there is none (any more).
SELECT c.relkind AS kind
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE n.nspname = $1 AND c.relname = $2;

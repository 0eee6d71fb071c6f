-- Defaults of the domains of these names.
-- $1: names, without schema
SELECT t.typdefault AS expression
  FROM pg_catalog.pg_type t
 WHERE t.typname = ANY ($1::name[]) AND t.typtype = 'd' AND t.typdefault IS NOT NULL

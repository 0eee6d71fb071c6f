-- What of what a copied schema needs there is downstream: roles, tablespaces and extensions by name; and what the server made, as
-- grants.sql names it (quote_all_identifiers is on).
SELECT 'role' AS kind, rolname AS name FROM pg_roles
UNION ALL SELECT 'tablespace', spcname FROM pg_tablespace
UNION ALL SELECT 'extension', name FROM pg_available_extensions
UNION ALL SELECT 'pg_proc', oid::regprocedure::text FROM pg_proc WHERE oid < 16384
UNION ALL SELECT 'pg_class', format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid < 16384
UNION ALL SELECT 'pg_type', format('%I.%I', n.nspname, t.typname) FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.oid < 16384
UNION ALL SELECT 'pg_namespace', quote_ident(nspname) FROM pg_namespace WHERE oid < 16384
UNION ALL SELECT 'pg_language', quote_ident(lanname) FROM pg_language WHERE oid < 16384;

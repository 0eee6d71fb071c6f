-- Which of the roles $1 (quoted as identifiers) are superusers that the session's role may not act for.
SELECT DISTINCT w.owner
FROM unnest($1::text[]) w (owner)
JOIN pg_catalog.pg_roles r ON pg_catalog.format('"%s"', replace(r.rolname::text, '"', '""')) = w.owner
WHERE r.rolsuper AND NOT pg_catalog.pg_has_role(r.oid, 'USAGE')

-- Constraints that are no part of their table's or type's definition and have no index: foreign keys, and what is not validated.
SELECT 'pg_constraint' AS catalog, k.oid AS object, CASE k.contype WHEN 'f' THEN 'FK CONSTRAINT' ELSE 'CHECK CONSTRAINT' END AS kind,
  n.nspname AS schema, format('%s %s', coalesce(c.relname, t.typname), k.conname) AS name,
  CASE WHEN c.oid IS NULL THEN format('ALTER DOMAIN %s ADD CONSTRAINT %I %s', format_type(t.oid, NULL), k.conname, pg_get_constraintdef(k.oid))
    -- A foreign key's parts of partitions, and inherited checks, come with it.
    ELSE format('ALTER TABLE %s%s ADD CONSTRAINT %I %s', CASE WHEN k.contype = 'f' AND c.relkind <> 'p' THEN 'ONLY ' END, c.oid::regclass, k.conname,
      pg_get_constraintdef(k.oid)) END AS statement, NULL AS alter, NULL AS owner, NULL AS after
FROM pg_constraint k
LEFT JOIN pg_class c ON c.oid = k.conrelid
LEFT JOIN pg_type t ON t.oid = k.contypid
JOIN pg_namespace n ON n.oid = coalesce(c.relnamespace, t.typnamespace)
WHERE k.oid >= 16384 AND coalesce(c.relpersistence <> 't', true)
  AND (k.contype = 'f' AND k.conparentid = 0 OR k.contype IN ('c', 'n') AND NOT k.convalidated AND k.conislocal);

-- Enums, composite types, ranges and domains.
WITH type AS (
  SELECT t.*, n.nspname, format('%I.%I', n.nspname, t.typname) AS named
  FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
  WHERE t.oid >= 16384
)
SELECT 'pg_type' AS catalog, t.oid AS object, CASE t.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END AS kind, t.nspname AS schema, t.typname AS name,
  CASE t.typtype
    WHEN 'e' THEN format('CREATE TYPE %s AS ENUM (%s)', t.named,
      (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid))
    WHEN 'c' THEN format('CREATE TYPE %s AS (%s)', t.named,
      (SELECT string_agg(concat(quote_ident(a.attname), ' ', format_type(a.atttypid, a.atttypmod),
          (SELECT format(' COLLATE %I.%I', s.nspname, o.collname) FROM pg_collation o JOIN pg_namespace s ON s.oid = o.collnamespace
            WHERE o.oid = a.attcollation AND o.oid <> y.typcollation)), ', ' ORDER BY a.attnum)
        FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped))
    WHEN 'r' THEN (
      SELECT format('CREATE TYPE %s AS RANGE (%s)', t.named, concat_ws(', ',
        'SUBTYPE = ' || format_type(r.rngsubtype, NULL),
        (SELECT format('SUBTYPE_OPCLASS = %I.%I', s.nspname, o.opcname) FROM pg_opclass o JOIN pg_namespace s ON s.oid = o.opcnamespace WHERE o.oid = r.rngsubopc),
        (SELECT format('COLLATION = %I.%I', s.nspname, o.collname) FROM pg_collation o JOIN pg_namespace s ON s.oid = o.collnamespace WHERE o.oid = r.rngcollation),
        'SUBTYPE_DIFF = ' || nullif(r.rngsubdiff, 0)::regproc,
        'MULTIRANGE_TYPE_NAME = ' || format_type(r.rngmultitypid, NULL)))
      FROM pg_range r WHERE r.rngtypid = t.oid)
    ELSE concat('CREATE DOMAIN ', t.named, ' AS ', format_type(t.typbasetype, t.typtypmod),
      (SELECT format(' COLLATE %I.%I', s.nspname, o.collname) FROM pg_collation o JOIN pg_namespace s ON s.oid = o.collnamespace
        WHERE o.oid = t.typcollation AND o.oid <> (SELECT b.typcollation FROM pg_type b WHERE b.oid = t.typbasetype)),
      ' DEFAULT ' || coalesce(pg_get_expr(t.typdefaultbin, 'pg_type'::regclass), quote_literal(t.typdefault)),
      CASE WHEN t.typnotnull THEN concat((SELECT format(' CONSTRAINT %I', k.conname) FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'n'), ' NOT NULL') END,
      (SELECT string_agg(format(E'\n    CONSTRAINT %I %s', k.conname, pg_get_constraintdef(k.oid)), '' ORDER BY k.conname)
        FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c' AND k.convalidated)) END AS statement,
  CASE t.typtype WHEN 'd' THEN 'DOMAIN ' ELSE 'TYPE ' END || t.named AS alter, pg_get_userbyid(t.typowner) AS owner, NULL AS after
FROM type t
WHERE t.typtype IN ('e', 'd')
  OR t.typtype = 'c' AND (SELECT c.relkind FROM pg_class c WHERE c.oid = t.typrelid) = 'c'
  OR t.typtype = 'r' AND (SELECT r.rngcanonical FROM pg_range r WHERE r.rngtypid = t.oid) = 0;

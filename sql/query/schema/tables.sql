-- Tables, without what comes apart from them: defaults, identities, keys, places among partitions. $1: the other end's major.
WITH relation AS (
  SELECT c.*, n.nspname, format('%I.%I', n.nspname, c.relname) AS named,
    NOT c.relispartition AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid) AS inherits
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
), attribute AS (
  SELECT a.attrelid, a.attnum, a.attislocal OR NOT c.inherits AS own, c.reloftype <> 0 AS typed,
    format('%I ', a.attname) AS named,
    concat(format_type(a.atttypid, a.atttypmod),
      (SELECT format(' COLLATE %I.%I', s.nspname, o.collname) FROM pg_collation o JOIN pg_namespace s ON s.oid = o.collnamespace
        WHERE o.oid = a.attcollation AND o.oid <> t.typcollation)) AS type,
    concat(
      CASE WHEN a.attgenerated <> '' THEN
        format(' GENERATED ALWAYS AS (%s) %s', pg_get_expr(d.adbin, d.adrelid), CASE a.attgenerated WHEN 's' THEN 'STORED' ELSE 'VIRTUAL' END) END,
      -- Since 18 each has a name; one that is not validated comes apart.
      CASE WHEN a.attnotnull AND coalesce(k.convalidated AND (k.conislocal OR NOT c.inherits), true) THEN
        concat(' CONSTRAINT ' || quote_ident(k.conname), ' NOT NULL', CASE WHEN k.connoinherit THEN ' NO INHERIT' END) END) AS options,
    CASE WHEN k.conislocal AND k.convalidated AND $1::integer >= 18 THEN format('CONSTRAINT %I NOT NULL %I%s', k.conname, a.attname, CASE WHEN k.connoinherit THEN ' NO INHERIT' END) END AS named_filled,
    CASE WHEN a.attnotnull AND (k.oid IS NULL OR k.convalidated AND k.conislocal AND $1::integer < 18) THEN format('ALTER TABLE ONLY %s ALTER COLUMN %I SET NOT NULL', c.named, a.attname) END AS later
  FROM relation c
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  LEFT JOIN pg_constraint k ON k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum]
), element AS (
  SELECT a.attrelid, a.attnum::bigint AS place,
    CASE WHEN a.typed THEN a.named || 'WITH OPTIONS' || a.options ELSE a.named || a.type || a.options END AS text
  FROM attribute a WHERE a.own AND (NOT a.typed OR a.options <> '')
  UNION ALL
  -- What an heir says of a column that it has from its parent.
  SELECT a.attrelid, a.attnum, a.named_filled FROM attribute a WHERE NOT a.own AND a.named_filled IS NOT NULL
  UNION ALL
  SELECT k.conrelid, 10000 + row_number() OVER (ORDER BY k.conname), format('CONSTRAINT %I %s', k.conname, pg_get_constraintdef(k.oid))
  FROM pg_constraint k JOIN relation c ON c.oid = k.conrelid
  WHERE k.contype = 'c' AND k.convalidated AND (k.conislocal OR NOT c.inherits)
), body AS (
  SELECT e.attrelid, string_agg(e.text, E',\n    ' ORDER BY e.place) AS text FROM element e GROUP BY e.attrelid
), later AS (
  SELECT a.attrelid, string_agg(a.later, E';\n' ORDER BY a.attnum) AS text FROM attribute a WHERE NOT a.own AND a.later IS NOT NULL GROUP BY a.attrelid
)
SELECT 'pg_class' AS catalog, c.oid AS object, 'TABLE' AS kind, c.nspname AS schema, c.relname AS name,
  concat(
    CASE c.relpersistence WHEN 'u' THEN 'CREATE UNLOGGED TABLE ' ELSE 'CREATE TABLE ' END, c.named,
    CASE WHEN c.reloftype <> 0 THEN ' OF ' || format_type(c.reloftype, NULL) || coalesce(E' (\n    ' || b.text || E'\n)', '')
      ELSE coalesce(E' (\n    ' || b.text || E'\n)', ' ()') END,
    CASE WHEN c.inherits THEN
      (SELECT format(' INHERITS (%s)', string_agg(i.inhparent::regclass::text, ', ' ORDER BY i.inhseqno)) FROM pg_inherits i WHERE i.inhrelid = c.oid) END,
    ' PARTITION BY ' || pg_get_partkeydef(c.oid),
    (SELECT format(' USING %I', m.amname) FROM pg_am m WHERE m.oid = c.relam AND m.amname <> 'heap'),
    (SELECT format(' WITH (%s)', string_agg(format('%s=%L', split_part(o.text, '=', 1), substr(o.text, strpos(o.text, '=') + 1)), ', '))
      FROM (SELECT unnest(c.reloptions) UNION ALL
            SELECT 'toast.' || unnest(s.reloptions) FROM pg_class s WHERE s.oid = c.reltoastrelid) o (text) HAVING count(*) > 0),
    (SELECT format(' TABLESPACE %I', s.spcname) FROM pg_tablespace s WHERE s.oid = c.reltablespace)) AS statement,
  'TABLE ' || c.named AS alter, pg_get_userbyid(c.relowner) AS owner,
  concat_ws(E';\n', l.text,
    CASE c.relreplident WHEN 'f' THEN format('ALTER TABLE ONLY %s REPLICA IDENTITY FULL', c.named)
      WHEN 'n' THEN format('ALTER TABLE ONLY %s REPLICA IDENTITY NOTHING', c.named) END) AS after
FROM relation c LEFT JOIN body b ON b.attrelid = c.oid LEFT JOIN later l ON l.attrelid = c.oid;

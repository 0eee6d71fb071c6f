-- Whose code the rows of downstream tables run. $1 schemas, $2 tables: one row, by its place among them, for each table that belongs
-- neither to a superuser nor to the session's own role, or has such a partition. `risky`: its rows may run code of these roles, since
-- there is a trigger, a rule, or an expression that is not provably harmless; what cannot be told counts as such.
WITH RECURSIVE untrusted AS MATERIALIZED (
  SELECT r.oid, r.rolname FROM pg_catalog.pg_roles r WHERE NOT r.rolsuper AND r.rolname <> current_user
), target AS MATERIALIZED (
  SELECT w.place, c.oid, c.relowner
  FROM unnest($1::text[], $2::text[]) WITH ORDINALITY w (schema, name, place)
  JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema
  JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind IN ('r', 'p', 'f', 'v')
), part AS MATERIALIZED (
  SELECT t.place, c.oid, c.relkind, u.oid AS owner, u.rolname
  FROM target t
  CROSS JOIN LATERAL (
    SELECT t.oid UNION SELECT p.relid::oid FROM pg_catalog.pg_partition_tree(t.oid) p
    -- the keys of what it is a partition of are in its own constraint
    UNION SELECT a.relid::oid FROM pg_catalog.pg_partition_ancestors(t.oid) a (relid)) k (oid)
  JOIN pg_catalog.pg_class c ON c.oid = k.oid
  LEFT JOIN untrusted u ON u.oid = c.relowner
), watched AS MATERIALIZED (
  SELECT * FROM part p WHERE p.place IN (SELECT u.place FROM part u WHERE u.owner IS NOT NULL)
), type AS (
  -- what a value is made of
  SELECT w.place, a.atttypid AS oid
  FROM watched w JOIN pg_catalog.pg_attribute a ON a.attrelid = w.oid AND a.attnum > 0 AND NOT a.attisdropped
  UNION
  SELECT t.place, m.oid
  FROM type t
  JOIN pg_catalog.pg_type y ON y.oid = t.oid
  CROSS JOIN LATERAL (
    SELECT y.typelem UNION ALL SELECT y.typbasetype
    UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE a.attrelid = y.typrelid AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = y.oid
    UNION ALL SELECT r.rngtypid FROM pg_catalog.pg_range r WHERE r.rngmultitypid = y.oid) m (oid)
  WHERE m.oid <> 0
), expression AS MATERIALIZED (
  SELECT w.place, x.expression
  FROM watched w
  CROSS JOIN LATERAL (
    SELECT d.adbin::text FROM pg_catalog.pg_attrdef d WHERE d.adrelid = w.oid
    UNION ALL SELECT k.conbin::text FROM pg_catalog.pg_constraint k WHERE k.conrelid = w.oid
    UNION ALL SELECT i.indexprs::text FROM pg_catalog.pg_index i WHERE i.indrelid = w.oid
    UNION ALL SELECT i.indpred::text FROM pg_catalog.pg_index i WHERE i.indrelid = w.oid
    UNION ALL SELECT p.partexprs::text FROM pg_catalog.pg_partitioned_table p WHERE p.partrelid = w.oid
    -- the planner folds what is constant in them
    UNION ALL SELECT s.stxexprs::text FROM pg_catalog.pg_statistic_ext s WHERE s.stxrelid = w.oid) x (expression)
  WHERE x.expression IS NOT NULL
  UNION
  SELECT t.place, x.expression
  FROM type t
  CROSS JOIN LATERAL (
    SELECT k.conbin::text FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid
    UNION ALL SELECT y.typdefaultbin::text FROM pg_catalog.pg_type y WHERE y.oid = t.oid) x (expression)
  WHERE x.expression IS NOT NULL
), used AS MATERIALIZED (
  SELECT DISTINCT e.place, m.match[1] AS field, m.match[2]::bigint AS oid
  FROM expression e, pg_catalog.regexp_matches(e.expression, ':(funcid|opfuncid|hashfuncid|negfuncid|opno|\w*type(?:id|Id)?) (\d+)', 'g') m (match)
), called AS MATERIALIZED (
  SELECT u.place, coalesce(o.oprcode::oid, u.oid::oid) AS oid
  FROM used u LEFT JOIN pg_catalog.pg_operator o ON o.oid = u.oid AND u.field = 'opno'
  WHERE u.field ~ '(funcid|opno)$' AND u.oid <> 0
), unsafe AS MATERIALIZED (
  SELECT e.place
  FROM expression e, pg_catalog.regexp_matches(e.expression, '\{([A-Z_]+)', 'g') m (node)
  WHERE m.node[1] NOT IN (
    'ARRAYCOERCEEXPR', 'ARRAYEXPR', 'BOOLEANTEST', 'BOOLEXPR', 'CASEEXPR', 'CASETESTEXPR', 'CASEWHEN', 'COALESCEEXPR', 'COERCETODOMAIN',
    'COERCETODOMAINVALUE', 'COERCEVIAIO', 'COLLATEEXPR', 'CONST', 'DISTINCTEXPR', 'FIELDSELECT', 'FUNCEXPR', 'MINMAXEXPR', 'NULLIFEXPR',
    'NULLTEST', 'OPEXPR', 'RELABELTYPE', 'SCALARARRAYOPEXPR', 'SQLVALUEFUNCTION', 'SUBSCRIPTINGREF', 'VAR')
  UNION ALL
  SELECT c.place
  FROM called c
  -- C needs a superuser, and is an extension's.
  WHERE NOT EXISTS (
    SELECT FROM pg_catalog.pg_proc f
    WHERE f.oid = c.oid AND (
      f.provolatile = 'i' AND f.proname <> 'satisfies_hash_partition' AND (f.oid < 16384
        OR f.prolang = (SELECT l.oid FROM pg_catalog.pg_language l WHERE l.lanname = 'c') AND f.proowner NOT IN (SELECT u.oid FROM untrusted u))
      -- They neither run nor read anything by name.
      OR f.oid < 16384 AND (f.proname IN (
        'nextval', 'now', 'transaction_timestamp', 'statement_timestamp', 'clock_timestamp', 'random', 'gen_random_uuid', 'uuidv4', 'uuidv7',
        'timezone', 'date', 'time', 'timetz', 'timestamp', 'timestamptz', 'date_part', 'extract', 'date_trunc', 'age', 'to_char',
        'to_timestamp', 'to_date', 'concat', 'concat_ws', 'format', 'timestamptz_pl_interval', 'timestamptz_mi_interval')
        OR f.proname ~ '^(date|timestamp|timestamptz)_(lt|le|eq|ne|ge|gt)_(date|timestamp|timestamptz)$')))
  UNION ALL
  SELECT u.place
  FROM used u
  -- Of the types that an expression names, those that its table's values are made of are looked at themselves.
  WHERE u.field !~ '(funcid|opno)$' AND u.oid >= 16384 AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_type y LEFT JOIN pg_catalog.pg_type m ON m.oid = y.typelem AND y.typcategory = 'A'
    WHERE y.oid = u.oid AND (coalesce(m.typtype, y.typtype) IN ('b', 'e')
      OR EXISTS (SELECT FROM type t WHERE t.place = u.place AND t.oid IN (y.oid, m.oid))))
  UNION ALL
  SELECT t.place
  FROM type t JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid
  WHERE r.rngcanonical >= 16384 OR r.rngsubdiff >= 16384
  UNION ALL
  SELECT w.place FROM watched w WHERE w.relkind IN ('f', 'v')
  UNION ALL
  SELECT w.place
  FROM watched w JOIN pg_catalog.pg_trigger g ON g.tgrelid = w.oid AND NOT g.tgisinternal
    AND g.tgenabled IN ('A', CASE pg_catalog.current_setting('session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END)
  UNION ALL
  SELECT w.place
  FROM watched w JOIN pg_catalog.pg_rewrite g ON g.ev_class = w.oid
    AND g.ev_enabled IN ('A', CASE pg_catalog.current_setting('session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END)
)
SELECT
  t.place,
  coalesce(r.rolname, p.rolname) AS owner,
  coalesce(r.oid, p.owner)::bigint AS owner_oid,
  -- A partition, or what the table is a partition of, of another role than the table's, which is trusted.
  CASE WHEN r.oid IS NULL THEN p.oid::pg_catalog.regclass::text END AS partition,
  t.place IN (SELECT u.place FROM unsafe u) AS risky,
  (SELECT d.rolsuper OR pg_catalog.pg_has_role(d.oid, coalesce(r.oid, p.owner),
      CASE WHEN pg_catalog.current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END)
    FROM pg_catalog.pg_roles d WHERE d.rolname = current_user) AS may_act,
  (SELECT coalesce(json_object_agg(a.attname, json_build_object(
      'type', pg_catalog.format('%I.%I', n.nspname, y.typname),
      -- A cast from text by a function is another thing than the type's input.
      'cast', EXISTS (
        WITH RECURSIVE base AS (
          SELECT y.oid, y.typbasetype
          UNION ALL SELECT d.oid, d.typbasetype FROM base b JOIN pg_catalog.pg_type d ON d.oid = b.typbasetype)
        SELECT FROM base b JOIN pg_catalog.pg_cast k ON k.casttarget = b.oid
        WHERE k.castsource = 'pg_catalog.text'::regtype AND k.castfunc <> 0))), '{}')
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_type y ON y.oid = a.atttypid
    JOIN pg_catalog.pg_namespace n ON n.oid = y.typnamespace
    WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped) AS casts
FROM target t
LEFT JOIN untrusted r ON r.oid = t.relowner
JOIN (SELECT DISTINCT ON (p.place) p.* FROM part p WHERE p.owner IS NOT NULL ORDER BY p.place, p.oid) p ON p.place = t.place;

-- For each of the tables $1 (schemas), $2 (names): is it there, and does it hold a row of its own?
-- query_to_xml runs one EXISTS per table inside the server. Each keeps its lock until the statement ends, so the
-- caller asks for some hundred tables at a time. A table that this role can't read counts by its size.
SELECT w.schema,
       w.name,
       c.oid IS NOT NULL AS present,
       CASE
         WHEN c.oid IS NULL THEN false
         WHEN c.relkind = 'r' AND pg_relation_size(c.oid) = 0 THEN false
         WHEN NOT has_table_privilege(c.oid, 'SELECT') OR row_security_active(c.oid) THEN
           c.relkind = 'r' OR EXISTS (SELECT FROM pg_partition_tree(c.oid) AS t WHERE t.isleaf AND pg_relation_size(t.relid) > 0)
         ELSE query_to_xml(
                format('SELECT EXISTS (SELECT FROM %s %I.%I) AS filled',
                       CASE c.relkind WHEN 'r' THEN 'ONLY' ELSE '' END, w.schema, w.name),
                false, true, '')::text LIKE '%<filled>true</filled>%'
       END AS filled
  FROM unnest($1::text[], $2::text[]) AS w (schema, name)
  LEFT JOIN pg_namespace AS n ON n.nspname = w.schema
  LEFT JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind IN ('r', 'p')
 ORDER BY 1, 2;

-- The tables that a follow carries: ordinary tables and leaf partitions, with what the preflight wants to know.
-- $1, $2: patterns as two arrays, schemas and tables ('*' for all); empty for every table.
-- $3: publications that the user named; where there are any, they decide and the patterns say nothing.
WITH matched AS (
  SELECT c.oid, c.relkind, true AS publishes_changes, NULL::oid AS root
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
   WHERE cardinality($3::text[]) = 0
     AND c.relkind IN ('r', 'p')
     AND (cardinality($1::text[]) = 0 OR EXISTS (
           SELECT FROM unnest($1::text[], $2::text[]) AS p (schema, name)
            WHERE p.schema = n.nspname AND p.name IN (c.relname, '*')))
  UNION ALL
  SELECT c.oid, c.relkind, p.pubupdate OR p.pubdelete, CASE WHEN p.pubviaroot THEN c.oid END
    FROM pg_publication AS p,
         pg_get_publication_tables(p.pubname) AS t,
         pg_class AS c
   WHERE p.pubname = ANY ($3::text[]) AND c.oid = t.relid
), leaf AS (
  SELECT l.oid, bool_or(l.publishes_changes) AS publishes_changes, max(l.root) AS root
    FROM (SELECT m.oid, m.publishes_changes, m.root FROM matched AS m WHERE m.relkind = 'r'
          UNION ALL
          SELECT t.relid, m.publishes_changes, m.root
            FROM matched AS m, pg_partition_tree(m.oid) AS t
           WHERE m.relkind = 'p' AND t.isleaf) AS l
   GROUP BY l.oid
)
SELECT n.nspname AS schema,
       c.relname AS name,
       -- With publish_via_partition_root the rows are sent as the root's.
       sn.nspname AS sent_schema,
       s.relname AS sent_name,
       c.relpersistence = 'u' AS unlogged,
       l.publishes_changes,
       CASE c.relreplident
         WHEN 'f' THEN CASE
           -- can't be published, and PostgreSQL 18 refuses UPDATE and DELETE of what can't
           WHEN EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attgenerated = 'v') THEN 'virtual column'
           ELSE 'full' END
         WHEN 'n' THEN 'nothing'
         WHEN 'd' THEN CASE
           WHEN EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary
                           AND i.indisvalid AND i.indimmediate) THEN 'key'
           WHEN EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary) THEN 'deferrable key'
           ELSE 'no key' END
         ELSE CASE
           WHEN EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisreplident
                           AND i.indisvalid AND i.indimmediate) THEN 'index'
           ELSE 'invalid index' END
       END AS identity
  FROM leaf AS l
  JOIN pg_class AS c ON c.oid = l.oid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_class AS s ON s.oid = coalesce(l.root, l.oid)
  JOIN pg_namespace AS sn ON sn.oid = s.relnamespace
 WHERE c.relkind = 'r'
   AND c.relpersistence IN ('p', 'u')
   AND c.oid >= 16384
   AND n.nspname NOT IN ('follower', 'information_schema')
   AND n.nspname !~ '^pg_'
 ORDER BY 1, 2;

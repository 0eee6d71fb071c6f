-- The tables and partitioned tables that a publication of these patterns should list: whose they are, and whether a role may list
-- them. No row where one of the publications is of all tables.
-- $1, $2: patterns as two arrays, schemas and tables ('*' for all); empty for every table. A partition belongs to what its root does.
-- $3: the publications that may have them already. $4: the role, '' for the present one.
WITH published AS (
  SELECT DISTINCT t.relid
    FROM pg_publication AS p,
         pg_get_publication_tables(p.pubname) AS t
   WHERE p.pubname = ANY ($3::text[])
)
SELECT n.nspname AS schema,
       c.relname AS name,
       c.oid,
       c.relkind = 'p' AS partitioned,
       o.rolname AS owner,
       o.rolsuper AS owner_is_superuser,
       -- false where there is no such role
       coalesce(pg_has_role(me.oid, c.relowner, 'USAGE'), false) AS member,
       coalesce(has_schema_privilege(me.oid, n.oid, 'USAGE'), false) AS usage,
       has_schema_privilege(c.relowner, n.oid, 'USAGE') AS owner_usage,
       c.oid IN (SELECT relid FROM published) AS published,
       CASE c.relreplident
         WHEN 'f' THEN NOT EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attgenerated = 'v')
         ELSE EXISTS (
           SELECT FROM pg_index AS i
            WHERE i.indrelid = c.oid AND i.indimmediate AND (i.indisvalid OR c.relkind = 'p')
              AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END)
       END AS identified
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_roles AS o ON o.oid = c.relowner
  LEFT JOIN pg_roles AS me ON me.rolname = coalesce(nullif($4, ''), current_user)
 WHERE c.relkind IN ('r', 'p')
   AND c.relpersistence = 'p'
   AND c.oid >= 16384
   AND n.nspname NOT IN ('follower', 'information_schema')
   AND n.nspname !~ '^pg_'
   AND NOT EXISTS (SELECT FROM pg_publication AS p WHERE p.pubname = ANY ($3::text[]) AND p.puballtables)
   AND (cardinality($1::text[]) = 0 OR EXISTS (
         SELECT
           FROM unnest($1::text[], $2::text[]) AS p (schema, name)
          WHERE p.schema = n.nspname AND p.name IN (c.relname, '*')
             OR c.relispartition AND EXISTS (
                  SELECT
                    FROM pg_partition_ancestors(c.oid) AS a
                    JOIN pg_class AS ac ON ac.oid = a.relid
                    JOIN pg_namespace AS an ON an.oid = ac.relnamespace
                   WHERE p.schema = an.nspname AND p.name IN (ac.relname, '*'))))
 ORDER BY 1, 2;

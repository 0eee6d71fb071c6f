-- The publications $1 as they are: what they publish, of what, and the comment that marks follower's own.
-- For PostgreSQL 14, which knows no schemas in publications; otherwise the same as publications.sql.
SELECT p.pubname AS name,
       p.puballtables AS all_tables,
       concat_ws(', ', CASE WHEN p.pubinsert THEN 'insert' END, CASE WHEN p.pubupdate THEN 'update' END,
                 CASE WHEN p.pubdelete THEN 'delete' END, CASE WHEN p.pubtruncate THEN 'truncate' END) AS publish,
       p.pubviaroot AS via_root,
       false AS generated,
       obj_description(p.oid, 'pg_publication') AS comment,
       (SELECT coalesce(jsonb_agg(jsonb_build_array(n.nspname, c.relname)), '[]')
          FROM pg_publication_rel AS r
          JOIN pg_class AS c ON c.oid = r.prrelid
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE r.prpubid = p.oid) AS tables,
       '[]'::jsonb AS schemas
  FROM pg_publication AS p
 WHERE p.pubname = ANY ($1::text[]);

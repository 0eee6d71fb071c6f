-- Partitions that are published as their root (publish_via_partition_root) and have another replica identity than that: their old
-- rows are written by the one and described by the other, so that a row could be sought by a key that was not sent.
-- $1: publications.
WITH published AS (
  SELECT DISTINCT t.relid AS root, l.relid AS leaf
    FROM pg_publication AS p,
         pg_get_publication_tables(p.pubname) AS t,
         pg_partition_tree(t.relid) AS l
   WHERE p.pubname = ANY ($1::text[]) AND p.pubviaroot AND (p.pubupdate OR p.pubdelete) AND l.isleaf AND l.relid <> t.relid
), identity AS (
  SELECT c.oid,
         CASE c.relreplident WHEN 'f' THEN 'full' ELSE coalesce('(' || (
           SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attname)
             FROM pg_index AS i
             JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey[:i.indnkeyatts - 1])
            WHERE i.indrelid = c.oid AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident END
         ) || ')', 'none') END AS columns
    FROM pg_class AS c
   WHERE c.oid IN (SELECT root FROM published UNION SELECT leaf FROM published)
)
SELECT p.leaf::regclass::text AS partition, l.columns AS partition_identity, p.root::regclass::text AS root, r.columns AS root_identity
  FROM published AS p
  JOIN identity AS l ON l.oid = p.leaf
  JOIN identity AS r ON r.oid = p.root
 WHERE l.columns <> r.columns
 ORDER BY 1;

-- Registers the follow $1, or brings its row up to date: what the capture objects serve.
INSERT INTO follower.follow AS f (name, slot, publications, ddl, no_identity, tables, created_at)
VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp())
ON CONFLICT (name) DO UPDATE
   SET slot = excluded.slot,
       publications = excluded.publications,
       ddl = excluded.ddl,
       no_identity = excluded.no_identity,
       tables = excluded.tables
 WHERE (f.slot, f.publications, f.ddl, f.no_identity, f.tables)
       IS DISTINCT FROM (excluded.slot, excluded.publications, excluded.ddl, excluded.no_identity, excluded.tables);

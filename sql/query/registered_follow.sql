-- What the registry holds of the follow $1.
SELECT f.slot,
       to_jsonb(f.publications) AS publications,
       f.ddl,
       f.no_identity,
       to_jsonb(f.tables) AS tables
  FROM follower.follow AS f
 WHERE f.name = $1;

-- Upstream, 4 of 8: replica identity. Once a table is published for updates, PostgreSQL refuses UPDATE and DELETE of it unless
-- its rows can be told apart. So that nothing fails because of follower, tables that come, and tables that lose their key, are
-- cared for in the transaction that does it.

-- A statement of follower's own: the mark keeps its events out of the capture. No other role's code runs while it is set.
CREATE OR REPLACE PROCEDURE follower.execute_own(statement text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM set_config('follower.own', follower.mark('own'), true);
  EXECUTE statement;
  PERFORM set_config('follower.own', '', true);
END $$;

-- Is there a primary key (or the index of REPLICA IDENTITY USING INDEX) that can tell rows apart?
CREATE OR REPLACE FUNCTION follower.has_index(relation oid, kind "char") RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN (
    SELECT EXISTS (
      SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
      WHERE i.indrelid = relation AND i.indimmediate AND (i.indisvalid OR c.relkind = 'p')
        AND CASE kind WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END));
END $$;

CREATE OR REPLACE FUNCTION follower.has_identity(relation oid) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN (
    -- A virtual column can't be published, and PostgreSQL 18 refuses UPDATE under FULL of what can't.
    SELECT CASE c.relreplident
      WHEN 'f' THEN NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attgenerated = 'v')
      ELSE follower.has_index(c.oid, c.relreplident) END
    FROM pg_class c WHERE c.oid = relation);
END $$;

-- Of these relations and the partitions below them, those that can be published.
CREATE OR REPLACE FUNCTION follower.publishable(relations oid[]) RETURNS SETOF pg_catalog.pg_class
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  trees oid[] := ARRAY(SELECT c.oid FROM pg_class c WHERE c.oid = ANY (relations) AND c.relkind = 'p');
  everything oid[] := relations;
BEGIN
  IF cardinality(trees) > 0 THEN
    everything := ARRAY(SELECT unnest(relations) UNION SELECT t.relid FROM unnest(trees) r, pg_partition_tree(r) t);
  END IF;
  RETURN QUERY
    SELECT c.* FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = ANY (everything)
      AND c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND c.oid >= 16384
      AND n.nspname NOT IN ('follower', 'information_schema', 'pg_catalog', 'pg_toast');
END $$;

-- Follows of a list of tables: what is new and matches joins the list, and so does a partition of what is in it (its membership
-- must be its own, since it can't be told from its parent once it is dropped). Mode insert-only: only what has an identity is in
-- the main list. Publications that the user made are left alone: their follows have neither patterns nor that second one, and
-- their comment isn't follower's. What this role may not list stays away without a word, since no statement may fail because of it:
-- the daemon names it (FLW-135).
CREATE OR REPLACE PROCEDURE follower.keep_publications(relations oid[])
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  kept record;
  change record;
BEGIN
  FOR kept IN
    SELECT p.pubname, p.oid AS publication, f.tables,
      f.no_identity = 'insert-only' AND p.pubname = f.publications[1] AS needs_identity
    FROM follower.follow f JOIN pg_publication p ON p.pubname = ANY (f.publications)
    WHERE NOT p.puballtables AND pg_has_role(p.pubowner, 'USAGE')
      AND (cardinality(f.tables) > 0 OR f.no_identity = 'insert-only' AND f.publications[2] LIKE '%\_insert\_only'
        OR obj_description(p.oid, 'pg_publication') = 'follower: made for the follow ' || f.name)
    ORDER BY p.pubname
  LOOP
    FOR change IN
      SELECT t.relation, t.name, t.fit
      FROM (
        SELECT c.oid AS relation, format('%I.%I', n.nspname, c.relname) AS name, pg_has_role(c.relowner, 'USAGE') AS mine,
          NOT kept.needs_identity OR follower.has_identity(c.oid) AS fit,
          cardinality(kept.tables) = 0
            OR EXISTS (SELECT FROM follower.patterns(kept.tables) m
              WHERE m.schema_name = n.nspname AND coalesce(m.table_name, c.relname) = c.relname)
            OR follower.lists(kept.publication, follower.lineage(c.oid)) AS wanted,
          EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = kept.publication AND r.prrelid = c.oid) AS listed,
          follower.lists(kept.publication, ARRAY[c.oid]) AS published
        FROM follower.publishable(relations) c JOIN pg_namespace n ON n.oid = c.relnamespace
      ) t
      WHERE t.listed AND NOT t.fit OR t.wanted AND t.fit AND t.mine AND NOT t.published
      ORDER BY t.relation
    LOOP
      BEGIN
        CALL follower.execute_own(format('ALTER PUBLICATION %I %s TABLE ONLY %s',
          kept.pubname, CASE WHEN change.fit THEN 'ADD' ELSE 'DROP' END, change.name));
      EXCEPTION WHEN insufficient_privilege THEN
        CONTINUE; -- no USAGE on the schema
      END;
    END LOOP;
  END LOOP;
END $$;

-- Gives REPLICA IDENTITY FULL to those that are published for updates or deletes and can't tell their rows apart, and takes it back
-- when a primary key comes. A table that can't be altered now only gets a warning: the user's statement must not fail.
CREATE OR REPLACE PROCEDURE follower.keep_identity(relations oid[])
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  wanting oid[] := ARRAY(
    SELECT p.oid FROM pg_publication p
    WHERE (p.pubupdate OR p.pubdelete) AND EXISTS (SELECT FROM follower.follow f WHERE p.pubname = ANY (f.publications)));
  published_all boolean := EXISTS (SELECT FROM pg_publication p WHERE p.oid = ANY (wanting) AND p.puballtables);
  t record;
BEGIN
  IF coalesce(cardinality(relations), 0) = 0 THEN
    RETURN;
  END IF;
  -- Dropped, or set otherwise by the user, whose choice then counts.
  DELETE FROM follower.identity i
  WHERE i.relid = ANY (relations) AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = i.relid AND c.relreplident = 'f');
  FOR t IN
    SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name, c.relreplident, i.relid IS NOT NULL AS ours
    FROM follower.publishable(relations) c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN follower.identity i ON i.relid = c.oid
    WHERE CASE WHEN i.relid IS NOT NULL THEN follower.has_index(c.oid, 'd')
      ELSE c.relreplident <> 'f' AND NOT follower.has_identity(c.oid)
        AND (published_all OR EXISTS (SELECT FROM unnest(wanting) p WHERE follower.lists(p, follower.lineage(c.oid)))) END
    ORDER BY c.oid
  LOOP
    BEGIN
      IF t.ours THEN
        DELETE FROM follower.identity i WHERE i.relid = t.oid;
        CALL follower.execute_own(format('ALTER TABLE ONLY %s REPLICA IDENTITY DEFAULT', t.name));
      ELSE
        INSERT INTO follower.identity (relid, previous) VALUES (t.oid, t.relreplident);
        CALL follower.execute_own(format('ALTER TABLE ONLY %s REPLICA IDENTITY FULL', t.name));
      END IF;
    EXCEPTION WHEN OTHERS THEN
      RAISE WARNING 'follower could not set the replica identity of %: %', t.name, SQLERRM
        USING HINT = format('UPDATE and DELETE of it may fail until you run ALTER TABLE %s REPLICA IDENTITY FULL.', t.name);
    END;
  END LOOP;
END $$;

REVOKE ALL ON FUNCTION follower.has_index(oid, "char"), follower.has_identity(oid), follower.publishable(oid[]) FROM PUBLIC;
REVOKE ALL ON PROCEDURE follower.execute_own(text), follower.keep_publications(oid[]), follower.keep_identity(oid[]) FROM PUBLIC;

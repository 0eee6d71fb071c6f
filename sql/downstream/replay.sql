-- Runs one replayed DDL statement with the rights of the role that ran it upstream, inside the apply transaction.
--
-- SET ROLE is no wall: code inside the statement (a default, an index expression, a trigger) may RESET it. A SECURITY
-- DEFINER function that belongs to the author is one: "cannot set parameter "role" within security-definer function". It
-- lives for one statement only, since its owner might make it SECURITY INVOKER, and in pg_temp, which no other session can use and
-- no capture of this database reports.
-- After it ran, no setting and no name is trusted until the search_path is fixed again.
CREATE OR REPLACE FUNCTION follower.replay(author text, settings jsonb, statement text) RETURNS void
  LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  wall text := 'follower_replay_' || replace(gen_random_uuid()::text, '-', '');
  wall_oid oid;
  temporary bigint := follower.temporary_objects();
BEGIN
  BEGIN
    -- Deferred triggers that the statement queued would otherwise fire at commit, with the rights of the session.
    EXECUTE format($create$
      CREATE FUNCTION pg_temp.%I(settings jsonb, statement text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $wall$
      BEGIN
        PERFORM pg_catalog.set_config(s.key, s.value, true) FROM pg_catalog.jsonb_each_text(settings) s;
        EXECUTE statement;
        SET CONSTRAINTS ALL IMMEDIATE;
      END $wall$ $create$, wall);
    wall_oid := to_regprocedure(format('pg_temp.%I(jsonb, text)', wall));
    EXECUTE format('ALTER FUNCTION pg_temp.%I(jsonb, text) OWNER TO %I', wall, author);
  EXCEPTION
    WHEN insufficient_privilege THEN
      RAISE EXCEPTION 'role % may not act for role %: %', current_user, author, SQLERRM USING ERRCODE = 'FLW24';
  END;

  EXECUTE format('SELECT pg_temp.%I($1, $2)', wall) USING follower.known_settings(settings), statement;

  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  -- What the triggers above have deferred again.
  PERFORM follower.fire_deferred();
  -- By OID, since the statement may have renamed it.
  EXECUTE format('DROP FUNCTION %s', wall_oid::regprocedure);
  IF follower.temporary_objects() <> temporary THEN
    DISCARD TEMP;
  END IF;
END
$$;

COMMENT ON FUNCTION follower.replay(text, jsonb, text) IS
  'follower: runs a statement with the rights of a role that its code cannot leave';
REVOKE ALL ON FUNCTION follower.replay(text, jsonb, text) FROM PUBLIC;

-- Settings of the upstream that exist here. A default tablespace need not.
CREATE OR REPLACE FUNCTION follower.known_settings(settings jsonb) RETURNS jsonb
  LANGUAGE sql
  SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(jsonb_object_agg(s.key, s.value), '{}')
    FROM jsonb_each_text(settings) s
   WHERE current_setting(s.key, true) IS NOT NULL
     AND (s.key <> 'default_tablespace' OR s.value = '' OR EXISTS (SELECT FROM pg_tablespace t WHERE t.spcname = s.value))
$$;

-- How many tables, types and functions pg_temp of this session holds.
CREATE OR REPLACE FUNCTION follower.temporary_objects() RETURNS bigint
  LANGUAGE sql
  SET search_path = pg_catalog, pg_temp
AS $$
  SELECT (SELECT count(*) FROM pg_class c WHERE c.relnamespace = pg_my_temp_schema())
       + (SELECT count(*) FROM pg_type t WHERE t.typnamespace = pg_my_temp_schema())
       + (SELECT count(*) FROM pg_proc p WHERE p.pronamespace = pg_my_temp_schema())
$$;

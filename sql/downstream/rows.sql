-- Rows of a table whose owner is trusted with nothing run code of that owner: triggers, constraints, defaults. They are applied by functions
-- in pg_temp that belong to the owner and are SECURITY DEFINER (src/apply/wall.ts), which SET ROLE inside cannot leave. What that
-- code may have done to the session and to the function, these functions undo and check. They run with the daemon's rights.

-- Makes the session what it was: nothing that may run later with the daemon's rights, no lock, and the settings given as name, value, name, value ..
CREATE OR REPLACE FUNCTION follower.restore_session(settings text[]) RETURNS void
  LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- A cursor WITH HOLD would run at COMMIT, a statement under the name of one of ours at its next use.
  EXECUTE 'CLOSE ALL';
  DEALLOCATE ALL;
  UNLISTEN *;
  RESET ALL;
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  PERFORM pg_advisory_unlock_all();
  PERFORM set_config(settings[i], settings[i + 1], false) FROM generate_series(1, cardinality(settings), 2) i;
END
$$;

-- Before each call of such a function: its owner may ALTER it, make another one of its name, and change how the next row is read.
CREATE OR REPLACE FUNCTION follower.check_wall(settings text[], wall name, owner oid) RETURNS void
  LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM set_config(settings[i], settings[i + 1], false) FROM generate_series(1, cardinality(settings), 2) i
    -- This function has a search_path of its own.
    WHERE settings[i] = 'search_path' OR current_setting(settings[i]) <> settings[i + 1];
  -- The only one of its name, so that no other can be meant.
  IF (SELECT bool_and(p.prosecdef AND p.proowner = owner AND p.proargtypes = '1009'::oidvector) AND count(*) = 1
      FROM pg_proc p WHERE p.proname = wall AND p.pronamespace = pg_my_temp_schema()) IS NOT TRUE
  THEN
    RAISE EXCEPTION 'the function that applies rows as the owner of their table was changed by code of that owner'
      USING ERRCODE = 'FLW26';
  END IF;
END
$$;

-- Tables whose owner is not trusted with constraint triggers, or exclusion constraints (their expressions), that may wait for COMMIT.
CREATE OR REPLACE FUNCTION follower.deferring_tables() RETURNS TABLE (relation regclass, owner name, trigger_name text)
  LANGUAGE sql
  SET search_path = pg_catalog, pg_temp
AS $$
  SELECT g.tgrelid::regclass, r.rolname, format('%I.%I', n.nspname, k.conname)
    FROM pg_trigger g
    JOIN pg_constraint k ON k.oid = g.tgconstraint
    JOIN pg_namespace n ON n.oid = k.connamespace
    JOIN pg_class c ON c.oid = g.tgrelid
    JOIN pg_roles r ON r.oid = c.relowner
   WHERE g.tgdeferrable AND (NOT g.tgisinternal OR k.contype = 'x')
     AND g.tgenabled IN ('A', CASE current_setting('session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END)
     AND NOT r.rolsuper AND r.rolname <> current_user
$$;

-- Runs what waits for COMMIT. From PostgreSQL 18 on a trigger runs as the role that queued it; before that, at COMMIT, as the session's
-- role. So each owner's triggers run as that owner, and what their code has queued and deferred again is an error.
CREATE OR REPLACE FUNCTION follower.fire_deferred() RETURNS void
  LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  owners CONSTANT name[] := ARRAY(SELECT DISTINCT d.owner FROM follower.deferring_tables() d);
  role name;
  target regclass;
  wall text;
  keys text;
BEGIN
  IF current_setting('server_version_num')::int >= 180000 THEN
    SET CONSTRAINTS ALL IMMEDIATE;
    RETURN;
  END IF;
  -- SET CONSTRAINTS takes all of one name and schema: one owner's would run as another.
  IF EXISTS (SELECT FROM follower.deferring_tables() d GROUP BY d.trigger_name HAVING count(DISTINCT d.owner) > 1) THEN
    RAISE EXCEPTION 'deferrable constraint triggers of different owners have one name in one schema'
      USING ERRCODE = 'FLW26', DETAIL = (
        SELECT string_agg(n, ', ') FROM (SELECT d.trigger_name FROM follower.deferring_tables() d
                                          GROUP BY 1 HAVING count(DISTINCT d.owner) > 1) AS s(n));
  END IF;
  FOREACH role IN ARRAY owners LOOP
    wall := 'follower_deferred_' || replace(gen_random_uuid()::text, '-', '');
    EXECUTE format('CREATE FUNCTION pg_temp.%I() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS %L', wall,
      format('BEGIN SET CONSTRAINTS %s IMMEDIATE; END',
        (SELECT string_agg(DISTINCT d.trigger_name, ', ') FROM follower.deferring_tables() d WHERE d.owner = role)));
    EXECUTE format('ALTER FUNCTION pg_temp.%I() OWNER TO %I', wall, role);
    EXECUTE format('SELECT pg_temp.%I()', wall);
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    EXECUTE format('DROP FUNCTION IF EXISTS pg_temp.%I() CASCADE', wall);
  END LOOP;
  -- Keys that are checked at COMMIT wait, too. They run no code of an owner: what is left then was deferred again.
  SELECT string_agg(DISTINCT format('%I.%I', n.nspname, k.conname), ', ') INTO keys
    FROM follower.deferring_tables() d
    JOIN pg_constraint k ON d.relation IN (k.conrelid, k.confrelid) AND k.condeferrable AND k.contype IN ('f', 'p', 'u')
    JOIN pg_namespace n ON n.oid = k.connamespace
   WHERE NOT EXISTS (
     SELECT FROM pg_constraint o WHERE o.conname = k.conname AND o.connamespace = k.connamespace AND o.contype IN ('t', 'x'));
  IF keys IS NOT NULL THEN
    EXECUTE 'SET CONSTRAINTS ' || keys || ' IMMEDIATE';
  END IF;
  FOR target IN SELECT DISTINCT d.relation FROM follower.deferring_tables() d LOOP
    BEGIN
      -- Changes nothing, and is refused where triggers wait: object_in_use.
      EXECUTE format('ALTER TABLE ONLY %s RESET (fillfactor)', target);
      RAISE EXCEPTION USING ERRCODE = 'FLW27';
    EXCEPTION
      WHEN SQLSTATE 'FLW27' THEN NULL;
    END;
  END LOOP;
END
$$;

REVOKE ALL ON FUNCTION follower.restore_session(text[]), follower.check_wall(text[], name, oid), follower.deferring_tables(),
  follower.fire_deferred() FROM PUBLIC;
COMMENT ON FUNCTION follower.restore_session(text[]) IS 'follower: undoes what code of a table''s owner did to the session that applies';
COMMENT ON FUNCTION follower.check_wall(text[], name, oid) IS 'follower: a row is about to be applied with the rights of its table''s owner';
COMMENT ON FUNCTION follower.deferring_tables() IS 'follower: triggers that may wait for COMMIT';
COMMENT ON FUNCTION follower.fire_deferred() IS 'follower: runs what waits for COMMIT, with the rights of whose code it is';

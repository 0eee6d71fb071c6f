-- Removes the capture from an upstream: event triggers first, so that the rest isn't captured. Publications and slots are not touched.
-- What makes this database somebody's downstream stays. After teardown/identities.sql. One transaction; runs again without harm.
DROP EVENT TRIGGER IF EXISTS follower_ddl_command_end;
DROP EVENT TRIGGER IF EXISTS follower_sql_drop;
DROP EVENT TRIGGER IF EXISTS follower_ddl_command_start;
DROP EVENT TRIGGER IF EXISTS follower_author_ddl_command_end;
DROP EVENT TRIGGER IF EXISTS follower_author_sql_drop;
DROP EVENT TRIGGER IF EXISTS follower_author_ddl_command_start;

DO $$
DECLARE
  -- The role that hand_over() made.
  wall oid := (
    SELECT w.oid FROM pg_catalog.pg_roles w
    WHERE w.rolname LIKE 'follower\_capture\_%' AND NOT w.rolcanlogin
      AND (w.rolname = ('follower_capture_' || pg_catalog.current_database())::pg_catalog.name
          AND pg_catalog.shobj_description(w.oid, 'pg_authid') LIKE 'follower:%'
        OR w.oid = (SELECT p.proowner FROM pg_catalog.pg_proc p WHERE p.oid = pg_catalog.to_regprocedure('follower.capture_ddl()')))
    LIMIT 1);
BEGIN
  IF wall IS NOT NULL THEN
    DROP FUNCTION IF EXISTS follower.capture_ddl();
    EXECUTE pg_catalog.format('DROP OWNED BY %s', wall::pg_catalog.regrole);
    BEGIN
      EXECUTE pg_catalog.format('DROP ROLE %s', wall::pg_catalog.regrole);
    EXCEPTION WHEN dependent_objects_still_exist THEN
      RAISE WARNING 'role % is in use in another database', wall::pg_catalog.regrole;
    END;
  END IF;
  IF pg_catalog.to_regclass('follower.progress') IS NULL THEN
    DROP SCHEMA IF EXISTS follower CASCADE;
    RETURN;
  END IF;
  DROP TABLE IF EXISTS follower.follow, follower.secret, follower.identity CASCADE;
  DROP SEQUENCE IF EXISTS follower.ddl_counter;
  DROP ROUTINE IF EXISTS
    follower.capture_ddl(), follower.stamp_author(), follower.emit_ddl(text, text, text, text, text, text),
    follower.bereft_tables(), follower.salvaged_tables(),
    follower.forget_names(), follower.is_noise(text, text, text, boolean, boolean, text[], integer),
    follower.role_attributes(name), follower.missing_values(oid, "char"), follower.ddl_commands(), follower.ddl_objects(),
    follower.dropped_objects(), follower.ddl_dropped(),
    follower.execute_own(text), follower.has_index(oid, "char"), follower.has_identity(oid), follower.publishable(oid[]),
    follower.keep_publications(oid[]), follower.keep_identity(oid[]),
    follower.patterns(text[]), follower.relation_of(oid, oid), follower.lists(oid, oid[]), follower.lineage(oid),
    follower.senders_of_table(oid), follower.publications_of_table(oid), follower.publications_of_schema(text),
    follower.publications_of_gone_table(text, text),
    follower.claims(oid, text, text), follower.hand_over(name),
    follower.every_publication(), follower.sign(bytea), follower.mark(text), follower.utf8(text);
END $$;

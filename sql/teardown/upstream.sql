-- Removes the capture from an upstream: event triggers first, so that the rest isn't captured. Publications and slots are not touched.
-- What makes this database somebody's downstream stays. One transaction; runs again without harm.
DROP EVENT TRIGGER IF EXISTS follower_ddl_command_end;
DROP EVENT TRIGGER IF EXISTS follower_sql_drop;
DROP EVENT TRIGGER IF EXISTS follower_ddl_command_start;
DROP EVENT TRIGGER IF EXISTS follower_author_ddl_command_end;
DROP EVENT TRIGGER IF EXISTS follower_author_sql_drop;
DROP EVENT TRIGGER IF EXISTS follower_author_ddl_command_start;

DO $$
DECLARE
  t record;
BEGIN
  IF pg_catalog.to_regclass('follower.identity') IS NULL THEN
    RETURN;
  END IF;
  FOR t IN
    SELECT c.oid::pg_catalog.regclass AS name, i.previous
    FROM follower.identity i JOIN pg_catalog.pg_class c ON c.oid = i.relid
    WHERE c.relreplident = 'f'
  LOOP
    -- An index that was the identity and is gone can't come back.
    EXECUTE pg_catalog.format('ALTER TABLE ONLY %s REPLICA IDENTITY %s', t.name,
      CASE t.previous WHEN 'n' THEN 'NOTHING' ELSE 'DEFAULT' END);
  END LOOP;
END $$;

DO $$
BEGIN
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
    follower.publications_of_table(oid), follower.publications_of_schema(text), follower.publications_of_gone_table(text),
    follower.every_publication(), follower.sign(bytea), follower.mark(text), follower.utf8(text);
END $$;

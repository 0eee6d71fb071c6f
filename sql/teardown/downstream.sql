-- Removes what makes this database a downstream, once no follow ends here any more. What makes it an upstream stays.
-- One transaction; runs again without harm.
DO $$
DECLARE
  others boolean := false;
BEGIN
  IF to_regclass('follower.progress') IS NOT NULL THEN
    LOCK TABLE follower.progress IN ACCESS EXCLUSIVE MODE;
    SELECT EXISTS (SELECT FROM follower.progress) INTO others;
  END IF;
  IF others THEN
    RETURN;
  ELSIF to_regclass('follower.follow') IS NULL THEN
    DROP SCHEMA IF EXISTS follower CASCADE;
  ELSE
    DROP TABLE IF EXISTS follower.copied_table, follower.copy_step, follower.progress, follower.incident, follower.skip;
    DROP ROUTINE IF EXISTS
      follower.take_progress(text), follower.advance_progress(text, bigint, pg_lsn, pg_lsn, timestamptz),
      follower.record_incident(text, bigint, text, text, text, text, pg_lsn, bigint, text, text, jsonb),
      follower.close_incidents(text), follower.skip_transaction(text, bigint, pg_lsn, pg_lsn, timestamptz, bigint, bigint),
      follower.replay(text, jsonb, text), follower.known_settings(jsonb), follower.temporary_objects(),
      follower.restore_session(text[]), follower.check_wall(text[], name, oid), follower.deferring_tables(), follower.fire_deferred(),
      follower.hold_progress(text, bigint), follower.begin_table_copy(text, bigint, oid, pg_lsn, integer),
      follower.end_part_copy(text, bigint, oid, pg_lsn, bigint, bigint);
  END IF;
END $$;

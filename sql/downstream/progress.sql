-- Progress of the follows that end in this database: the row is written in the same transaction as the rows
-- of the upstream that it speaks of, so that both are there or neither is.
-- Idempotent. Runs at every start whose files differ from the installed ones.

CREATE SCHEMA IF NOT EXISTS follower;

-- Without an index: every commit writes the row anew, and while any transaction that is older is open in this database, nothing of what the
-- row was before can be removed. What looks for it by an index would pass all of that, once for each commit; so would the check of a unique one.
-- Each name is there once, since starts come one after the other (recordIntent).
CREATE TABLE IF NOT EXISTS follower.progress (
  name text NOT NULL,
  system_identifier text NOT NULL,
  timeline integer NOT NULL,
  database text NOT NULL,
  slot text NOT NULL,
  own_slot boolean NOT NULL DEFAULT true,
  lsn pg_lsn,
  commit_time timestamptz,
  epoch bigint NOT NULL DEFAULT 0,
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- An earlier start has made it with one.
ALTER TABLE follower.progress DROP CONSTRAINT IF EXISTS progress_pkey CASCADE;
-- A publication for all tables of this database has it, too, and refuses UPDATE of a table without.
ALTER TABLE follower.progress REPLICA IDENTITY FULL;

COMMENT ON TABLE follower.progress IS 'follower: what is applied here, one row per follow';
COMMENT ON COLUMN follower.progress.name IS 'name of the follow';
COMMENT ON COLUMN follower.progress.system_identifier IS 'pg_control_system() of the upstream';
COMMENT ON COLUMN follower.progress.timeline IS 'timeline of the upstream that lsn lies on';
COMMENT ON COLUMN follower.progress.database IS 'name of the upstream database';
COMMENT ON COLUMN follower.progress.slot IS 'replication slot on the upstream';
COMMENT ON COLUMN follower.progress.own_slot IS 'whether a start made the slot; one that was named by --slot is never dropped';
COMMENT ON COLUMN follower.progress.lsn IS 'end of the last applied commit; NULL while the slot is being created';
COMMENT ON COLUMN follower.progress.commit_time IS 'upstream time of the last applied commit';
COMMENT ON COLUMN follower.progress.epoch IS 'counts the daemons that took this row: only the last one may write it';

-- A daemon that begins takes the row; from then on no earlier daemon can commit (see advance_progress).
CREATE OR REPLACE FUNCTION follower.take_progress(name text) RETURNS bigint
  LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  taken bigint;
BEGIN
  UPDATE follower.progress AS p
     SET epoch = p.epoch + 1, updated_at = clock_timestamp()
   WHERE p.name = take_progress.name
  RETURNING p.epoch INTO taken;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no progress row of the follow %', take_progress.name USING ERRCODE = 'FLW11';
  END IF;
  RETURN taken;
END
$$;

-- The last statement of every apply transaction. The lock on the row makes two daemons queue; the one with the
-- older epoch then finds nothing to update, and its whole transaction rolls back.
-- Where the row stands is kept in the session, so that it is found at once (see the table); anybody else who writes it moves it.
CREATE OR REPLACE FUNCTION follower.advance_progress(
  name text, epoch bigint, previous pg_lsn, lsn pg_lsn, commit_time timestamptz
) RETURNS void
  LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp
  -- The planner takes a table of few pages for cheaper to read than one row of it: the plan is kept while it grows.
  SET enable_seqscan = off
AS $$
DECLARE
  place tid := nullif(current_setting('follower.place', true), '');
BEGIN
  UPDATE follower.progress AS p
     SET lsn = advance_progress.lsn,
         commit_time = coalesce(advance_progress.commit_time, p.commit_time),
         updated_at = clock_timestamp()
   WHERE p.ctid = place
     AND p.name = advance_progress.name
     AND p.epoch = advance_progress.epoch
     AND p.lsn = advance_progress.previous
  RETURNING p.ctid INTO place;
  IF NOT FOUND THEN
    UPDATE follower.progress AS p
       SET lsn = advance_progress.lsn,
           commit_time = coalesce(advance_progress.commit_time, p.commit_time),
           updated_at = clock_timestamp()
     WHERE p.name = advance_progress.name
       AND p.epoch = advance_progress.epoch
       AND p.lsn = advance_progress.previous
    RETURNING p.ctid INTO place;
  END IF;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the progress of the follow % is not at % of epoch % any more', advance_progress.name,
        advance_progress.previous, advance_progress.epoch
      USING ERRCODE = 'FLW11', DETAIL = coalesce(
        (SELECT format('It is at %s of epoch %s.', p.lsn, p.epoch)
           FROM follower.progress AS p WHERE p.name = advance_progress.name), 'There is no such row.');
  END IF;
  PERFORM set_config('follower.place', place::text, false);
END
$$;

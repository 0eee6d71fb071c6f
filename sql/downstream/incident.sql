-- What stopped the follows that end in this database, and which transactions a person said to leave out. One open
-- incident a follow; nothing here is ever deleted but by cleanup.
-- Idempotent. Runs at every start whose files differ from the installed ones.

CREATE SCHEMA IF NOT EXISTS follower;

CREATE TABLE IF NOT EXISTS follower.incident (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL,
  code text NOT NULL,
  sqlstate text,
  message text NOT NULL,
  detail text,
  lsn pg_lsn,
  xid bigint,
  relation text,
  key text,
  row_values jsonb,
  position pg_lsn,
  upstream_end pg_lsn,
  attempts bigint NOT NULL DEFAULT 1,
  retries_asked bigint NOT NULL DEFAULT 0,
  first_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  last_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  resolved_at timestamptz,
  resolution text CHECK (resolution IN ('applied', 'skipped', 'superseded'))
);
ALTER TABLE follower.incident ADD COLUMN IF NOT EXISTS upstream_end pg_lsn;
CREATE UNIQUE INDEX IF NOT EXISTS incident_open ON follower.incident (name) WHERE resolved_at IS NULL;

COMMENT ON TABLE follower.incident IS 'follower: what stopped a follow, open until its position has passed it';
COMMENT ON COLUMN follower.incident.lsn IS 'end of the commit that could not be applied; NULL where it did not arrive whole';
COMMENT ON COLUMN follower.incident.key IS 'replica identity of the row: columns and values';
COMMENT ON COLUMN follower.incident.row_values IS 'the row, where the follow runs with --incident-rows';
COMMENT ON COLUMN follower.incident.position IS 'of the follow when it stopped';
COMMENT ON COLUMN follower.incident.upstream_end IS
  'of the upstream''s WAL when it stopped: where lsn is NULL, what stopped it lies before';
COMMENT ON COLUMN follower.incident.retries_asked IS 'counts follower retry';
COMMENT ON COLUMN follower.incident.resolution IS 'applied, skipped, or superseded by another incident';

CREATE TABLE IF NOT EXISTS follower.skip (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL,
  lsn pg_lsn NOT NULL,
  xid bigint NOT NULL,
  incident bigint NOT NULL,
  reason text NOT NULL,
  asked_by text NOT NULL DEFAULT session_user,
  asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  skipped_at timestamptz,
  commit_time timestamptz,
  changes bigint,
  void_at timestamptz
);
CREATE UNIQUE INDEX IF NOT EXISTS skip_asked ON follower.skip (name, lsn)
  WHERE skipped_at IS NULL AND void_at IS NULL;

COMMENT ON TABLE follower.skip IS 'follower: transactions that a person said to leave out, kept for good';
COMMENT ON COLUMN follower.skip.lsn IS 'end of the commit';
COMMENT ON COLUMN follower.skip.skipped_at IS 'NULL: not yet';
COMMENT ON COLUMN follower.skip.commit_time IS 'upstream time of the commit';
COMMENT ON COLUMN follower.skip.changes IS 'rows, TRUNCATEs and schema changes that were left out';
COMMENT ON COLUMN follower.skip.void_at IS 'set where the transaction was applied before it could be skipped';

-- Records what stopped a follow, under the epoch of its daemon; the same transaction again is the same incident.
DROP FUNCTION IF EXISTS follower.record_incident(
  text, bigint, text, text, text, text, pg_lsn, bigint, text, text, jsonb);
CREATE OR REPLACE FUNCTION follower.record_incident(
  name text, epoch bigint, code text, sqlstate text, message text, detail text, lsn pg_lsn, xid bigint, relation text,
  key text, row_values jsonb, upstream_end pg_lsn, OUT id bigint, OUT retries_asked bigint
)
  LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  now_at pg_lsn;
BEGIN
  SELECT p.lsn INTO now_at FROM follower.progress AS p
   WHERE p.name = record_incident.name AND p.epoch = record_incident.epoch FOR SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'another follower has taken the follow %', record_incident.name USING ERRCODE = 'FLW11';
  END IF;
  UPDATE follower.incident AS i SET resolved_at = clock_timestamp(), resolution = 'superseded'
   WHERE i.name = record_incident.name AND i.resolved_at IS NULL AND i.lsn IS DISTINCT FROM record_incident.lsn;
  UPDATE follower.incident AS i
     SET code = record_incident.code, sqlstate = record_incident.sqlstate, message = record_incident.message,
         detail = record_incident.detail, xid = record_incident.xid, relation = record_incident.relation,
         key = record_incident.key, row_values = record_incident.row_values, position = now_at,
         upstream_end = record_incident.upstream_end,
         attempts = i.attempts + 1, last_at = clock_timestamp()
   WHERE i.name = record_incident.name AND i.resolved_at IS NULL
  RETURNING i.id, i.retries_asked INTO id, retries_asked;
  IF NOT FOUND THEN
    INSERT INTO follower.incident AS i
           (name, code, sqlstate, message, detail, lsn, xid, relation, key, row_values, position,
            upstream_end)
    VALUES (record_incident.name, record_incident.code, record_incident.sqlstate, record_incident.message,
            record_incident.detail, record_incident.lsn, record_incident.xid, record_incident.relation,
            record_incident.key, record_incident.row_values, now_at,
            record_incident.upstream_end)
    RETURNING i.id, i.retries_asked INTO id, retries_asked;
  END IF;
END
$$;

-- Closes what the position of the follow has passed. Returns whether an incident is still open.
CREATE OR REPLACE FUNCTION follower.close_incidents(name text) RETURNS boolean
  LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE follower.incident AS i SET resolved_at = clock_timestamp(), resolution = 'applied'
    FROM follower.progress AS p
   WHERE i.name = close_incidents.name AND i.resolved_at IS NULL AND p.name = i.name
     -- A position moves without a transaction, too: up to the one that fails.
     AND CASE WHEN i.lsn IS NULL THEN p.lsn > i.position AND p.lsn >= coalesce(i.upstream_end, i.position)
              ELSE p.lsn >= i.lsn END;
  UPDATE follower.skip AS s SET void_at = clock_timestamp()
    FROM follower.progress AS p
   WHERE s.name = close_incidents.name AND s.skipped_at IS NULL AND s.void_at IS NULL AND p.name = s.name
     AND p.lsn >= s.lsn;
  RETURN EXISTS (SELECT FROM follower.incident AS i WHERE i.name = close_incidents.name AND i.resolved_at IS NULL);
END
$$;

-- Moves the position over exactly the transaction that a person named, in place of applying it.
CREATE OR REPLACE FUNCTION follower.skip_transaction(
  name text, epoch bigint, previous pg_lsn, lsn pg_lsn, commit_time timestamptz, xid bigint, changes bigint
) RETURNS void
  LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM follower.advance_progress(name, epoch, previous, lsn, commit_time);
  UPDATE follower.skip AS s
     SET skipped_at = clock_timestamp(), commit_time = skip_transaction.commit_time, changes = skip_transaction.changes
   WHERE s.name = skip_transaction.name AND s.lsn = skip_transaction.lsn AND s.xid = skip_transaction.xid
     AND s.skipped_at IS NULL AND s.void_at IS NULL;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'nobody says any more that transaction % at % is to be skipped', xid, lsn USING ERRCODE = 'FLW12';
  END IF;
  UPDATE follower.incident AS i SET resolved_at = clock_timestamp(), resolution = 'skipped'
   WHERE i.name = skip_transaction.name AND i.lsn = skip_transaction.lsn AND i.resolved_at IS NULL;
END
$$;

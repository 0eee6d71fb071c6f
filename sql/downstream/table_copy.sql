-- The initial copy: which tables' rows are here, and which are still to come. A table that is not `copied` takes no rows from the stream.
-- Its row is written in the same transaction as the rows it speaks of.
CREATE TABLE IF NOT EXISTS follower.copied_table (
  follow text NOT NULL,
  relation oid NOT NULL,
  schema text NOT NULL,
  name text NOT NULL,
  state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'copying', 'copied')),
  parts_left integer,
  lsn pg_lsn,
  rows bigint NOT NULL DEFAULT 0,
  bytes bigint NOT NULL DEFAULT 0,
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (follow, relation)
);

-- For those who look; an older start has made the table without them.
ALTER TABLE follower.copied_table ADD COLUMN IF NOT EXISTS file_bytes bigint, ADD COLUMN IF NOT EXISTS begun_at timestamptz;
ALTER TABLE follower.copied_table ADD COLUMN IF NOT EXISTS overwrite boolean NOT NULL DEFAULT false;
ALTER TABLE follower.copied_table ADD COLUMN IF NOT EXISTS behind boolean NOT NULL DEFAULT false;
ALTER TABLE follower.copied_table ADD COLUMN IF NOT EXISTS analyze_due boolean NOT NULL DEFAULT false;
ALTER TABLE follower.progress ADD COLUMN IF NOT EXISTS copies boolean;
ALTER TABLE follower.progress ADD COLUMN IF NOT EXISTS publications text[];

COMMENT ON TABLE follower.copied_table IS 'follower: which tables'' rows were copied, one row per table and follow';
COMMENT ON COLUMN follower.copied_table.overwrite IS 'rows that are there are removed in the transaction that brings the new ones';
COMMENT ON COLUMN follower.copied_table.behind IS 'once copied: its changes from lsn up to the progress are still to be applied';
COMMENT ON COLUMN follower.copied_table.analyze_due IS 'once copied: the planner knows nothing of its rows yet';
COMMENT ON COLUMN follower.progress.copies IS 'the follow began with a copy: tables that come later are copied, too';
COMMENT ON COLUMN follower.progress.publications IS 'of the last start';
COMMENT ON COLUMN follower.copied_table.relation IS 'OID of the table upstream, or of the root that its rows are sent as';
COMMENT ON COLUMN follower.copied_table.state IS 'waiting: nothing of it is here; copying: what is here is ours and not all; copied: the progress speaks of it, too';
COMMENT ON COLUMN follower.copied_table.parts_left IS 'parts that are not committed yet';
COMMENT ON COLUMN follower.copied_table.lsn IS 'place in the upstream''s WAL that the copied rows stand for';
COMMENT ON COLUMN follower.copied_table.bytes IS 'bytes of the copied rows in the format in which they came';
COMMENT ON COLUMN follower.copied_table.file_bytes IS 'bytes of the table''s files upstream when its copy, or that of others, began; NULL before';
COMMENT ON COLUMN follower.copied_table.begun_at IS 'when the copy began that the table is, or was, copied by';

-- Whoever copies holds the follow: as advance_progress, but nothing moves.
CREATE OR REPLACE FUNCTION follower.hold_progress(name text, epoch bigint) RETURNS void
  LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM FROM follower.progress AS p
    WHERE p.name = hold_progress.name AND p.epoch = hold_progress.epoch FOR SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the progress of the follow % is not of epoch % any more', hold_progress.name, hold_progress.epoch
      USING ERRCODE = 'FLW11';
  END IF;
END
$$;

-- From here on what is in the table is ours. Same transaction as the look at what was in it before.
CREATE OR REPLACE FUNCTION follower.begin_table_copy(name text, epoch bigint, relation oid, lsn pg_lsn, parts integer) RETURNS void
  LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- Of one part, the same transaction ends with end_part_copy, which holds the progress: here it would hold up whoever applies meanwhile.
  IF begin_table_copy.parts > 1 THEN
    PERFORM follower.hold_progress(begin_table_copy.name, begin_table_copy.epoch);
  END IF;
  UPDATE follower.copied_table AS t
     SET state = 'copying', parts_left = begin_table_copy.parts, lsn = begin_table_copy.lsn, rows = 0, bytes = 0, updated_at = clock_timestamp()
   WHERE t.follow = begin_table_copy.name AND t.relation = begin_table_copy.relation AND t.state <> 'copied';
  IF NOT FOUND THEN
    RAISE EXCEPTION 'table % of the follow % is not to be copied', begin_table_copy.relation, begin_table_copy.name
      USING ERRCODE = 'FLW11';
  END IF;
END
$$;

-- In the transaction of the rows of one part. With the last one the table is copied.
CREATE OR REPLACE FUNCTION follower.end_part_copy(name text, epoch bigint, relation oid, lsn pg_lsn, rows bigint, bytes bigint) RETURNS text
  LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  result text;
BEGIN
  PERFORM follower.hold_progress(end_part_copy.name, end_part_copy.epoch);
  UPDATE follower.copied_table AS t
     SET state = CASE t.parts_left WHEN 1 THEN 'copied' ELSE 'copying' END,
         parts_left = t.parts_left - 1,
         overwrite = t.overwrite AND t.parts_left > 1,
         analyze_due = t.parts_left = 1 AND t.rows + end_part_copy.rows > 0,
         rows = t.rows + end_part_copy.rows,
         bytes = t.bytes + end_part_copy.bytes,
         updated_at = clock_timestamp()
   WHERE t.follow = end_part_copy.name AND t.relation = end_part_copy.relation AND t.lsn = end_part_copy.lsn AND t.parts_left > 0
  RETURNING t.state INTO result;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'table % of the follow % is not being copied', end_part_copy.relation, end_part_copy.name
      USING ERRCODE = 'FLW11';
  END IF;
  RETURN result;
END
$$;

-- The last statement of a transaction that brings changes of tables which are behind, as advance_progress elsewhere.
CREATE OR REPLACE FUNCTION follower.advance_copies(name text, epoch bigint, previous pg_lsn, lsn pg_lsn, commit_time timestamptz) RETURNS void
  LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM follower.hold_progress(advance_copies.name, advance_copies.epoch);
  UPDATE follower.copied_table AS t SET lsn = advance_copies.lsn, updated_at = clock_timestamp()
   WHERE t.follow = advance_copies.name AND t.behind AND t.state = 'copied' AND t.lsn = advance_copies.previous;
  IF EXISTS (SELECT FROM follower.copied_table AS t
              WHERE t.follow = advance_copies.name AND t.behind AND t.state = 'copied' AND t.lsn <> advance_copies.lsn) THEN
    RAISE EXCEPTION 'tables of the follow % are not at % any more', advance_copies.name, advance_copies.previous
      USING ERRCODE = 'FLW11';
  END IF;
END
$$;
COMMENT ON FUNCTION follower.advance_copies(text, bigint, pg_lsn, pg_lsn, timestamptz) IS 'follower: changes of copied tables are here';
REVOKE ALL ON FUNCTION follower.advance_copies(text, bigint, pg_lsn, pg_lsn, timestamptz) FROM PUBLIC;

REVOKE ALL ON FUNCTION follower.hold_progress(text, bigint), follower.begin_table_copy(text, bigint, oid, pg_lsn, integer),
  follower.end_part_copy(text, bigint, oid, pg_lsn, bigint, bigint) FROM PUBLIC;
COMMENT ON FUNCTION follower.hold_progress(text, bigint) IS 'follower: fails where another daemon has taken the follow';
COMMENT ON FUNCTION follower.begin_table_copy(text, bigint, oid, pg_lsn, integer) IS 'follower: rows of a table begin to come';
COMMENT ON FUNCTION follower.end_part_copy(text, bigint, oid, pg_lsn, bigint, bigint) IS 'follower: rows of a part of a table are here';

-- What of a copied schema comes after the rows: indexes, constraints, triggers. Each is removed in the transaction that makes it.
CREATE TABLE IF NOT EXISTS follower.copy_step (
  follow text NOT NULL,
  number integer NOT NULL,
  wave text NOT NULL,
  label text NOT NULL,
  statement text NOT NULL,
  PRIMARY KEY (follow, number)
);
ALTER TABLE follower.copy_step DROP CONSTRAINT IF EXISTS copy_step_wave_check;
ALTER TABLE follower.copy_step ADD CONSTRAINT copy_step_wave_check CHECK (wave IN ('schema', 'indexes', 'objects', 'foreign keys', 'last'));
COMMENT ON TABLE follower.copy_step IS 'follower: statements of a copied schema that are still to be run';
COMMENT ON COLUMN follower.copy_step.wave IS 'schema before the rows; indexes and objects before the stream, foreign keys and the last once all rows are there';

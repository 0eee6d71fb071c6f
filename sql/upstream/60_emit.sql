-- Upstream, 6 of 8: from event to message.
--
-- Two event triggers on each event, which fire in the order of their names, with nothing of a user's in between:
-- 1. follower_author_*, rights of whoever runs the DDL: writes down who that is, and under which settings.
-- 2. follower_*, rights of its owner (a superuser, or the role that hand_over() made): reads that, looks at the catalogs, signs, emits.
-- The role in a message is therefore true, also inside SECURITY DEFINER functions, and no role can have a message signed that names
-- another one: event trigger functions can't be called by hand, and what a role sets itself is overwritten by the first.
--
-- follower.stamp_author() runs under any search_path and for a superuser's DDL as superuser: each name and each operator in it must
-- be qualified. It catches nothing: what fails here (a cancel, the end of the stack) fails the command.

CREATE OR REPLACE FUNCTION follower.stamp_author() RETURNS event_trigger
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_catalog.set_config('follower.author', pg_catalog.jsonb_build_object(
    'role', CURRENT_USER,
    -- The path, and what else changes the meaning of a statement.
    'settings', (
      SELECT pg_catalog.jsonb_object_agg(s.name, pg_catalog.current_setting(s.name))
      FROM pg_catalog.unnest(ARRAY['search_path', 'role', 'DateStyle', 'IntervalStyle', 'TimeZone', 'default_tablespace',
        'default_table_access_method', 'default_toast_compression', 'check_function_bodies', 'standard_conforming_strings',
        'xmloption', 'array_nulls', 'transform_null_equals']::pg_catalog.text[]) AS s (name)))::pg_catalog.text, true);
END $$;

-- author_stamp: what follower.stamp_author() wrote. kind: end, drop, start, or broken with the error that it was broken by. stack: PG_CONTEXT of follower.capture_ddl().
CREATE OR REPLACE PROCEDURE follower.emit_ddl(kind text, event text, tag text, author_stamp text, stack text, error text)
LANGUAGE plpgsql AS $$
DECLARE
  author constant jsonb := author_stamp;
  -- What the command came from: nothing at top level.
  outer_frames constant text := substring(stack FROM '\n(.*)$');
  -- Their text may hold passwords, and none of them is for the follower.
  ignored constant text := '^(CREATE|ALTER|DROP) (PUBLICATION|SUBSCRIPTION|EVENT TRIGGER|SERVER|USER MAPPING)$';
  query text := coalesce(current_query(), '');
  query_hash text;
  statement text;
  several boolean;
  kinds text[];
  message jsonb;
  objects jsonb := '[]';
  dropped jsonb := '[]';
  relations oid[] := '{}';
  sent text;
  payload bytea;
BEGIN
  IF NOT EXISTS (SELECT FROM follower.follow) THEN
    RETURN;
  ELSIF current_setting('follower.own', true) <> '' THEN
    IF current_setting('follower.own') = follower.mark('own') THEN
      RETURN;
    END IF;
  END IF;

  -- The text of the statement itself, or, in a string of several, of all of them; an inner one has the rest of the context behind.
  statement := CASE WHEN outer_frames IS NULL THEN query ELSE regexp_replace(outer_frames, '^SQL statement "', '') END;
  several := position(';' IN rtrim(statement, E' \t\r\n;')) > 0;

  IF kind = 'broken' THEN
    relations := follower.salvaged_tables();
  ELSIF NOT EXISTS (SELECT FROM follower.secret) THEN
    RAISE EXCEPTION 'follower.secret holds no key';
  ELSIF NOT EXISTS (SELECT FROM pg_event_trigger t WHERE t.evtname = 'follower_author_' || event AND t.evtenabled = 'A') THEN
    -- Then anybody could have said who it is.
    RAISE EXCEPTION 'event trigger follower_author_% is not enabled', event;
  ELSIF kind = 'end' THEN
    SELECT array_agg(DISTINCT c.kind),
      array_agg(DISTINCT c.relation) FILTER (
        -- Other commands can neither make a table nor rob it of its key; they have weaker locks, which must stay so.
        WHERE c.command_tag IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'ALTER TABLE') AND c.type LIKE 'table%')
    INTO kinds, relations
    FROM follower.ddl_commands() c;
    CALL follower.keep_publications(relations);
    IF tag = 'ALTER SCHEMA' THEN
      CALL follower.forget_names();
    END IF;
    objects := CASE WHEN 'user' = ANY (kinds) THEN follower.ddl_objects() ELSE '[]' END;
  ELSIF kind = 'drop' THEN
    dropped := follower.ddl_dropped();
    -- ALTER TABLE lists its table at its end.
    relations := CASE WHEN tag = 'ALTER TABLE' THEN '{}' ELSE follower.bereft_tables() END;
    CALL follower.keep_publications(relations);
    DELETE FROM follower.identity i USING pg_event_trigger_dropped_objects() d
    WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0 AND d.objid = i.relid;
  END IF;

  IF follower.is_noise(kind, tag, statement, outer_frames IS NOT NULL, several, kinds, jsonb_array_length(dropped))
    OR NOT EXISTS (SELECT FROM follower.follow f WHERE f.ddl)
    OR tag ~ ignored AND NOT several
  THEN
    CALL follower.keep_identity(relations);
    RETURN;
  END IF;

  query_hash := encode(sha256(convert_to(query, getdatabaseencoding())), 'hex');
  message := jsonb_build_object(
    'v', 1, 'kind', kind, 'xid', pg_current_xact_id()::text, 'n', nextval('follower.ddl_counter')::text,
    'role', author ->> 'role', 'attributes', follower.role_attributes(author ->> 'role'), 'tag', tag, 'query_hash', query_hash,
    'context', stack,
    'statement_time', statement_timestamp(), 'settings', author -> 'settings',
    'objects', CASE WHEN tag ~ ignored THEN '[]' ELSE objects END,
    'dropped', CASE WHEN tag ~ ignored THEN '[]' ELSE dropped END)
    || CASE WHEN kind = 'broken' THEN jsonb_build_object('error', coalesce(error, '')) ELSE '{}' END;

  -- The text goes out once a transaction, and not where the context has it: it may say more than concerns a follower. A rolled back
  -- savepoint takes the setting back together with the message.
  sent := follower.mark('sent ' || query_hash);
  IF tag !~ ignored AND outer_frames IS NULL AND current_setting('follower.sent', true) IS DISTINCT FROM sent THEN
    message := message || jsonb_build_object('query', query);
    PERFORM set_config('follower.sent', sent, true);
  END IF;

  payload := follower.utf8(message::text);
  PERFORM pg_logical_emit_message(true, 'follower.ddl',
    -- Without a key the follower can only count a message that nobody signed: better than silence.
    convert_to(concat('FLW1 ', coalesce(follower.sign(payload), '- ' || repeat('0', 64)), ' '), 'UTF8') || payload);
  -- A message has the LSN of its record's end, a row that of its record's start, and decoding merges subtransactions
  -- by LSN: with nothing in between, a row of the next savepoint could overtake the message.
  PERFORM pg_logical_emit_message(true, 'follower.pad', '');
  CALL follower.keep_identity(relations);
END $$;

-- Events that say nothing to a follower: of temporary objects, of members of an extension, of follower's own.
CREATE OR REPLACE FUNCTION follower.is_noise(kind text, tag text, statement text, nested boolean, several boolean, kinds text[],
  dropped integer) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF kind = 'broken' OR 'user' = ANY (kinds) THEN
    RETURN false;
  -- Matters only as one of several statements, which are told apart by counting events; so do commands that did nothing.
  ELSIF 'temporary' = ANY (kinds) THEN
    RETURN NOT several;
  ELSIF cardinality(kinds) > 0 OR kind = 'drop' AND dropped = 0 THEN
    RETURN true;
  END IF;
  RETURN
    -- REFRESH MATERIALIZED VIEW CONCURRENTLY, whose commands list no objects.
    nested AND statement ~ '^(CREATE TEMP TABLE|ALTER TABLE|DROP TABLE) pg_temp_\d'
    -- The script of an extension drops or makes members.
    OR NOT several AND tag !~ ' EXTENSION$' AND statement ~* '^(\s|--[^\n]*\n|/\*.*?\*/)*(CREATE|ALTER)\s+EXTENSION\M'
    OR nested AND statement ~ '^[^\n]*\nextension script file "[^\n]*", near line \d+'
    OR kind = 'start' AND NOT several AND statement ~* '^(\s|--[^\n]*\n|/\*.*?\*/)*CREATE\s+((LOCAL|GLOBAL)\s+)?TEMP(ORARY)?\M';
END $$;

-- Tables that a drop may have robbed of their identity. An index is dropped without a word about its table.
CREATE OR REPLACE FUNCTION follower.bereft_tables() RETURNS oid[]
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  SELECT ARRAY(
    SELECT c.oid FROM follower.dropped_objects() d
    JOIN pg_namespace n ON n.nspname = d.home
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = d.table_name
    WHERE d.type IN ('table column', 'table constraint')
    UNION
    SELECT c.oid FROM pg_class c
    WHERE c.relreplident = 'i' AND c.relkind IN ('r', 'p') AND NOT follower.has_index(c.oid, 'i')
      AND EXISTS (SELECT FROM follower.dropped_objects() d WHERE d.type = 'index'))
$$;

-- Where the capture failed, the tables of the command need their identity all the same.
CREATE OR REPLACE FUNCTION follower.salvaged_tables() RETURNS oid[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN ARRAY(
    SELECT DISTINCT c.objid FROM pg_event_trigger_ddl_commands() c
    WHERE c.classid = 'pg_class'::regclass AND c.object_type = 'table');
EXCEPTION
  WHEN event_trigger_protocol_violated THEN RAISE;
  WHEN OTHERS THEN RETURN '{}';
END $$;

-- No statement may fail because of follower, so errors end here; but none may be lost without a word, so that the follower stops.
-- The settings are fixed because catalog texts are printed with them, the labels of the context translated, and the patterns in these
-- functions read.
CREATE OR REPLACE FUNCTION follower.capture_ddl() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET DateStyle = 'ISO, MDY'
SET IntervalStyle = 'postgres'
SET TimeZone = 'UTC'
SET bytea_output = 'hex'
SET extra_float_digits = 1
SET lc_messages = 'C'
SET quote_all_identifiers = off
SET standard_conforming_strings = on
SET array_nulls = on
SET transform_null_equals = off
AS $$
DECLARE
  kind constant text := CASE tg_event WHEN 'sql_drop' THEN 'drop' WHEN 'ddl_command_start' THEN 'start' ELSE 'end' END;
  author constant text := current_setting('follower.author', true);
  stack text;
  failure text;
BEGIN
  -- The only command with events that a read-only transaction may run; it changes nothing that a follower sees.
  IF tg_tag = 'REINDEX' THEN
    RETURN;
  END IF;
  GET DIAGNOSTICS stack = PG_CONTEXT;
  BEGIN
    CALL follower.emit_ddl(kind, tg_event, tg_tag, author, stack, NULL);
  EXCEPTION WHEN OTHERS THEN
    failure := concat(SQLSTATE, ': ', SQLERRM);
  END;
  IF failure IS NOT NULL THEN
    RAISE WARNING 'follower could not capture %: %', tg_tag, failure
      USING HINT = 'Followers of this database stop here. See docs/errors.md.';
    CALL follower.emit_ddl('broken', tg_event, tg_tag, author, stack, failure);
  END IF;
EXCEPTION
  -- A command at the very end of the stack must not go unseen: there it fails itself, as a little deeper it would have.
  WHEN statement_too_complex OR invalid_regular_expression THEN -- the second is what a pattern says there
    RAISE;
  WHEN OTHERS THEN
    BEGIN
      -- Nobody signs this, but whoever follows counts it.
      PERFORM pg_logical_emit_message(true, 'follower.ddl', 'FLW1 - - broken');
    EXCEPTION WHEN OTHERS THEN
      RAISE WARNING 'follower could not even say so: %', SQLERRM;
    END;
END $$;

REVOKE ALL ON ROUTINE follower.stamp_author(), follower.emit_ddl(text, text, text, text, text, text), follower.capture_ddl(),
  follower.is_noise(text, text, text, boolean, boolean, text[], integer), follower.bereft_tables(), follower.salvaged_tables()
  FROM PUBLIC;

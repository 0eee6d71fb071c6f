-- Upstream, 6 of 6: from event to message.
--
-- event trigger (rights of whoever runs the DDL) -> row in follower.ddl_outbox -> trigger a_stamp (the same rights: writes down who
-- that is) -> trigger b_emit (rights of follower's owner: signs, emits, stores nothing). The role in a message is therefore true,
-- also inside SECURITY DEFINER functions, and no role can have a message signed that names another one.
--
-- follower.capture_ddl() and follower.stamp_ddl() run under any search_path and for a superuser's DDL as superuser: each name and
-- each operator in them must be qualified.

CREATE OR REPLACE FUNCTION follower.stamp_ddl() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
  NEW.role := CURRENT_USER;
  -- The path, and what else changes the meaning of a statement.
  NEW.settings := (
    SELECT pg_catalog.jsonb_object_agg(s.name, pg_catalog.current_setting(s.name))
    FROM pg_catalog.unnest(ARRAY['search_path', 'role', 'DateStyle', 'IntervalStyle', 'TimeZone', 'default_tablespace',
      'default_table_access_method', 'default_toast_compression', 'check_function_bodies', 'standard_conforming_strings',
      'xmloption', 'array_nulls', 'transform_null_equals']::pg_catalog.text[]) AS s (name));
  RETURN NEW;
END $$;

-- The settings are fixed because catalog texts are printed with them, the labels of the context translated, and the patterns in these
-- functions read.
CREATE OR REPLACE FUNCTION follower.emit_ddl() RETURNS trigger
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
AS $$
DECLARE
  own constant text := '^[^\n]*\nSQL statement "INSERT INTO follower\.ddl_outbox [^"\n]*"\n'
    || '(PL/pgSQL function (?:"?follower"?\.)?"?capture_ddl"?\(\) line \d+ at SQL statement)(?:\n(.*))?$';
  -- Their text may hold passwords, and none of them is for the follower.
  ignored constant text := '^(CREATE|ALTER|DROP) (PUBLICATION|SUBSCRIPTION|EVENT TRIGGER|SERVER|USER MAPPING)$';
  stack text;
  frames text[];
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
  GET DIAGNOSTICS stack = PG_CONTEXT;
  frames := regexp_match(stack, own);
  IF TG_RELID <> 'follower.ddl_outbox'::regclass OR frames IS NULL THEN
    RAISE insufficient_privilege USING MESSAGE = 'only the event triggers of follower insert into follower.ddl_outbox';
  END IF;
  IF NOT EXISTS (SELECT FROM follower.follow) THEN
    RETURN NULL;
  ELSIF current_setting('follower.own', true) <> '' THEN
    IF current_setting('follower.own') = follower.mark('own') THEN
      RETURN NULL;
    END IF;
  END IF;

  -- The text of the statement itself, or, in a string of several, of all of them; an inner one has the rest of the context behind.
  statement := CASE WHEN frames[2] IS NULL THEN query ELSE regexp_replace(frames[2], '^SQL statement "', '') END;
  several := position(';' IN rtrim(statement, E' \t\r\n;')) > 0;

  IF NEW.kind <> 'broken' AND NOT EXISTS (SELECT FROM follower.secret) THEN
    RAISE EXCEPTION 'follower.secret holds no key';
  ELSIF NEW.kind = 'broken' THEN
    relations := follower.salvaged_tables();
  ELSIF NEW.kind = 'start' THEN
    PERFORM FROM pg_event_trigger_ddl_commands(); -- fails outside of events
  ELSIF NEW.kind = 'end' THEN
    SELECT array_agg(DISTINCT c.kind),
      array_agg(DISTINCT c.relation) FILTER (
        -- Other commands can neither make a table nor rob it of its key; they have weaker locks, which must stay so.
        WHERE c.command_tag IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'ALTER TABLE') AND c.type LIKE 'table%')
    INTO kinds, relations
    FROM follower.ddl_commands() c;
    CALL follower.keep_publications(relations);
    objects := CASE WHEN 'user' = ANY (kinds) THEN follower.ddl_objects() ELSE '[]' END;
  ELSIF NEW.kind = 'drop' THEN
    dropped := follower.ddl_dropped();
    -- ALTER TABLE lists its table at its end.
    relations := CASE WHEN NEW.tag = 'ALTER TABLE' THEN '{}' ELSE follower.bereft_tables() END;
    CALL follower.keep_publications(relations);
    DELETE FROM follower.identity i USING pg_event_trigger_dropped_objects() d
    WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0 AND d.objid = i.relid;
  END IF;

  IF follower.is_noise(NEW.kind, NEW.tag, statement, frames[2] IS NOT NULL, several, kinds, jsonb_array_length(dropped))
    OR NOT EXISTS (SELECT FROM follower.follow f WHERE f.ddl)
    OR NEW.tag ~ ignored AND NOT several
  THEN
    CALL follower.keep_identity(relations);
    RETURN NULL;
  END IF;

  query_hash := encode(sha256(convert_to(query, getdatabaseencoding())), 'hex');
  message := jsonb_build_object(
    'v', 1, 'kind', NEW.kind, 'xid', pg_current_xact_id()::text, 'n', nextval('follower.ddl_counter')::text,
    'role', NEW.role, 'attributes', follower.role_attributes(NEW.role), 'tag', NEW.tag, 'query_hash', query_hash,
    'context', concat_ws(E'\n', frames[1], frames[2]),
    'statement_time', statement_timestamp(), 'settings', NEW.settings,
    'objects', CASE WHEN NEW.tag ~ ignored THEN '[]' ELSE objects END,
    'dropped', CASE WHEN NEW.tag ~ ignored THEN '[]' ELSE dropped END)
    || CASE WHEN NEW.kind = 'broken' THEN jsonb_build_object('error', coalesce(NEW.error, '')) ELSE '{}' END;

  -- The text goes out once a transaction. A rolled back savepoint takes the setting back together with the message.
  sent := follower.mark('sent ' || query_hash);
  IF NEW.tag !~ ignored AND current_setting('follower.sent', true) IS DISTINCT FROM sent THEN
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
  RETURN NULL;
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
CREATE OR REPLACE FUNCTION follower.capture_ddl() RETURNS event_trigger
LANGUAGE plpgsql AS $$
DECLARE
  event_kind pg_catalog.text := 'end';
  failure pg_catalog.text;
BEGIN
  -- The only command with events that a read-only transaction may run; it changes nothing that a follower sees.
  IF tg_tag OPERATOR(pg_catalog.=) 'REINDEX' THEN
    RETURN;
  ELSIF tg_event OPERATOR(pg_catalog.=) 'sql_drop' THEN
    event_kind := 'drop';
  ELSIF tg_event OPERATOR(pg_catalog.=) 'ddl_command_start' THEN
    event_kind := 'start';
  END IF;
  BEGIN
    INSERT INTO follower.ddl_outbox (kind, tag) VALUES (event_kind, tg_tag);
  EXCEPTION WHEN OTHERS THEN
    failure := pg_catalog.concat(SQLSTATE, ': ', SQLERRM);
  END;
  IF failure IS NOT NULL THEN
    RAISE WARNING 'follower could not capture %: %', tg_tag, failure
      USING HINT = 'Followers of this database stop here. See docs/errors.md.';
    INSERT INTO follower.ddl_outbox (kind, tag, error) VALUES ('broken', tg_tag, failure);
  END IF;
EXCEPTION WHEN OTHERS THEN
  BEGIN
    -- Nobody signs this, but whoever follows counts it.
    PERFORM pg_catalog.pg_logical_emit_message(true, 'follower.ddl', 'FLW1 - - broken');
  EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'follower could not even say so: %', SQLERRM;
  END;
END $$;

REVOKE ALL ON FUNCTION follower.stamp_ddl(), follower.emit_ddl(),
  follower.is_noise(text, text, text, boolean, boolean, text[], integer), follower.bereft_tables(),
  follower.salvaged_tables(), follower.capture_ddl() FROM PUBLIC;

-- Triggers of one kind fire in the order of their names: the stamp first.
CREATE OR REPLACE TRIGGER a_stamp BEFORE INSERT ON follower.ddl_outbox FOR EACH ROW EXECUTE FUNCTION follower.stamp_ddl();
CREATE OR REPLACE TRIGGER b_emit BEFORE INSERT ON follower.ddl_outbox FOR EACH ROW EXECUTE FUNCTION follower.emit_ddl();
-- ALWAYS: session_replication_role = replica must not hide DDL.
ALTER TABLE follower.ddl_outbox ENABLE ALWAYS TRIGGER a_stamp, ENABLE ALWAYS TRIGGER b_emit;

CREATE EVENT TRIGGER follower_ddl_command_start ON ddl_command_start
  -- Their rows come before their end.
  WHEN TAG IN ('CREATE TABLE AS', 'SELECT INTO') EXECUTE FUNCTION follower.capture_ddl();
CREATE EVENT TRIGGER follower_sql_drop ON sql_drop EXECUTE FUNCTION follower.capture_ddl();
CREATE EVENT TRIGGER follower_ddl_command_end ON ddl_command_end EXECUTE FUNCTION follower.capture_ddl();
ALTER EVENT TRIGGER follower_ddl_command_start ENABLE ALWAYS;
ALTER EVENT TRIGGER follower_sql_drop ENABLE ALWAYS;
ALTER EVENT TRIGGER follower_ddl_command_end ENABLE ALWAYS;

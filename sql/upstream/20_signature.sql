-- Upstream, 2 of 8: the key, and what signs with it. Core has sha256() but no HMAC, nor XOR of bytea: hence the padded blocks.

DO $$
DECLARE
  -- gen_random_uuid() takes its 122 bits from the server's strong random source.
  key bytea := pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.concat(
    pg_catalog.gen_random_uuid(), pg_catalog.gen_random_uuid(), pg_catalog.gen_random_uuid()), 'UTF8'));
  ipad bytea := pg_catalog.decode(pg_catalog.repeat('36', 64), 'hex');
  opad bytea := pg_catalog.decode(pg_catalog.repeat('5c', 64), 'hex');
BEGIN
  IF EXISTS (SELECT FROM follower.secret) THEN
    RETURN;
  END IF;
  FOR at IN 0 .. 31 LOOP
    ipad := pg_catalog.set_byte(ipad, at, pg_catalog.get_byte(ipad, at) # pg_catalog.get_byte(key, at));
    opad := pg_catalog.set_byte(opad, at, pg_catalog.get_byte(opad, at) # pg_catalog.get_byte(key, at));
  END LOOP;
  INSERT INTO follower.secret (key_id, ipad, opad)
  VALUES (pg_catalog.left(pg_catalog.replace(pg_catalog.gen_random_uuid()::text, '-', ''), 8), ipad, opad);
END $$;

-- HMAC-SHA256 of the payload, as `<key id> <64 hex digits>`; NULL where there is no key.
CREATE OR REPLACE FUNCTION follower.sign(payload bytea) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN (
    SELECT s.key_id || ' ' || encode(sha256(s.opad || sha256(s.ipad || payload)), 'hex')
    FROM follower.secret s ORDER BY s.created_at DESC, s.key_id LIMIT 1);
END $$;

-- A value for a custom setting that nobody but the capture can make, good for this transaction only. Settings are where state can
-- be kept that a rolled back savepoint takes back, but any role may set them.
CREATE OR REPLACE FUNCTION follower.mark(purpose text) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  meaning text := concat_ws(' ', purpose, pg_current_xact_id());
BEGIN
  RETURN coalesce(follower.sign(convert_to(meaning, 'UTF8')), meaning);
END $$;

-- Logical messages go out as they are, so they are UTF-8 whatever the database's encoding. SQL_ASCII may hold what is no UTF-8:
-- then each byte is taken as LATIN1, which at least arrives, and shows when the catalogs are compared.
CREATE OR REPLACE FUNCTION follower.utf8(content text) RETURNS bytea
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF getdatabaseencoding() = 'UTF8' THEN
    RETURN convert_to(content, 'UTF8');
  END IF;
  BEGIN
    RETURN convert_to(content, 'UTF8');
  EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN
    RETURN convert(convert_to(content, getdatabaseencoding()), 'LATIN1', 'UTF8');
  END;
END $$;

REVOKE ALL ON FUNCTION follower.sign(bytea), follower.mark(text), follower.utf8(text) FROM PUBLIC;

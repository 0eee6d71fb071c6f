-- Upstream, 1 of 8: the registry of follows and the tables of the capture.
-- All files of this directory run in name order in one transaction, and again over an existing installation: they keep its rows.

-- First of all: the capture must not capture its own installation.
DROP EVENT TRIGGER IF EXISTS follower_ddl_command_end;
DROP EVENT TRIGGER IF EXISTS follower_sql_drop;
DROP EVENT TRIGGER IF EXISTS follower_ddl_command_start;
DROP EVENT TRIGGER IF EXISTS follower_author_ddl_command_end;
DROP EVENT TRIGGER IF EXISTS follower_author_sql_drop;
DROP EVENT TRIGGER IF EXISTS follower_author_ddl_command_start;

-- What this schema holds runs with the rights of whoever installs it, so nobody else may have put anything there before. One function
-- may belong to the role that hand_over() made for it: nobody can log in as that one, or act for it.
DO $$
DECLARE
  intruder text;
BEGIN
  SELECT string_agg(pg_catalog.format('%s of %s', o.object, o.owner::pg_catalog.regrole), ', ') INTO intruder
  FROM (
    SELECT 'schema ' || n.nspname AS object, n.nspowner AS owner FROM pg_catalog.pg_namespace n WHERE n.nspname = 'follower'
    UNION ALL
    SELECT 'relation ' || c.relname, c.relowner FROM pg_catalog.pg_class c
    WHERE c.relnamespace = pg_catalog.to_regnamespace('follower')
    UNION ALL
    SELECT 'function ' || p.proname, p.proowner FROM pg_catalog.pg_proc p
    WHERE p.pronamespace = pg_catalog.to_regnamespace('follower') AND NOT (p.proname = 'capture_ddl' AND EXISTS (
      SELECT FROM pg_catalog.pg_roles w
      WHERE w.oid = p.proowner AND w.rolname LIKE 'follower\_capture\_%' AND NOT w.rolcanlogin AND NOT w.rolcreaterole
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_auth_members m WHERE m.roleid = w.oid)))
    UNION ALL
    SELECT 'type ' || t.typname, t.typowner FROM pg_catalog.pg_type t
    WHERE t.typnamespace = pg_catalog.to_regnamespace('follower')
  ) o
  JOIN pg_catalog.pg_roles r ON r.oid = o.owner
  WHERE NOT r.rolsuper AND r.rolname <> current_user;
  IF intruder IS NOT NULL THEN
    RAISE insufficient_privilege USING
      MESSAGE = 'schema follower holds objects of other roles',
      DETAIL = intruder,
      HINT = 'Drop or rename them: follower needs the schema for itself.';
  END IF;
END $$;

CREATE SCHEMA IF NOT EXISTS follower;

CREATE TABLE IF NOT EXISTS follower.follow (
  name text PRIMARY KEY,
  slot text NOT NULL,
  -- The first is the main one; the second, in mode insert-only, carries inserts and truncates of every followed table.
  publications text[] NOT NULL,
  ddl boolean NOT NULL,
  no_identity text NOT NULL CHECK (no_identity IN ('refuse', 'full', 'insert-only')),
  -- "schema"."table" or "schema".*; empty for all.
  tables text[] NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE follower.follow IS 'Follows of this database: one row each.';

-- The key of the messages' MAC as the two padded blocks of HMAC (RFC 2104). Of several, the newest signs.
CREATE TABLE IF NOT EXISTS follower.secret (
  key_id text PRIMARY KEY,
  ipad bytea NOT NULL CHECK (pg_catalog.length(ipad) = 64),
  opad bytea NOT NULL CHECK (pg_catalog.length(opad) = 64),
  created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE follower.secret IS 'Keys that sign DDL messages. Who reads them can forge messages of any role.';

CREATE TABLE IF NOT EXISTS follower.identity (
  relid oid PRIMARY KEY,
  previous "char" NOT NULL
);
COMMENT ON TABLE follower.identity IS
  'Tables that follower gave REPLICA IDENTITY FULL, so that UPDATE and DELETE work; previous: what pg_class.relreplident was.';

CREATE SEQUENCE IF NOT EXISTS follower.ddl_counter;

-- Also against what ALTER DEFAULT PRIVILEGES gave to others.
DO $$
DECLARE
  grantee text;
  target text;
BEGIN
  FOR grantee, target IN
    SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::pg_catalog.regrole::text END, o.target
    FROM (
      SELECT 'SCHEMA follower' AS target, n.nspowner AS owner, n.nspacl AS acl
      FROM pg_catalog.pg_namespace n WHERE n.nspname = 'follower'
      UNION ALL
      SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || c.oid::pg_catalog.regclass, c.relowner, c.relacl
      FROM pg_catalog.pg_class c
      WHERE c.oid = ANY (ARRAY['follower.follow', 'follower.secret', 'follower.identity',
        'follower.ddl_counter']::pg_catalog.regclass[])
    ) o,
    pg_catalog.aclexplode(o.acl) a
    WHERE a.grantee <> o.owner
  LOOP
    EXECUTE pg_catalog.format('REVOKE ALL ON %s FROM %s CASCADE', target, grantee);
  END LOOP;
END $$;

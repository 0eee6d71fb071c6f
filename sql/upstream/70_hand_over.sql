-- Upstream, 7 of 8: the capture for a role that is no superuser. Run by a superuser: CALL follower.hand_over('role').
--
-- Whoever owns an event trigger's function can make it SECURITY INVOKER, or replace it: then every superuser's DDL runs his code as
-- superuser. So the role that follows gets no function. follower.capture_ddl() goes to a role of its own, which cannot log in, which
-- nobody is a member of, and which is a member of the role that follows: the capture has that one's rights, and runs as no superuser.
-- All else stays with the superuser; the role that follows may call what runs with its own rights, read the keys, and write the registry.
CREATE OR REPLACE PROCEDURE follower.hand_over(role name)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  version constant integer := current_setting('server_version_num');
  owner record;
  wall name := ('follower_capture_' || current_database())::name;
BEGIN
  SELECT r.rolname, r.rolsuper INTO owner
  FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner WHERE p.oid = 'follower.capture_ddl()'::regprocedure;
  IF NOT owner.rolsuper THEN
    wall := owner.rolname;
  END IF;

  IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = wall) THEN
    EXECUTE format('CREATE ROLE %I NOLOGIN', wall);
    EXECUTE format('COMMENT ON ROLE %I IS %L', wall, 'follower: owns the capture of schema changes, for the roles that it is a member of');
  ELSIF EXISTS (
    SELECT FROM pg_roles r WHERE r.rolname = wall
      AND (r.rolcanlogin OR r.rolsuper OR r.rolcreaterole OR EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = r.oid)))
  THEN
    RAISE insufficient_privilege USING
      MESSAGE = format('role %s cannot own the capture', wall),
      DETAIL = 'It may log in or create roles, or other roles are members of it: they could put their code into the commands of superusers.',
      HINT = format('ALTER ROLE %I NOLOGIN NOCREATEROLE, and REVOKE it from its members.', wall);
  END IF;
  EXECUTE format('GRANT %I TO %I%s', role, wall, CASE WHEN version >= 160000 THEN ' WITH INHERIT TRUE, SET FALSE' ELSE '' END);

  -- Before the owner changes: from then on the capture needs them. What the role that follows has, the other one inherits.
  CALL follower.execute_own(format('GRANT USAGE ON SCHEMA follower TO %I', role));
  CALL follower.execute_own(format('GRANT SELECT, INSERT, UPDATE, DELETE ON follower.follow, follower.identity TO %I', role));
  CALL follower.execute_own(format('GRANT SELECT ON follower.secret TO %I', role));
  CALL follower.execute_own(format('GRANT USAGE ON SEQUENCE follower.ddl_counter TO %I', role));
  CALL follower.execute_own(format('GRANT EXECUTE ON ALL ROUTINES IN SCHEMA follower TO %I', role));

  -- A superuser's follow may publish tables that only a superuser can care for.
  IF owner.rolsuper AND EXISTS (
    SELECT FROM follower.follow f JOIN pg_publication p ON p.pubname = ANY (f.publications) JOIN pg_roles o ON o.oid = p.pubowner
    WHERE o.rolsuper)
  THEN
    RETURN;
  END IF;
  -- The capture fixes lc_messages, which only a superuser may set unless allowed to.
  IF version >= 150000 THEN
    EXECUTE format('GRANT SET ON PARAMETER lc_messages TO %I', wall);
  ELSIF current_setting('lc_messages') ~ '^(C|POSIX|en)' THEN
    CALL follower.execute_own('ALTER FUNCTION follower.capture_ddl() RESET lc_messages');
  ELSE
    RAISE feature_not_supported USING
      MESSAGE = format('lc_messages is %s: before PostgreSQL 15 the capture then needs a superuser', current_setting('lc_messages')),
      HINT = 'ALTER SYSTEM SET lc_messages = ''C''; SELECT pg_reload_conf();';
  END IF;
  IF owner.rolsuper THEN
    CALL follower.execute_own(format('ALTER FUNCTION follower.capture_ddl() OWNER TO %I', wall));
  END IF;
END $$;

REVOKE ALL ON PROCEDURE follower.hand_over(name) FROM PUBLIC;

-- The files before took all grants back: those who had it have it again.
DO $$
DECLARE
  role name;
BEGIN
  FOR role IN
    SELECT g.rolname
    FROM pg_catalog.pg_roles w
    JOIN pg_catalog.pg_auth_members m ON m.member = w.oid
    JOIN pg_catalog.pg_roles g ON g.oid = m.roleid
    WHERE w.oid IN (SELECT p.proowner FROM pg_catalog.pg_proc p WHERE p.oid = 'follower.capture_ddl()'::pg_catalog.regprocedure)
        AND NOT w.rolsuper
      OR w.rolname = ('follower_capture_' || pg_catalog.current_database())::pg_catalog.name
        AND pg_catalog.shobj_description(w.oid, 'pg_authid') LIKE 'follower:%'
    ORDER BY 1
  LOOP
    CALL follower.hand_over(role);
  END LOOP;
END $$;

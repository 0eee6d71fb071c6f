-- A superuser's follow may publish tables that only a superuser can care for: then the capture has to be one's again, whoever it
-- was handed over to (sql/upstream/70_hand_over.sql). No parameters.
DO $$
BEGIN
  IF (SELECT NOT r.rolsuper FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_roles r ON r.oid = p.proowner
      WHERE p.oid = 'follower.capture_ddl()'::pg_catalog.regprocedure)
  THEN
    CALL follower.execute_own('ALTER FUNCTION follower.capture_ddl() OWNER TO CURRENT_USER');
  END IF;
END $$;

-- Gives back the replica identities that the capture set, where this role may. Before teardown/upstream.sql. Runs again without harm.
DO $$
DECLARE
  t record;
BEGIN
  FOR t IN
    SELECT i.relid, pg_catalog.format('%I.%I', n.nspname, c.relname) AS name, i.previous
    FROM follower.identity i
    JOIN pg_catalog.pg_class c ON c.oid = i.relid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relreplident = 'f'
  LOOP
    BEGIN
      -- An index that was the identity and is gone can't come back.
      CALL follower.execute_own(pg_catalog.format('ALTER TABLE ONLY %s REPLICA IDENTITY %s', t.name,
        CASE t.previous WHEN 'n' THEN 'NOTHING' ELSE 'DEFAULT' END));
      DELETE FROM follower.identity i WHERE i.relid = t.relid;
    EXCEPTION WHEN insufficient_privilege THEN
      CONTINUE;
    END;
  END LOOP;
END $$;

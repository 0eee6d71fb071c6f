-- Upstream, 8 of 8: the event triggers. Last of all: the capture must not capture its own installation.

-- On ddl_command_start because the rows of these two come before their end.
CREATE EVENT TRIGGER follower_author_ddl_command_start ON ddl_command_start
  WHEN TAG IN ('CREATE TABLE AS', 'SELECT INTO') EXECUTE FUNCTION follower.stamp_author();
CREATE EVENT TRIGGER follower_ddl_command_start ON ddl_command_start
  WHEN TAG IN ('CREATE TABLE AS', 'SELECT INTO') EXECUTE FUNCTION follower.capture_ddl();
CREATE EVENT TRIGGER follower_author_sql_drop ON sql_drop EXECUTE FUNCTION follower.stamp_author();
CREATE EVENT TRIGGER follower_sql_drop ON sql_drop EXECUTE FUNCTION follower.capture_ddl();
CREATE EVENT TRIGGER follower_author_ddl_command_end ON ddl_command_end EXECUTE FUNCTION follower.stamp_author();
CREATE EVENT TRIGGER follower_ddl_command_end ON ddl_command_end EXECUTE FUNCTION follower.capture_ddl();
-- ALWAYS: session_replication_role = replica must not hide DDL. The authors' first: nothing may be captured without them.
ALTER EVENT TRIGGER follower_author_ddl_command_start ENABLE ALWAYS;
ALTER EVENT TRIGGER follower_author_sql_drop ENABLE ALWAYS;
ALTER EVENT TRIGGER follower_author_ddl_command_end ENABLE ALWAYS;
ALTER EVENT TRIGGER follower_ddl_command_start ENABLE ALWAYS;
ALTER EVENT TRIGGER follower_sql_drop ENABLE ALWAYS;
ALTER EVENT TRIGGER follower_ddl_command_end ENABLE ALWAYS;

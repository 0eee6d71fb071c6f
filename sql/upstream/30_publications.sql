-- Upstream, 3 of 8: which publications of registered follows hold an object.

-- The registry's patterns as rows; table_name is NULL for all tables of the schema.
CREATE OR REPLACE FUNCTION follower.patterns(tables text[]) RETURNS TABLE (schema_name text, table_name text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT (CASE WHEN all_of_it THEN parse_ident(left(pattern, -2)) ELSE parse_ident(pattern) END)[1],
    CASE WHEN NOT all_of_it THEN (parse_ident(pattern))[2] END
  FROM (SELECT p.pattern, right(p.pattern, 2) = '.*' AS all_of_it FROM unnest(tables) AS p (pattern)) AS p
$$;

-- The relation that an object belongs to, itself included; NULL for what belongs to none.
CREATE OR REPLACE FUNCTION follower.relation_of(class oid, object oid) RETURNS oid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  CASE class
    WHEN 'pg_class'::regclass THEN
      RETURN (
        SELECT CASE
          WHEN c.relkind IN ('i', 'I') THEN (SELECT i.indrelid FROM pg_index i WHERE i.indexrelid = c.oid)
          WHEN c.relkind = 'S' THEN coalesce((
            SELECT d.refobjid FROM pg_depend d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass
              AND d.deptype IN ('a', 'i')
            LIMIT 1), c.oid)
          ELSE c.oid END
        FROM pg_class c WHERE c.oid = object);
    WHEN 'pg_constraint'::regclass THEN
      RETURN (SELECT nullif(k.conrelid, 0) FROM pg_constraint k WHERE k.oid = object);
    WHEN 'pg_trigger'::regclass THEN
      RETURN (SELECT t.tgrelid FROM pg_trigger t WHERE t.oid = object);
    WHEN 'pg_policy'::regclass THEN
      RETURN (SELECT p.polrelid FROM pg_policy p WHERE p.oid = object);
    WHEN 'pg_rewrite'::regclass THEN
      RETURN (SELECT r.ev_class FROM pg_rewrite r WHERE r.oid = object);
    WHEN 'pg_attrdef'::regclass THEN
      RETURN (SELECT d.adrelid FROM pg_attrdef d WHERE d.oid = object);
    WHEN 'pg_statistic_ext'::regclass THEN
      RETURN (SELECT s.stxrelid FROM pg_statistic_ext s WHERE s.oid = object);
    ELSE
      RETURN NULL;
  END CASE;
END $$;

-- Does the publication list one of these relations, or the schema of one?
CREATE OR REPLACE FUNCTION follower.lists(publication oid, relations oid[]) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = publication AND r.prrelid = ANY (relations)) THEN
    RETURN true;
  ELSIF to_regclass('pg_catalog.pg_publication_namespace') IS NULL THEN
    RETURN false; -- PostgreSQL 14
  END IF;
  RETURN EXISTS (
    SELECT FROM pg_publication_namespace n JOIN pg_class c ON c.relnamespace = n.pnnspid
    WHERE n.pnpubid = publication AND c.oid = ANY (relations));
END $$;

-- The relation and, for a partition, all that it is part of.
CREATE OR REPLACE FUNCTION follower.lineage(relation oid) RETURNS oid[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT ARRAY(SELECT a.relid::oid FROM pg_partition_ancestors(relation) AS a UNION SELECT relation)
$$;

-- Is the publication a list that follower made and that this table belongs into? A role that is no superuser can't publish all
-- tables, and can't list one whose owner it isn't a member of: then schema changes of it are followed all the same, so that its rows
-- can follow as soon as it may. Without a table: everything of the schema; without a schema: everything.
CREATE OR REPLACE FUNCTION follower.claims(publication oid, schema_name text, table_name text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN EXISTS (
    SELECT FROM pg_publication p JOIN follower.follow f ON p.pubname = ANY (f.publications)
    WHERE p.oid = publication AND obj_description(p.oid, 'pg_publication') = 'follower: made for the follow ' || f.name
      AND (cardinality(f.tables) = 0 OR EXISTS (
        SELECT FROM follower.patterns(f.tables) m
        WHERE m.schema_name = claims.schema_name AND coalesce(m.table_name, claims.table_name) = claims.table_name)));
END $$;

-- Publications of registered follows that send the rows of a table.
CREATE OR REPLACE FUNCTION follower.senders_of_table(relation oid) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  line oid[] := follower.lineage(relation);
BEGIN
  RETURN ARRAY(
    SELECT p.pubname::text FROM pg_publication p
    WHERE EXISTS (SELECT FROM follower.follow f WHERE p.pubname = ANY (f.publications))
      AND (p.puballtables OR follower.lists(p.oid, line))
    ORDER BY 1);
END $$;

-- Those whose follows take part in schema changes of a table: these, and lists that it belongs into.
CREATE OR REPLACE FUNCTION follower.publications_of_table(relation oid) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  line oid[] := follower.lineage(relation);
BEGIN
  RETURN ARRAY(
    SELECT unnest(follower.senders_of_table(relation))
    UNION
    SELECT p.pubname::text FROM pg_publication p, pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = ANY (line) AND EXISTS (SELECT FROM follower.follow f WHERE p.pubname = ANY (f.publications))
      AND follower.claims(p.oid, n.nspname, c.relname)
    ORDER BY 1);
END $$;

-- For what belongs to no table. A schema counts where all tables are published, where the follow's patterns name it, and where
-- the publication holds it or one of its tables. Without a schema (NULL) only publications of all tables count.
CREATE OR REPLACE FUNCTION follower.publications_of_schema(schema_name text) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  schema_oid oid := (SELECT n.oid FROM pg_namespace n WHERE n.nspname = schema_name);
  holders oid[] := ARRAY(
    SELECT r.prpubid FROM pg_publication_rel r JOIN pg_class c ON c.oid = r.prrelid WHERE c.relnamespace = schema_oid);
BEGIN
  IF to_regclass('pg_catalog.pg_publication_namespace') IS NOT NULL THEN
    holders := holders || ARRAY(SELECT n.pnpubid FROM pg_publication_namespace n WHERE n.pnnspid = schema_oid);
  END IF;
  RETURN ARRAY(
    SELECT DISTINCT p.pubname::text
    FROM follower.follow f JOIN pg_publication p ON p.pubname = ANY (f.publications)
    WHERE p.puballtables OR p.oid = ANY (holders) OR follower.claims(p.oid, NULL, NULL)
      OR EXISTS (SELECT FROM follower.patterns(f.tables) t WHERE t.schema_name = publications_of_schema.schema_name)
    ORDER BY 1);
END $$;

-- For a table that is gone: what held all tables, or all of its schema, or would have held it.
CREATE OR REPLACE FUNCTION follower.publications_of_gone_table(schema_name text, table_name text) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  holders oid[] := '{}';
BEGIN
  IF to_regclass('pg_catalog.pg_publication_namespace') IS NOT NULL THEN
    holders := ARRAY(
      SELECT p.pnpubid FROM pg_publication_namespace p JOIN pg_namespace n ON n.oid = p.pnnspid
      WHERE n.nspname = publications_of_gone_table.schema_name);
  END IF;
  RETURN ARRAY(
    SELECT p.pubname::text FROM pg_publication p
    WHERE EXISTS (SELECT FROM follower.follow f WHERE p.pubname = ANY (f.publications))
      AND (p.puballtables OR p.oid = ANY (holders)
        OR follower.claims(p.oid, publications_of_gone_table.schema_name, publications_of_gone_table.table_name))
    ORDER BY 1);
END $$;

-- For what every follow needs or may need: extensions, and GRANT, of which PostgreSQL doesn't tell the object.
CREATE OR REPLACE FUNCTION follower.every_publication() RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT ARRAY(SELECT DISTINCT unnest(f.publications) FROM follower.follow f ORDER BY 1)
$$;

-- Before PostgreSQL 16 pgoutput goes on to send rows under the old name of a schema that was renamed. To touch a publication, which
-- changes nothing, makes it look at the names of its tables again; 14 does so only for tables that the publication lists, so there the
-- tables of the schemas that the command renamed are touched themselves, by a superuser: others publish only what they list.
CREATE OR REPLACE PROCEDURE follower.forget_names()
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  touched record;
BEGIN
  IF current_setting('server_version_num')::int >= 160000 THEN
    RETURN;
  END IF;
  FOR touched IN
    SELECT p.pubname, p.pubviaroot FROM pg_publication p
    WHERE EXISTS (SELECT FROM follower.follow f WHERE p.pubname = ANY (f.publications)) AND pg_has_role(p.pubowner, 'USAGE')
    ORDER BY 1
  LOOP
    CALL follower.execute_own(
      format('ALTER PUBLICATION %I SET (publish_via_partition_root = %s)', touched.pubname, touched.pubviaroot::text));
  END LOOP;
  IF current_setting('server_version_num')::int < 150000 AND (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN
    UPDATE pg_class SET relname = relname
    WHERE relkind IN ('r', 'p') AND relnamespace IN (
      SELECT c.objid FROM pg_event_trigger_ddl_commands() c WHERE c.classid = 'pg_namespace'::regclass);
  END IF;
END $$;

REVOKE ALL ON FUNCTION follower.patterns(text[]), follower.relation_of(oid, oid), follower.lists(oid, oid[]),
  follower.lineage(oid), follower.claims(oid, text, text), follower.senders_of_table(oid), follower.publications_of_table(oid), follower.publications_of_schema(text),
  follower.publications_of_gone_table(text, text), follower.every_publication() FROM PUBLIC;
REVOKE ALL ON PROCEDURE follower.forget_names() FROM PUBLIC;

-- Upstream, 5 of 8: the parts of a DDL message. Called by follower.emit_ddl() only, during an event.

-- Attributes and memberships of the role that ran the statement.
CREATE OR REPLACE FUNCTION follower.role_attributes(role name) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN (
    WITH RECURSIVE member (roleid) AS (
      SELECT m.roleid FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member WHERE r.rolname = role
      UNION
      SELECT m.roleid FROM pg_auth_members m JOIN member ON member.roleid = m.member
    )
    SELECT jsonb_build_object('superuser', r.rolsuper, 'createrole', r.rolcreaterole, 'createdb', r.rolcreatedb,
      'replication', r.rolreplication, 'bypassrls', r.rolbypassrls, 'member_of', coalesce(
        (SELECT jsonb_agg(p.rolname ORDER BY p.rolname) FROM member JOIN pg_roles p ON p.oid = member.roleid), '[]'))
    FROM pg_roles r WHERE r.rolname = role);
END $$;

-- Fast defaults: what rows from before the column show, as text. The partitions have it, the partitioned table has not.
CREATE OR REPLACE FUNCTION follower.missing_values(relation oid, relkind "char") RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  tree oid[] := ARRAY[relation];
BEGIN
  IF relkind = 'p' THEN
    tree := ARRAY(SELECT t.relid FROM pg_partition_tree(relation) t WHERE t.isleaf);
  END IF;
  RETURN (
    SELECT jsonb_object_agg(a.attname, array_to_string(a.attmissingval, ','))
    FROM pg_attribute a
    WHERE a.attrelid = ANY (tree) AND a.atthasmissing AND NOT a.attisdropped AND a.attmissingval IS NOT NULL);
END $$;

-- Rows of pg_event_trigger_ddl_commands(), sorted into those that count and those that don't.
CREATE OR REPLACE FUNCTION follower.ddl_commands()
RETURNS TABLE (command_tag text, type text, schema_name text, identity text, classid oid, objid oid, objsubid integer,
  relation oid, relkind "char", kind text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN QUERY
    SELECT c.command_tag, c.object_type, c.schema_name, c.object_identity, c.classid, c.objid, c.objsubid,
      r.oid, r.relkind,
      CASE
        WHEN c.in_extension THEN 'extension'
        WHEN 'follower' IN (c.schema_name, n.nspname) OR c.object_type = 'schema' AND c.object_identity = 'follower' THEN 'own'
        WHEN c.schema_name LIKE 'pg\_temp%' OR c.schema_name LIKE 'pg\_toast%' OR r.relpersistence = 't' THEN 'temporary'
        ELSE 'user' END
    FROM pg_event_trigger_ddl_commands() WITH ORDINALITY AS
      c (classid, objid, objsubid, command_tag, object_type, schema_name, object_identity, in_extension, command, place)
    LEFT JOIN pg_class r ON r.oid = follower.relation_of(c.classid, c.objid)
    LEFT JOIN pg_namespace n ON n.oid = r.relnamespace
    ORDER BY c.place;
END $$;

-- DdlMessage.objects. One state per object, also where an event lists it twice.
CREATE OR REPLACE FUNCTION follower.ddl_objects() RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN (
    WITH command AS MATERIALIZED (
      SELECT c.*, row_number() OVER () AS place FROM follower.ddl_commands() c WHERE c.kind = 'user'
    ), object AS MATERIALIZED (
      SELECT o.classid, o.objid, o.objsubid, o.type, a.object_names AS names, a.object_args AS args,
        -- By OID: whoever owns the capture need not have USAGE on every schema.
        follower.object_state_at(o.type, o.classid, o.objid, o.objsubid) AS state,
        CASE WHEN o.relkind IN ('r', 'p') AND o.classid = 'pg_class'::regclass AND o.relation = o.objid
          THEN follower.missing_values(o.objid, o.relkind) END AS missing,
        CASE WHEN o.relkind IN ('r', 'p') THEN follower.senders_of_table(o.relation) END AS published,
        CASE
          WHEN o.relkind IN ('r', 'p') THEN follower.publications_of_table(o.relation)
          WHEN o.type = 'extension' THEN follower.every_publication()
          WHEN o.type = 'schema' THEN follower.publications_of_schema(a.object_names[1])
          ELSE follower.publications_of_schema(coalesce(o.schema_name,
            (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = o.relation)))
          END AS publications
      FROM (SELECT DISTINCT ON (classid, objid, objsubid) * FROM command WHERE objid IS NOT NULL) o,
        pg_identify_object_as_address(o.classid, o.objid, o.objsubid) a
    )
    SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('missing', o.missing, 'published', o.published)) || jsonb_build_object(
      'tag', c.command_tag, 'type', c.type, 'schema', c.schema_name, 'identity', coalesce(c.identity, ''),
      'names', coalesce(o.names, '{}'), 'args', coalesce(o.args, '{}'), 'oid', coalesce(c.objid, 0)::text,
      'state', o.state,
      -- GRANT, REVOKE and ALTER DEFAULT PRIVILEGES have no object.
      'publications', coalesce(o.publications, follower.every_publication())) ORDER BY c.place), '[]')
    FROM command c LEFT JOIN object o ON (o.classid, o.objid, o.objsubid) = (c.classid, c.objid, c.objsubid));
END $$;

-- Rows of pg_event_trigger_dropped_objects() that count, with the schema and the table that each belongs to, by name.
CREATE OR REPLACE FUNCTION follower.dropped_objects()
RETURNS TABLE (place bigint, type text, schema_name text, name text, identity text, names text[], args text[], original boolean,
  normal boolean, home text, table_name text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN QUERY
    SELECT d.place, d.object_type, d.schema_name, d.object_name, d.object_identity,
      coalesce(d.address_names, '{}'), coalesce(d.address_args, '{}'), d.original, d.normal,
      coalesce(d.schema_name, CASE WHEN d.object_type IN ('schema', 'trigger', 'policy', 'rule') THEN d.address_names[1] END),
      CASE WHEN d.object_type IN ('table', 'table column', 'table constraint', 'default value', 'trigger', 'policy', 'rule')
        THEN d.address_names[2] END
    FROM pg_event_trigger_dropped_objects() WITH ORDINALITY AS
      d (classid, objid, objsubid, original, normal, is_temporary, object_type, schema_name, object_name, object_identity,
        address_names, address_args, place)
    WHERE NOT d.is_temporary
      AND coalesce(d.schema_name, d.address_names[1], '') !~ '^(follower$|pg_temp|pg_toast)'
      AND d.object_type !~ '^(publication|subscription|event trigger|user mapping|server)';
END $$;

-- DdlMessage.dropped. Which list held a table that is gone, is only told by the drop of its place in the list.
CREATE OR REPLACE FUNCTION follower.ddl_dropped() RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN (
    WITH dropped AS MATERIALIZED (
      SELECT * FROM follower.dropped_objects()
    ), unlisted AS MATERIALIZED (
      SELECT d.object_type AS type, d.address_names[1] AS schema_name, d.address_names[2] AS table_name,
        d.address_args[1] AS publication
      FROM pg_event_trigger_dropped_objects() d
      WHERE d.object_type IN ('publication relation', 'publication namespace')
        AND d.address_args[1] = ANY (follower.every_publication())
    ), belonging AS MATERIALIZED (
      SELECT t.home, t.table_name, CASE
        WHEN t.table_name IS NULL THEN follower.publications_of_schema(t.home)
        WHEN c.relkind IN ('r', 'p') THEN follower.publications_of_table(c.oid)
        WHEN c.oid IS NOT NULL THEN follower.publications_of_schema(t.home)
        ELSE follower.publications_of_gone_table(t.home, t.table_name) END AS publications
      FROM (SELECT DISTINCT home, table_name FROM dropped) t
      LEFT JOIN pg_namespace n ON n.nspname = t.home
      LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.table_name
    )
    SELECT coalesce(jsonb_agg(jsonb_build_object(
      'type', d.type, 'schema', d.schema_name, 'name', d.name, 'identity', d.identity, 'names', d.names, 'args', d.args,
      'original', d.original, 'normal', d.normal, 'temporary', false,
      'publications', CASE WHEN d.type = 'extension' THEN follower.every_publication() ELSE ARRAY(
        SELECT unnest(b.publications)
        UNION
        SELECT u.publication FROM unlisted u
        WHERE u.schema_name = d.home
          AND (u.type = 'publication namespace' OR u.table_name = d.table_name)
        ORDER BY 1) END) ORDER BY d.place), '[]')
    FROM dropped d
    LEFT JOIN belonging b ON b.home IS NOT DISTINCT FROM d.home AND b.table_name IS NOT DISTINCT FROM d.table_name);
END $$;

REVOKE ALL ON FUNCTION follower.role_attributes(name), follower.missing_values(oid, "char"), follower.ddl_commands(),
  follower.ddl_objects(), follower.dropped_objects(), follower.ddl_dropped() FROM PUBLIC;

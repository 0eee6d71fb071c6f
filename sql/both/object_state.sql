-- What the catalog holds about one object, as a flat map from aspect to text: made upstream by the capture triggers, made again
-- downstream after the replay, and compared. Every aspect that the upstream has must be equal downstream; more aspects may be there.
--
-- Input: an address as pg_identify_object_as_address() gives it.
-- Result: NULL where the object does not exist; {"?": "unknown class"} where follower knows no state for the class.
-- Aspects that start with ~ hold text that majors print differently: they only compare between equal majors.
--
-- Identifiers are always quoted, since the list of reserved words differs between majors; names are always qualified, since
-- only pg_catalog is in the path; the other settings fix how constants are printed, whatever the session says.
CREATE OR REPLACE FUNCTION follower.object_state(type text, names text[], args text[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  class text := follower.address_class(type);
  address text[] := names;
  object record;
BEGIN
  IF class IS NULL THEN
    RETURN '{"?": "unknown class"}';
  ELSIF lower(type) IN ('composite type', 'domain', 'enum') AND cardinality(address) = 2 THEN
    address := ARRAY[format('%I.%I', address[1], address[2])];
  END IF;
  BEGIN
    SELECT * INTO object FROM pg_get_object_address(class, address, coalesce(args, '{}'));
  EXCEPTION
    WHEN undefined_table OR undefined_column OR undefined_function OR undefined_object OR invalid_schema_name OR wrong_object_type THEN
      RETURN NULL;
  END;
  RETURN follower.object_state_at(type, object.classid, object.objid, object.objsubid);
END $$;

COMMENT ON FUNCTION follower.object_state(text, text[], text[]) IS
  'What the catalog holds about one object, as a map from aspect to text; NULL where it does not exist.';

-- The word that pg_get_object_address() knows the class by: one for columns of every kind of relation, and one for every kind of
-- type. NULL for what follower has no state of.
CREATE OR REPLACE FUNCTION follower.address_class(type text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  class text := lower(type);
BEGIN
  IF class LIKE '% column' THEN
    class := 'table column';
  ELSIF class IN ('composite type', 'domain', 'enum') THEN
    class := 'type';
  END IF;
  RETURN CASE WHEN class = ANY (ARRAY[
    'access method', 'aggregate', 'cast', 'collation', 'conversion', 'default acl', 'domain constraint', 'event trigger', 'extension',
    'foreign table', 'foreign-data wrapper', 'function', 'index', 'language', 'materialized view', 'operator', 'operator class',
    'operator family', 'policy', 'procedure', 'rule', 'schema', 'sequence', 'server', 'statistics object', 'table', 'table column',
    'table constraint', 'text search configuration', 'text search dictionary', 'text search parser', 'text search template',
    'transform', 'trigger', 'type', 'view']) THEN class END;
END $$;

-- The same for whoever has the OIDs: a name can only be looked up by a role with USAGE on its schema.
CREATE OR REPLACE FUNCTION follower.object_state_at(type text, class oid, object oid, part integer) RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET quote_all_identifiers = on
SET DateStyle = 'ISO, MDY'
SET IntervalStyle = 'postgres'
SET TimeZone = 'UTC'
SET extra_float_digits = 1
SET bytea_output = 'hex'
SET lc_monetary = 'C'
SET xmlbinary = 'base64'
SET standard_conforming_strings = on
AS $$
DECLARE
  word text := follower.address_class(type);
  state jsonb;
BEGIN
  IF word IS NULL THEN
    RETURN '{"?": "unknown class"}';
  ELSIF word = 'type' AND class = 'pg_class'::regclass THEN
    -- An event lists a composite type as the relation that it has.
    RETURN follower.object_state_at(type, 'pg_type'::regclass, (SELECT c.reltype FROM pg_class c WHERE c.oid = object), 0);
  END IF;
  state := CASE class
    WHEN 'pg_class'::regclass THEN
      CASE WHEN part > 0 THEN follower.columns_state(object, part)
        ELSE follower.relation_state(object) END
    WHEN 'pg_type'::regclass THEN follower.type_state(object)
    WHEN 'pg_proc'::regclass THEN follower.function_state(object)
    ELSE follower.other_state(class, object)
  END;
  -- A property that is not set is an aspect with an empty text, so that one that is set at the other end shows. Only comments may be
  -- there more; that of an extension comes with its version.
  RETURN (
    SELECT coalesce(jsonb_object_agg(aspect.name, coalesce(aspect.value, '')), '{}')
    FROM (
      SELECT s.key, s.value FROM jsonb_each_text(state) s
      UNION ALL
      SELECT CASE WHEN word = 'extension' THEN '~comment' ELSE 'comment' END, d.description
      FROM pg_description d
      WHERE d.classoid = class AND d.objoid = object AND d.objsubid = 0 AND part = 0
    ) aspect (name, value));
END $$;

-- One aspect per grantee, `acl OWNER`, `acl PUBLIC` or `acl "role"`: its privileges, with * where it may grant them.
-- No acl at all is the default one; who loses every privilege of the default one stays, with none.
-- MAINTAIN is left out: PostgreSQL 17 brought it.
CREATE OR REPLACE FUNCTION follower.acl_state(acl aclitem[], kind "char", owner oid) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN (
    SELECT coalesce(jsonb_object_agg(
      'acl ' || CASE granted.grantee WHEN acl_state.owner THEN 'OWNER' WHEN 0 THEN 'PUBLIC' ELSE granted.grantee::regrole::text END,
      granted.privileges), '{}')
    FROM (
      SELECT p.grantee, coalesce(string_agg(p.privilege, ', ' ORDER BY p.privilege COLLATE "C"), '') AS privileges
      FROM (
        SELECT e.grantee, e.privilege_type || CASE WHEN bool_or(e.is_grantable) THEN '*' ELSE '' END AS privilege
        FROM aclexplode(coalesce(acl_state.acl, acldefault(acl_state.kind, acl_state.owner))) e
        WHERE e.privilege_type <> 'MAINTAIN'
        GROUP BY e.grantee, e.privilege_type
        UNION ALL
        SELECT DISTINCT d.grantee, NULL FROM aclexplode(acldefault(acl_state.kind, acl_state.owner)) d
      ) p
      GROUP BY p.grantee
    ) granted);
END $$;

-- Objects of users that follower's own copy of a schema does not make, as pg_identify_object() calls them. Objects of classes that later
-- majors bring are among them as soon as they depend on anything.
WITH object (classid, oid) AS (
  SELECT 'pg_cast'::regclass::oid, oid FROM pg_cast UNION ALL SELECT 'pg_conversion'::regclass, oid FROM pg_conversion
  UNION ALL SELECT 'pg_language'::regclass, oid FROM pg_language UNION ALL SELECT 'pg_am'::regclass, oid FROM pg_am
  UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator UNION ALL SELECT 'pg_opclass'::regclass, oid FROM pg_opclass
  UNION ALL SELECT 'pg_opfamily'::regclass, oid FROM pg_opfamily UNION ALL SELECT 'pg_transform'::regclass, oid FROM pg_transform
  UNION ALL SELECT 'pg_ts_config'::regclass, oid FROM pg_ts_config UNION ALL SELECT 'pg_ts_dict'::regclass, oid FROM pg_ts_dict
  UNION ALL SELECT 'pg_ts_parser'::regclass, oid FROM pg_ts_parser UNION ALL SELECT 'pg_ts_template'::regclass, oid FROM pg_ts_template
  UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid FROM pg_foreign_data_wrapper
  UNION ALL SELECT 'pg_foreign_server'::regclass, oid FROM pg_foreign_server
  UNION ALL SELECT 'pg_class'::regclass, c.oid FROM pg_class c WHERE c.relkind NOT IN ('r', 'p', 'v', 'm', 'S', 'i', 'I', 'c', 't')
  -- Base types, shells, and ranges that are made together with a function that needs them.
  UNION ALL SELECT 'pg_type'::regclass, t.oid FROM pg_type t
    WHERE t.typtype = 'p' OR t.typtype = 'b' AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
      OR t.typtype = 'r' AND (SELECT r.rngcanonical FROM pg_range r WHERE r.rngtypid = t.oid) <> 0
  UNION SELECT d.classid, d.objid FROM pg_depend d JOIN pg_class c ON c.oid = d.classid
    WHERE c.relname NOT IN ('pg_class', 'pg_type', 'pg_proc', 'pg_attrdef', 'pg_constraint', 'pg_rewrite', 'pg_trigger', 'pg_policy', 'pg_namespace', 'pg_extension',
      'pg_statistic_ext', 'pg_collation', 'pg_event_trigger', 'pg_default_acl', 'pg_largeobject', 'pg_amop', 'pg_amproc')
      -- These stay where they are with every copy.
      AND c.relname !~ '^pg_(publication|subscription)'
  -- What was added to a family of the server's.
  UNION SELECT 'pg_amop'::regclass, oid FROM pg_amop WHERE amopfamily < 16384
  UNION SELECT 'pg_amproc'::regclass, oid FROM pg_amproc WHERE amprocfamily < 16384
)
SELECT i.type || ' ' || i.identity AS object
FROM object o CROSS JOIN LATERAL pg_identify_object(o.classid, o.oid, 0) i
WHERE o.oid >= 16384 AND coalesce(i.schema, '') !~ '^(follower$|pg_temp|pg_toast)'
  -- Members of an extension, and what comes with something else.
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.classid AND d.objid = o.oid AND d.deptype IN ('e', 'i'))
UNION
SELECT format('security label of %s %s', s.objtype, s.objname) FROM pg_seclabels s WHERE s.objtype NOT IN ('database', 'role', 'tablespace', 'large object')
ORDER BY 1;

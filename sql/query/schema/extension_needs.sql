-- ALTER ... DEPENDS ON EXTENSION.
SELECT (SELECT c.relname FROM pg_class c WHERE c.oid = d.classid) AS catalog, d.objid AS object,
  string_agg(format('ALTER %s %s DEPENDS ON EXTENSION %I', upper(i.type), i.identity, e.extname), E';\n' ORDER BY e.extname) AS statement
FROM pg_depend d
JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid
CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, 0) i
WHERE d.deptype = 'x'
GROUP BY d.classid, d.objid;

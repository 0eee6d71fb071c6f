-- Tables, views, sequences, indexes: the part of follower.object_state() about pg_class. Called by it only, since it fixes the settings.

-- Columns: all of a relation (number 0), or one. Exactly one of default, identity and generated is there, so that a dropped one shows.
CREATE OR REPLACE FUNCTION follower.columns_state(relation oid, number integer) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN (
    SELECT coalesce(jsonb_object_agg('column ' || quote_ident(a.attname) || '.' || aspect.name, aspect.value), '{}')
    FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    CROSS JOIN LATERAL (
      -- Partitions have the identity of their parent since 17 and none before.
      SELECT a.attidentity <> '' AND NOT c.relispartition AS identity, a.attgenerated <> '' AS generated
    ) made
    CROSS JOIN LATERAL (
      SELECT 'type', format_type(a.atttypid, a.atttypmod)
      UNION ALL
      SELECT 'collation', a.attcollation::regcollation::text WHERE a.attcollation <> 0
      UNION ALL
      SELECT 'not_null', a.attnotnull::text WHERE c.relkind IN ('r', 'p', 'f')
      UNION ALL
      SELECT 'default', coalesce(pg_get_expr(d.adbin, d.adrelid), '')
        WHERE NOT made.identity AND NOT made.generated AND c.relkind IN ('r', 'p', 'f', 'v')
      UNION ALL
      SELECT 'identity', CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END || coalesce((
          SELECT format(' (START %s INCREMENT %s MINVALUE %s MAXVALUE %s CACHE %s CYCLE %s)',
            s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle)
          FROM pg_depend o JOIN pg_sequence s ON s.seqrelid = o.objid
          WHERE o.refclassid = 'pg_class'::regclass AND o.refobjid = a.attrelid AND o.refobjsubid = a.attnum
            AND o.classid = 'pg_class'::regclass AND o.deptype = 'i'), '')
        WHERE made.identity
      UNION ALL
      SELECT 'generated', pg_get_expr(d.adbin, d.adrelid) || CASE a.attgenerated WHEN 's' THEN ' STORED' ELSE ' VIRTUAL' END
        WHERE made.generated
      UNION ALL
      SELECT 'options', (SELECT string_agg(o, ', ' ORDER BY o COLLATE "C") FROM unnest(a.attfdwoptions) o)
        WHERE a.attfdwoptions IS NOT NULL
      UNION ALL
      SELECT 'acl ' || CASE g.grantee WHEN c.relowner THEN 'OWNER' WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END,
          string_agg(g.privilege, ', ' ORDER BY g.privilege COLLATE "C")
        FROM (
          SELECT e.grantee, e.privilege_type || CASE WHEN bool_or(e.is_grantable) THEN '*' ELSE '' END AS privilege
          FROM aclexplode(a.attacl) e GROUP BY e.grantee, e.privilege_type
        ) g
        WHERE a.attacl IS NOT NULL
        GROUP BY g.grantee
      UNION ALL
      SELECT 'comment', m.description FROM pg_description m
        WHERE m.classoid = 'pg_class'::regclass AND m.objoid = a.attrelid AND m.objsubid = a.attnum
    ) aspect (name, value)
    WHERE a.attrelid = columns_state.relation AND a.attnum > 0 AND NOT a.attisdropped
      AND columns_state.number IN (0, a.attnum));
END $$;

-- Constraints, indexes, triggers, policies and rules of a table.
CREATE OR REPLACE FUNCTION follower.table_parts_state(relation oid) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN (
    SELECT coalesce(jsonb_object_agg(part.aspect, part.value), '{}')
    FROM (
      -- NOT NULL is a constraint since 18; before, it is a property of the column only. 't' stands for constraint triggers.
      -- A foreign key to a partitioned table has rows for its partitions beside its own: internal, named differently by majors.
      SELECT CASE WHEN k.contype = 'n' THEN '~' ELSE '' END || 'constraint ' || quote_ident(k.conname) AS aspect,
        pg_get_constraintdef(k.oid) AS value
      FROM pg_constraint k LEFT JOIN pg_constraint parent ON parent.oid = k.conparentid
      WHERE k.conrelid = table_parts_state.relation AND k.contype <> 't' AND parent.conrelid IS DISTINCT FROM k.conrelid
      UNION ALL
      -- What a failed CREATE INDEX CONCURRENTLY left need not be at the other end.
      SELECT 'index ' || quote_ident(c.relname), pg_get_indexdef(i.indexrelid)
      FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
      WHERE i.indrelid = table_parts_state.relation AND (i.indisvalid OR c.relkind = 'I')
      UNION ALL
      SELECT 'trigger ' || quote_ident(t.tgname) || part.suffix, part.value
      FROM pg_trigger t LEFT JOIN pg_constraint k ON k.oid = t.tgconstraint
      CROSS JOIN LATERAL (VALUES
        ('', pg_get_triggerdef(t.oid)),
        ('.enabled', CASE t.tgenabled WHEN 'O' THEN 'ORIGIN' WHEN 'D' THEN 'DISABLED' WHEN 'R' THEN 'REPLICA' ELSE 'ALWAYS' END)
      ) part (suffix, value)
      -- Triggers of foreign keys and deferrable keys are internal. tgisinternal would also mark clones on partitions in 14.
      WHERE t.tgrelid = table_parts_state.relation AND coalesce(k.contype, 't') = 't'
      UNION ALL
      SELECT part.aspect, part.value
      FROM pg_policy p CROSS JOIN LATERAL follower.policy_aspects(p.oid, 'policy ' || quote_ident(p.polname)) part
      WHERE p.polrelid = table_parts_state.relation
      UNION ALL
      SELECT part.prefix || 'rule ' || quote_ident(r.rulename) || part.suffix, part.value
      FROM pg_rewrite r
      CROSS JOIN LATERAL (VALUES
        ('~', '', pg_get_ruledef(r.oid)),
        ('', '.event', CASE r.ev_type WHEN '1' THEN 'SELECT' WHEN '2' THEN 'UPDATE' WHEN '3' THEN 'INSERT' ELSE 'DELETE' END
          || CASE WHEN r.is_instead THEN ' INSTEAD' ELSE '' END),
        ('', '.enabled', CASE r.ev_enabled WHEN 'O' THEN 'ORIGIN' WHEN 'D' THEN 'DISABLED' WHEN 'R' THEN 'REPLICA' ELSE 'ALWAYS' END)
      ) part (prefix, suffix, value)
      WHERE r.ev_class = table_parts_state.relation AND r.ev_type <> '1'
    ) part);
END $$;

-- Expressions with a subquery are printed differently by majors, like views.
CREATE OR REPLACE FUNCTION follower.policy_aspects(policy oid, prefix text) RETURNS TABLE (aspect text, value text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN QUERY
    SELECT CASE WHEN part.value LIKE '%SELECT%' AND part.suffix <> '' THEN '~' ELSE '' END || policy_aspects.prefix || part.suffix,
      part.value
    FROM pg_policy p
    CROSS JOIN LATERAL (VALUES
      ('', concat_ws(' ', CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
        'FOR', CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
        'TO', (SELECT string_agg(g.name, ', ' ORDER BY g.name COLLATE "C")
          FROM (SELECT CASE r WHEN 0 THEN 'PUBLIC' ELSE r::regrole::text END AS name FROM unnest(p.polroles) r) g))),
      (' using', coalesce(pg_get_expr(p.polqual, p.polrelid), '')),
      (' check', coalesce(pg_get_expr(p.polwithcheck, p.polrelid), ''))
    ) part (suffix, value)
    WHERE p.oid = policy_aspects.policy;
END $$;

CREATE OR REPLACE FUNCTION follower.relation_state(relation oid) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  c pg_class;
  state jsonb;
BEGIN
  SELECT * INTO c FROM pg_class r WHERE r.oid = relation_state.relation;
  -- The address is found in the newest catalog; a snapshot of REPEATABLE READ may be older than the object.
  IF NOT FOUND THEN
    RETURN '{}';
  END IF;
  state := jsonb_build_object(
    'relkind', CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
      WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' WHEN 'S' THEN 'sequence' WHEN 'i' THEN 'index'
      WHEN 'I' THEN 'partitioned index' ELSE c.relkind::text END,
    'persistence', CASE c.relpersistence WHEN 'p' THEN 'permanent' WHEN 'u' THEN 'unlogged' ELSE 'temporary' END,
    'owner', c.relowner::regrole::text,
    'parents', (SELECT string_agg(h.inhparent::regclass::text, ', ' ORDER BY h.inhseqno) FROM pg_inherits h WHERE h.inhrelid = c.oid))
    -- Options of a view guard rows, so that none of them may be missing or added. The others are tuning: a follower may have more.
    || CASE WHEN c.relkind = 'v'
      THEN jsonb_build_object('options',
        coalesce((SELECT string_agg(o, ', ' ORDER BY o COLLATE "C") FROM unnest(c.reloptions) o), ''))
      ELSE coalesce((SELECT jsonb_object_agg('option ' || quote_ident(o.option_name), o.option_value)
        FROM pg_options_to_table(c.reloptions) o), '{}') END;

  IF c.relkind IN ('i', 'I') THEN
    RETURN state || (
      SELECT jsonb_build_object('table', i.indrelid::regclass::text, 'definition', pg_get_indexdef(i.indexrelid),
        'valid', i.indisvalid::text)
      FROM pg_index i WHERE i.indexrelid = c.oid);
  END IF;

  state := state || follower.acl_state(c.relacl, (CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END)::"char", c.relowner);
  IF c.relkind = 'S' THEN
    RETURN state || (
      SELECT jsonb_build_object('type', format_type(s.seqtypid, NULL), 'start', s.seqstart::text, 'increment', s.seqincrement::text,
        'minimum', s.seqmin::text, 'maximum', s.seqmax::text, 'cache', s.seqcache::text, 'cycle', s.seqcycle::text,
        'owned by', coalesce((
          SELECT format('%s.%I', o.refobjid::regclass, a.attname)
          FROM pg_depend o JOIN pg_attribute a ON a.attrelid = o.refobjid AND a.attnum = o.refobjsubid
          WHERE o.classid = 'pg_class'::regclass AND o.objid = c.oid AND o.refclassid = 'pg_class'::regclass
            AND o.deptype IN ('a', 'i')), ''))
      FROM pg_sequence s WHERE s.seqrelid = c.oid);
  END IF;

  state := state || follower.columns_state(c.oid, 0) || follower.table_parts_state(c.oid);
  IF c.relkind IN ('v', 'm') THEN
    RETURN state || jsonb_build_object('~definition', pg_get_viewdef(c.oid));
  END IF;
  state := state || jsonb_build_object(
    'row security', c.relrowsecurity::text,
    'force row security', c.relforcerowsecurity::text,
    'of type', CASE WHEN c.reloftype <> 0 THEN format_type(c.reloftype, NULL) END,
    'partition key', CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END,
    'partition bound', CASE WHEN c.relispartition THEN pg_get_expr(c.relpartbound, c.oid) END);
  IF c.relkind = 'f' THEN
    state := state || (
      SELECT jsonb_build_object('server', quote_ident(s.srvname),
        'options', coalesce((SELECT string_agg(o, ', ' ORDER BY o COLLATE "C") FROM unnest(f.ftoptions) o), ''))
      FROM pg_foreign_table f JOIN pg_foreign_server s ON s.oid = f.ftserver WHERE f.ftrelid = c.oid);
  END IF;
  RETURN state;
END $$;

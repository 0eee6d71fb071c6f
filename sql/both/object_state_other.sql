-- Every other class: the part of follower.object_state() that is neither relation, type nor function. Called by it only, since it
-- fixes the settings.

CREATE OR REPLACE FUNCTION follower.other_state(class oid, object oid) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  CASE class
    WHEN 'pg_namespace'::regclass THEN
      -- The owner that initdb gives to schema public is another one since 15.
      RETURN (SELECT jsonb_build_object('owner',
          CASE WHEN n.nspname = 'public' AND n.nspowner IN (10, to_regrole('pg_database_owner')) THEN 'as made by initdb'
            ELSE n.nspowner::regrole::text END) || follower.acl_state(n.nspacl, 'n', n.nspowner)
        FROM pg_namespace n WHERE n.oid = object);
    WHEN 'pg_constraint'::regclass THEN
      RETURN (SELECT jsonb_build_object('definition', pg_get_constraintdef(k.oid)) FROM pg_constraint k WHERE k.oid = object);
    WHEN 'pg_trigger'::regclass THEN
      RETURN (SELECT jsonb_build_object('definition', pg_get_triggerdef(t.oid), 'enabled',
          CASE t.tgenabled WHEN 'O' THEN 'ORIGIN' WHEN 'D' THEN 'DISABLED' WHEN 'R' THEN 'REPLICA' ELSE 'ALWAYS' END)
        FROM pg_trigger t WHERE t.oid = object);
    WHEN 'pg_policy'::regclass THEN
      RETURN (SELECT jsonb_object_agg(p.aspect, p.value) FROM follower.policy_aspects(object, 'policy') p);
    WHEN 'pg_rewrite'::regclass THEN
      RETURN (SELECT jsonb_build_object('~definition', pg_get_ruledef(r.oid),
          'event', CASE r.ev_type WHEN '1' THEN 'SELECT' WHEN '2' THEN 'UPDATE' WHEN '3' THEN 'INSERT' ELSE 'DELETE' END
            || CASE WHEN r.is_instead THEN ' INSTEAD' ELSE '' END,
          'enabled', CASE r.ev_enabled WHEN 'O' THEN 'ORIGIN' WHEN 'D' THEN 'DISABLED' WHEN 'R' THEN 'REPLICA' ELSE 'ALWAYS' END)
        FROM pg_rewrite r WHERE r.oid = object);
    WHEN 'pg_extension'::regclass THEN
      RETURN (SELECT jsonb_build_object('name', quote_ident(e.extname), 'schema', e.extnamespace::regnamespace::text,
          '~version', e.extversion)
        FROM pg_extension e WHERE e.oid = object);
    WHEN 'pg_default_acl'::regclass THEN
      RETURN (SELECT coalesce(jsonb_object_agg('acl ' || p.grantee, p.privileges), '{}')
        FROM (
          SELECT g.grantee, string_agg(g.privilege, ', ' ORDER BY g.privilege COLLATE "C") AS privileges
          FROM (
            SELECT CASE e.grantee WHEN d.defaclrole THEN 'OWNER' WHEN 0 THEN 'PUBLIC' ELSE e.grantee::regrole::text END AS grantee,
              e.privilege_type || CASE WHEN bool_or(e.is_grantable) THEN '*' ELSE '' END AS privilege
            FROM pg_default_acl d CROSS JOIN LATERAL aclexplode(d.defaclacl) e
            WHERE d.oid = object AND e.privilege_type <> 'MAINTAIN'
            GROUP BY 1, e.privilege_type
          ) g
          GROUP BY g.grantee
        ) p);
    WHEN 'pg_statistic_ext'::regclass THEN
      RETURN (SELECT jsonb_build_object('definition', pg_get_statisticsobjdef(s.oid), 'owner', s.stxowner::regrole::text)
        FROM pg_statistic_ext s WHERE s.oid = object);
    WHEN 'pg_event_trigger'::regclass THEN
      RETURN (SELECT jsonb_build_object('event', e.evtevent, 'function', e.evtfoid::regprocedure::text,
          'owner', e.evtowner::regrole::text, 'tags', array_to_string(e.evttags, ', '), 'enabled', e.evtenabled::text)
        FROM pg_event_trigger e WHERE e.oid = object);
    WHEN 'pg_cast'::regclass THEN
      RETURN (SELECT jsonb_build_object('source', format_type(c.castsource, NULL), 'target', format_type(c.casttarget, NULL),
          'function', nullif(c.castfunc, 0)::regprocedure::text,
          'context', CASE c.castcontext WHEN 'i' THEN 'IMPLICIT' WHEN 'a' THEN 'ASSIGNMENT' ELSE 'EXPLICIT' END,
          'method', CASE c.castmethod WHEN 'f' THEN 'FUNCTION' WHEN 'i' THEN 'INOUT' ELSE 'BINARY' END)
        FROM pg_cast c WHERE c.oid = object);
    WHEN 'pg_collation'::regclass THEN
      -- The column of an ICU locale has had three names, and its text is made canonical since 16.
      RETURN (SELECT jsonb_build_object('owner', c.collowner::regrole::text, 'deterministic', c.collisdeterministic::text,
          'provider', CASE c.collprovider WHEN 'i' THEN 'icu' WHEN 'c' THEN 'libc' WHEN 'd' THEN 'default' ELSE c.collprovider::text END,
          '~locale', concat_ws(', ', to_jsonb(c) ->> 'colllocale', to_jsonb(c) ->> 'colliculocale', c.collcollate, c.collctype))
        FROM pg_collation c WHERE c.oid = object);
    WHEN 'pg_operator'::regclass THEN
      RETURN (SELECT jsonb_build_object('owner', o.oprowner::regrole::text, 'operator', o.oid::regoperator::text,
          'result', format_type(o.oprresult, NULL), 'function', nullif(o.oprcode, 0)::regprocedure::text,
          'commutator', nullif(o.oprcom, 0)::regoperator::text, 'negator', nullif(o.oprnegate, 0)::regoperator::text,
          'restrict', nullif(o.oprrest, 0)::regprocedure::text, 'join', nullif(o.oprjoin, 0)::regprocedure::text,
          'hashes', o.oprcanhash::text, 'merges', o.oprcanmerge::text)
        FROM pg_operator o WHERE o.oid = object);
    WHEN 'pg_opclass'::regclass THEN
      RETURN (SELECT jsonb_build_object('owner', o.opcowner::regrole::text, 'type', format_type(o.opcintype, NULL),
          'default', o.opcdefault::text, 'storage', CASE WHEN o.opckeytype <> 0 THEN format_type(o.opckeytype, NULL) END,
          'method', (SELECT quote_ident(m.amname) FROM pg_am m WHERE m.oid = o.opcmethod),
          'family', (SELECT format('%s.%I', f.opfnamespace::regnamespace, f.opfname) FROM pg_opfamily f WHERE f.oid = o.opcfamily))
          || follower.operator_family_members(o.opcfamily)
        FROM pg_opclass o WHERE o.oid = object);
    WHEN 'pg_opfamily'::regclass THEN
      RETURN (SELECT jsonb_build_object('owner', f.opfowner::regrole::text) || follower.operator_family_members(f.oid)
        FROM pg_opfamily f WHERE f.oid = object);
    WHEN 'pg_language'::regclass THEN
      RETURN (SELECT jsonb_build_object('owner', l.lanowner::regrole::text, 'trusted', l.lanpltrusted::text,
          'handler', nullif(l.lanplcallfoid, 0)::regprocedure::text, 'inline', nullif(l.laninline, 0)::regprocedure::text,
          'validator', nullif(l.lanvalidator, 0)::regprocedure::text) || follower.acl_state(l.lanacl, 'l', l.lanowner)
        FROM pg_language l WHERE l.oid = object);
    WHEN 'pg_am'::regclass THEN
      RETURN (SELECT jsonb_build_object('handler', a.amhandler::regprocedure::text, 'type', a.amtype::text)
        FROM pg_am a WHERE a.oid = object);
    WHEN 'pg_conversion'::regclass THEN
      RETURN (SELECT jsonb_build_object('owner', c.conowner::regrole::text, 'from', pg_encoding_to_char(c.conforencoding),
          'to', pg_encoding_to_char(c.contoencoding), 'function', c.conproc::regprocedure::text, 'default', c.condefault::text)
        FROM pg_conversion c WHERE c.oid = object);
    WHEN 'pg_transform'::regclass THEN
      RETURN (SELECT jsonb_build_object('type', format_type(t.trftype, NULL),
          'from', nullif(t.trffromsql, 0)::regprocedure::text, 'to', nullif(t.trftosql, 0)::regprocedure::text)
        FROM pg_transform t WHERE t.oid = object);
    WHEN 'pg_foreign_data_wrapper'::regclass THEN
      RETURN (SELECT jsonb_build_object('owner', w.fdwowner::regrole::text, 'handler', nullif(w.fdwhandler, 0)::regprocedure::text,
          'validator', nullif(w.fdwvalidator, 0)::regprocedure::text, 'options', coalesce(array_to_string(w.fdwoptions, ', '), ''))
          || follower.acl_state(w.fdwacl, 'F', w.fdwowner)
        FROM pg_foreign_data_wrapper w WHERE w.oid = object);
    WHEN 'pg_foreign_server'::regclass THEN
      RETURN (SELECT jsonb_build_object('owner', s.srvowner::regrole::text, 'type', s.srvtype, 'version', s.srvversion,
          'wrapper', (SELECT quote_ident(w.fdwname) FROM pg_foreign_data_wrapper w WHERE w.oid = s.srvfdw),
          'options', coalesce(array_to_string(s.srvoptions, ', '), '')) || follower.acl_state(s.srvacl, 'S', s.srvowner)
        FROM pg_foreign_server s WHERE s.oid = object);
    WHEN 'pg_ts_config'::regclass THEN
      RETURN (SELECT jsonb_build_object('owner', c.cfgowner::regrole::text,
          'parser', (SELECT format('%s.%I', p.prsnamespace::regnamespace, p.prsname) FROM pg_ts_parser p WHERE p.oid = c.cfgparser),
          'mapping', coalesce((
            SELECT string_agg(format('%s: %s', k.alias, m.mapdict::regdictionary), ', ' ORDER BY k.alias COLLATE "C", m.mapseqno)
            FROM pg_ts_config_map m JOIN ts_token_type(c.cfgparser) k ON k.tokid = m.maptokentype
            WHERE m.mapcfg = c.oid), ''))
        FROM pg_ts_config c WHERE c.oid = object);
    WHEN 'pg_ts_dict'::regclass THEN
      RETURN (SELECT jsonb_build_object('owner', d.dictowner::regrole::text, 'options', coalesce(d.dictinitoption, ''),
          'template', (SELECT format('%s.%I', t.tmplnamespace::regnamespace, t.tmplname) FROM pg_ts_template t
            WHERE t.oid = d.dicttemplate))
        FROM pg_ts_dict d WHERE d.oid = object);
    WHEN 'pg_ts_parser'::regclass THEN
      RETURN (SELECT jsonb_build_object('start', p.prsstart::regprocedure::text, 'token', p.prstoken::regprocedure::text,
          'end', p.prsend::regprocedure::text, 'headline', nullif(p.prsheadline, 0)::regprocedure::text,
          'types', p.prslextype::regprocedure::text)
        FROM pg_ts_parser p WHERE p.oid = object);
    WHEN 'pg_ts_template'::regclass THEN
      RETURN (SELECT jsonb_build_object('init', nullif(t.tmplinit, 0)::regprocedure::text, 'lexize', t.tmpllexize::regprocedure::text)
        FROM pg_ts_template t WHERE t.oid = object);
    ELSE
      RETURN '{"?": "unknown class"}';
  END CASE;
END $$;

-- Members of initdb's own families differ between majors; only those made later (oid from 16384 on) count.
CREATE OR REPLACE FUNCTION follower.operator_family_members(family oid) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN (
    SELECT coalesce(jsonb_object_agg(member.aspect, member.value), '{}')
    FROM (
      SELECT format('operator %s (%s, %s)', o.amopstrategy, format_type(o.amoplefttype, NULL), format_type(o.amoprighttype, NULL))
          || CASE o.amoppurpose WHEN 'o' THEN ' for order by' ELSE '' END AS aspect,
        o.amopopr::regoperator::text AS value
      FROM pg_amop o WHERE o.amopfamily = operator_family_members.family AND o.oid >= 16384
      UNION ALL
      SELECT format('function %s (%s, %s)', p.amprocnum, format_type(p.amproclefttype, NULL), format_type(p.amprocrighttype, NULL)),
        p.amproc::regprocedure::text
      FROM pg_amproc p WHERE p.amprocfamily = operator_family_members.family AND p.oid >= 16384
    ) member);
END $$;

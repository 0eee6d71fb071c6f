-- Types and functions: the part of follower.object_state() about pg_type and pg_proc. Called by it only, since it fixes the settings.

CREATE OR REPLACE FUNCTION follower.type_state(type_oid oid) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  t pg_type;
  state jsonb;
BEGIN
  SELECT * INTO t FROM pg_type p WHERE p.oid = type_oid;
  IF NOT FOUND THEN
    RETURN '{}';
  END IF;
  state := jsonb_build_object(
    'kind', CASE t.typtype WHEN 'b' THEN 'base' WHEN 'c' THEN 'composite' WHEN 'd' THEN 'domain' WHEN 'e' THEN 'enum'
      WHEN 'p' THEN 'pseudo' WHEN 'r' THEN 'range' WHEN 'm' THEN 'multirange' ELSE t.typtype::text END,
    'owner', t.typowner::regrole::text)
    || follower.acl_state(t.typacl, 'T', t.typowner);
  CASE t.typtype
    WHEN 'e' THEN
      RETURN state || jsonb_build_object('labels', coalesce(
        (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid), ''));
    WHEN 'c' THEN
      -- In order, since a row is written without the names.
      RETURN state || jsonb_build_object('attributes', coalesce((
        SELECT string_agg(concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
          'COLLATE ' || nullif(a.attcollation, 0)::regcollation), ', ' ORDER BY a.attnum)
        FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped), ''));
    WHEN 'd' THEN
      RETURN state || jsonb_build_object(
        'base', format_type(t.typbasetype, t.typtypmod),
        'collation', nullif(t.typcollation, 0)::regcollation::text,
        'default', coalesce(pg_get_expr(t.typdefaultbin, 0), ''),
        'not_null', t.typnotnull::text)
        || coalesce((
          -- NOT NULL is a constraint since 17; before, it is a property of the domain only.
          SELECT jsonb_object_agg(CASE WHEN k.contype = 'n' THEN '~' ELSE '' END || 'constraint ' || quote_ident(k.conname),
            pg_get_constraintdef(k.oid))
          FROM pg_constraint k WHERE k.contypid = t.oid), '{}');
    WHEN 'r' THEN
      RETURN state || (
        SELECT jsonb_build_object('subtype', format_type(r.rngsubtype, NULL), 'multirange', format_type(r.rngmultitypid, NULL),
          'collation', nullif(r.rngcollation, 0)::regcollation::text,
          'operator class', (SELECT format('%s.%I', o.opcnamespace::regnamespace, o.opcname) FROM pg_opclass o WHERE o.oid = r.rngsubopc),
          'canonical', nullif(r.rngcanonical, 0)::regprocedure::text, 'subtype diff', nullif(r.rngsubdiff, 0)::regprocedure::text)
        FROM pg_range r WHERE r.rngtypid = t.oid);
    WHEN 'm' THEN
      RETURN state || (
        SELECT jsonb_build_object('range', format_type(r.rngtypid, NULL)) FROM pg_range r WHERE r.rngmultitypid = t.oid);
    ELSE
      RETURN state || jsonb_build_object('length', t.typlen::text, 'by value', t.typbyval::text, 'alignment', t.typalign::text,
        'storage', t.typstorage::text, 'category', t.typcategory::text, 'preferred', t.typispreferred::text,
        'delimiter', t.typdelim::text, 'default', t.typdefault, 'defined', t.typisdefined::text,
        'input', nullif(t.typinput, 0)::regprocedure::text, 'output', nullif(t.typoutput, 0)::regprocedure::text,
        'receive', nullif(t.typreceive, 0)::regprocedure::text, 'send', nullif(t.typsend, 0)::regprocedure::text);
  END CASE;
END $$;

CREATE OR REPLACE FUNCTION follower.function_state(function_oid oid) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  f pg_proc;
BEGIN
  SELECT * INTO f FROM pg_proc p WHERE p.oid = function_oid;
  IF NOT FOUND THEN
    RETURN '{}';
  END IF;
  RETURN jsonb_build_object(
    'kind', CASE f.prokind WHEN 'f' THEN 'function' WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'window' END,
    'owner', f.proowner::regrole::text,
    'language', (SELECT quote_ident(l.lanname) FROM pg_language l WHERE l.oid = f.prolang),
    'arguments', pg_get_function_arguments(f.oid),
    'result', coalesce(pg_get_function_result(f.oid), ''),
    'source', f.prosrc,
    -- A body that is no string is kept as a parse tree.
    '~body', pg_get_function_sqlbody(f.oid),
    'library', f.probin,
    'volatility', CASE f.provolatile WHEN 'i' THEN 'IMMUTABLE' WHEN 's' THEN 'STABLE' ELSE 'VOLATILE' END,
    'parallel', CASE f.proparallel WHEN 's' THEN 'SAFE' WHEN 'r' THEN 'RESTRICTED' ELSE 'UNSAFE' END,
    'strict', f.proisstrict::text,
    'security definer', f.prosecdef::text,
    'leakproof', f.proleakproof::text,
    'cost', f.procost::text,
    'rows', f.prorows::text,
    'support', nullif(f.prosupport, 0)::regprocedure::text,
    'settings', coalesce((SELECT string_agg(s, E'\n' ORDER BY s COLLATE "C") FROM unnest(f.proconfig) s), ''),
    'transforms', (SELECT string_agg(format_type(y, NULL), ', ' ORDER BY n)
      FROM unnest(f.protrftypes) WITH ORDINALITY y (y, n)))
    || follower.acl_state(f.proacl, 'f', f.proowner)
    || CASE WHEN f.prokind = 'a' THEN (
      SELECT jsonb_build_object(
        'aggregate kind', CASE a.aggkind WHEN 'n' THEN 'normal' WHEN 'o' THEN 'ordered set' ELSE 'hypothetical set' END,
        'direct arguments', a.aggnumdirectargs::text,
        'state function', nullif(a.aggtransfn, 0)::regprocedure::text, 'state type', format_type(a.aggtranstype, NULL),
        'state size', a.aggtransspace::text, 'initial state', a.agginitval,
        'final function', nullif(a.aggfinalfn, 0)::regprocedure::text, 'final extra', a.aggfinalextra::text,
        'final modify', a.aggfinalmodify::text,
        'combine function', nullif(a.aggcombinefn, 0)::regprocedure::text,
        'serial function', nullif(a.aggserialfn, 0)::regprocedure::text,
        'deserial function', nullif(a.aggdeserialfn, 0)::regprocedure::text,
        'moving state function', nullif(a.aggmtransfn, 0)::regprocedure::text,
        'moving inverse function', nullif(a.aggminvtransfn, 0)::regprocedure::text,
        'moving state type', CASE WHEN a.aggmtranstype <> 0 THEN format_type(a.aggmtranstype, NULL) END,
        'moving final function', nullif(a.aggmfinalfn, 0)::regprocedure::text,
        'moving initial state', a.aggminitval,
        'sort operator', nullif(a.aggsortop, 0)::regoperator::text)
      FROM pg_aggregate a WHERE a.aggfnoid = f.oid)
    ELSE '{}' END;
END $$;

import { quoteLiteral } from '../../src/postgres/identifier.ts'

/** A column type and values of it, as SQL expressions. */
export interface Kind {
  readonly type: string
  readonly values: readonly string[]
  /** False where no btree knows the type, so that nothing can be a key. */
  readonly key: boolean
  /** Values that are too large for an index. */
  readonly large: readonly string[]
  /** A domain over an array, of which ARRAY[[…]] makes nothing. */
  readonly isArray?: boolean
  /** The oldest major that has it. */
  readonly since: number
  /** Not there without this extension. */
  readonly extension?: string
}

/** Of a base type or one that PostgreSQL has itself; each text is a literal of the type. */
function of(type: string, texts: readonly string[], options: Partial<Kind> = {}): Kind {
  const values = texts.map((text) => `${quoteLiteral(text)}::${type}`)
  return { type, values, key: true, large: [], since: 14, ...options }
}

const noKey = { key: false }
const specials = ['infinity', '-infinity']
const allBytes = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, '0')).join('')
const text = [
  '',
  ' ',
  'a',
  'a ',
  'A',
  'NULL',
  `it's "quoted" \\ and \\\\ \\N \\x41`,
  '{a,"b"}',
  '(1,2)',
  'a\tb\nc\r\n\u0001\u007f',
  'ä ß ﬁ e\u0301 \u0130',
  '😀 \u{10ffff} \uffff \ufeff',
  '$1 $$ %s \u2028',
]

/** What every server has. The first value of each equals none of the others. */
const builtin: readonly Kind[] = [
  of('bool', ['true', 'false']),
  of('int2', ['7', '32767', '-32768', '0']),
  of('int4', ['7', '2147483647', '-2147483648', '0']),
  of('int8', [
    '7',
    '9007199254740993',
    '-9007199254740993',
    '9223372036854775807',
    '-9223372036854775808',
    '0',
  ]),
  of(
    'numeric',
    [
      '7',
      '0',
      '-0.000',
      '1.0',
      '1.00',
      '1e-16383',
      '9007199254740993.1',
      'NaN',
      'Infinity',
      '-Infinity',
      '-1e1000',
    ],
    {
      large: [
        `repeat('9', 131072)::numeric`,
        `('-' || repeat('7', 131072) || '.' || repeat('3', 16383))::numeric`,
      ],
    },
  ),
  of('numeric(12,3)', ['7', '0', '-0', '123456789.001', 'NaN']),
  of('numeric(5,-2)', ['700', '0', '-1234567', 'NaN'], { since: 15 }),
  of('numeric(3,5)', ['0.007', '0', '-0.00999'], { since: 15 }),
  of('float4', [
    '7',
    '0',
    '-0',
    '1e-45',
    '-1.1754942e-38',
    '3.4028235e38',
    '0.1',
    '16777216',
    'NaN',
    ...specials,
  ]),
  of('float8', [
    '7',
    '0',
    '-0',
    '5e-324',
    '-2.225073858507201e-308',
    '1.7976931348623157e308',
    '0.30000000000000004',
    '9007199254740993',
    '1e23',
    'NaN',
    ...specials,
  ]),
  of('money', ['7', '0', '-0.01', '92233720368547758.07', '-92233720368547758.08', '1234567.89']),
  of('date', ['0001-01-07', '0044-03-15 BC', '4713-11-24 BC', '5874897-12-31', '2024-02-29', ...specials]),
  of('time', ['07:00', '24:00:00', '00:00', '23:59:59.999999']),
  of('time(2)', ['07:00', '12:34:56.78']),
  of('timetz', ['07:00+00', '24:00:00-15:59:59', '00:00+15:59', '12:00:00.000001+01:02:03', '11:57:57+00']),
  of('timestamp', [
    '2007-07-07',
    '4713-11-24 00:00:00 BC',
    '294276-12-31 23:59:59.999999',
    '0001-12-31 23:59:59.999999 BC',
    '2024-02-29 24:00:00',
    ...specials,
  ]),
  of('timestamp(0)', ['2007-07-07', '1999-12-31 23:59:59']),
  of('timestamptz', [
    '2007-07-07+00',
    '4714-11-24 00:00:00+00 BC',
    '294276-12-31 23:59:59.999999+00',
    '1880-01-01 00:00:00+01:02:03',
    '2024-03-31 02:30:00 Europe/Berlin',
    '2024-10-27 02:30:00.000001 Europe/Berlin',
    ...specials,
  ]),
  of('interval', [
    '7 days',
    '0',
    '1 day',
    '24:00:00',
    '1 mon',
    '30 days',
    '-1 mon +2 days -03:04:05.000006',
    '+1 mon -2 days +03:04:05.000006',
    '-1 years +1 mons -1 days +00:00:00.000001',
  ]),
  // 14 reads no such time of day. One microsecond more in each field is infinity from 17 on, in the same bytes.
  of(
    'interval',
    [
      '178956970 years 7 mons 2147483647 days 2562047788:00:54.775806',
      '-178956970 years -8 mons',
      '-2147483648 days',
      '-2562047788:00:54.775807',
    ],
    { since: 15 },
  ),
  of('interval', ['7 days', ...specials], { since: 17 }),
  of('interval day to second(3)', ['7 days', '-1 day +00:00:01.234']),
  of('text', text),
  of('varchar(20)', [...text.slice(0, 6), '😀😀  ']),
  of('bpchar', ['z', 'a', 'a  ', '']),
  of('char(5)', ['z', 'a', ' a', '', '😀']),
  of('"char"', ['z', '', ' ', '"', '\\']),
  of('name', ['z', '', 'a "b" ', 'é'.repeat(31)]),
  {
    type: 'bytea',
    values: [`'\\x07'`, `''`, `'\\x00'`, `'\\x5c783030'`, `decode('${allBytes}', 'hex')`],
    key: true,
    large: [`decode(repeat('${allBytes}', 300), 'hex')`],
    since: 14,
  },
  of('uuid', [
    '00000000-0000-0000-0000-000000000007',
    'ffffffff-ffff-ffff-ffff-ffffffffffff',
    '00000000-0000-0000-0000-000000000000',
  ]),
  of('bit(3)', ['111', '000', '101']),
  of('bit varying', ['111', '', '0', '00', `${'10'.repeat(100)}1`]),
  of('oid', ['7', '0', '4294967295', '2147483648']),
  of('xid', ['7', '0', '4294967295'], noKey),
  of('cid', ['7', '0', '4294967295'], noKey),
  of('xid8', ['7', '0', '18446744073709551615', '9223372036854775808']),
  of('tid', ['(7,7)', '(0,0)', '(4294967295,65535)']),
  of('pg_lsn', ['0/7', '0/0', 'FFFFFFFF/FFFFFFFF']),
  of('pg_snapshot', ['10:20:10,14,15', '1:1:'], noKey),
  of('txid_snapshot', ['10:20:10,14,15', '1:1:'], noKey),
  of('oidvector', ['7', '', '1 2 4294967295']),
  of('int2vector', ['7', '', '1 -2 32767'], noKey),
  of('refcursor', ['z', 'a "b"'], noKey),
  of('jsonpath', ['$.z', 'lax $[*] ? (@.a > 1e100 && exists (@."ä\\"b"))'], noKey),
  of(
    'json',
    ['7', '{"a": 1,  "a":2}', ' [1e400, -0, 0.10 , "\\u0000"]\n', '{"__proto__": {"x": null}}', '"\\ud83d"'],
    noKey,
  ),
  of(
    'jsonb',
    [
      '7',
      '{"a": 1, "a": 2}',
      '[1e400, -0, 0.10, 1.0]',
      '{"__proto__": {"x": null}, "": ""}',
      'null',
      '"\\u00e4\\\\"',
      `[${'9'.repeat(400)}]`,
    ],
    { large: [`jsonb_build_object('k', repeat('x', 100000), 'n', repeat('9', 131072)::numeric)`] },
  ),
  of('xml', ['<z/>', 'no <b>root</b>', '<a>&lt;&amp;ä</a>', '<!DOCTYPE a><a b="&quot;"/>', ''], noKey),
  of('tsvector', ['z', '', `'it''s':1A,2B,3 'ä \\\\ b':16383`, 'a:1 b'], {
    large: [`(SELECT string_agg('w' || g, ' ') FROM generate_series(1, 5000) g)::tsvector`],
  }),
  of('tsquery', ['z', '', `!'it''s':AB* & (a <2> b | c)`]),
  of('point', ['(7,7)', '(0,-0)', '(NaN,Infinity)', '(5e-324,1.7976931348623157e308)'], noKey),
  of('line', ['{7,7,7}', '{-0,1,0.1}'], noKey),
  of('lseg', ['[(7,7),(1,1)]', '[(0,-0),(1e300,-1e-300)]'], noKey),
  of('box', ['(7,7),(1,1)', '(0,0),(0,0)', '(6,6),(0,0)', '(9,4),(0,0)'], noKey),
  of('path', ['[(7,7)]', '((0,0),(1,1))', '[(0,0),(1,1)]'], noKey),
  of('polygon', ['((7,7))', '((0,0),(1,1),(-0,0.1))'], noKey),
  of('circle', ['<(7,7),7>', '<(0,0),0>', '<(1,1),0>'], noKey),
  of('inet', ['10.0.0.7', '10.0.0.7/8', '10.0.0.0/8', '::ffff:1.2.3.4', '::/0', '0.0.0.0']),
  of('cidr', ['10.0.0.7/32', '10.0.0.0/8', '::/0', '2001:db8::/32']),
  of('macaddr', ['00:00:00:00:00:07', 'ff:ff:ff:ff:ff:ff']),
  of('macaddr8', ['00:00:00:00:00:00:00:07', 'ff:ff:ff:ff:ff:ff:ff:ff']),
  of('int4range', ['[7,8)', 'empty', '(,)', '[1,)', '(,-2147483648]', '[1,2147483647)']),
  of('int8range', ['[7,8)', 'empty', '[9007199254740993,9223372036854775807)']),
  of('numrange', ['[7,8)', 'empty', '[1.0,2)', '[1.00,2)', '(1,2]', '[-Infinity,NaN]', '(,)']),
  of('tsrange', ['[2007-07-07,)', 'empty', '[-infinity,infinity]', '["0044-03-15 01:02:03.000001 BC",]']),
  of('tstzrange', ['[2007-07-07+00,)', 'empty', '["1880-01-01 00:00:00+01:02:03",infinity)']),
  of('daterange', ['[2007-07-07,)', 'empty', '[0044-03-15 BC,infinity]']),
  of('int4multirange', ['{[7,8)}', '{}', '{[1,3),[5,7),[9,)}']),
  of('nummultirange', ['{[7,8)}', '{}', '{[1.0,2),(3,3.50]}']),
  of('tstzmultirange', [
    '{[2007-07-07+00,)}',
    '{[-infinity,"0044-03-15 00:00+00 BC"),[2020-01-01+00,infinity]}',
  ]),
]

/** Names that stand for other OIDs at the other end. */
const names: readonly Kind[] = [
  of('regclass', ['0', 'public.other', 'pg_catalog.pg_class', 'public."We""ird Näme 😀"', '4294967295']),
  of('regtype', [
    '0',
    'public.mood',
    'public.mood[]',
    'int4',
    'public."my Pair"',
    'timestamp with time zone',
  ]),
  of('regproc', ['0', 'pg_catalog.now', 'public.only_one']),
  of('regprocedure', ['0', 'pg_catalog.lower(text)', 'public.only_one(public.mood,"public"."my Pair"[])']),
  of('regoper', ['0', 'pg_catalog.||/']),
  of('regoperator', ['0', 'pg_catalog.+(integer,integer)', 'public.===(public.mood,public.mood)']),
  of('regnamespace', ['0', 'public', 'pg_catalog', '"an Other"']),
  of('regrole', ['0', 'postgres', 'pg_monitor']),
  of('regconfig', ['0', 'pg_catalog.english', 'public.words']),
  of('regdictionary', ['0', 'pg_catalog.simple']),
  of('regcollation', ['0', '"C"', 'public.own']),
]

/** Run at both ends; the downstream's OIDs are other ones. */
export const userTypes: readonly string[] = [
  `CREATE TYPE mood AS ENUM ('sad', 'it''s', 'a,b', '(', '"', '', 'NULL', 'é', '${'é'.repeat(31)}')`,
  'CREATE TYPE "my Pair" AS (a int, gone text, "B b" mood, c numeric)',
  'ALTER TYPE "my Pair" DROP ATTRIBUTE gone',
  'CREATE TYPE nested AS (p "my Pair", l "my Pair"[], t text, f float8)',
  'CREATE TYPE nothing AS ()',
  'CREATE TABLE other(a int, gone int, b mood[])',
  'ALTER TABLE other DROP gone',
  'CREATE TABLE "We""ird Näme 😀"(a int)',
  'CREATE DOMAIN small AS numeric CHECK (value IS NULL OR value < 10)',
  'CREATE DOMAIN smaller AS small CHECK (value < 5)',
  'CREATE DOMAIN pairs AS "my Pair"[] CHECK (array_length(value, 1) < 5)',
  'CREATE DOMAIN pair_domain AS "my Pair" CHECK ((value).a > 0)',
  'CREATE DOMAIN label AS varchar(9) COLLATE "C"',
  'CREATE DOMAIN moods AS mood[]',
  'CREATE TYPE mood_range AS RANGE (subtype = mood)',
  'CREATE TYPE float_range AS RANGE (subtype = float8, subtype_diff = float8mi, multirange_type_name = "Floats")',
  'CREATE TYPE small_range AS RANGE (subtype = small)',
  'CREATE TYPE own_text',
  `CREATE FUNCTION own_in(cstring) RETURNS own_text AS 'textin' LANGUAGE internal IMMUTABLE STRICT`,
  `CREATE FUNCTION own_out(own_text) RETURNS cstring AS 'textout' LANGUAGE internal IMMUTABLE STRICT`,
  'CREATE TYPE own_text (input = own_in, output = own_out, like = text)',
  'CREATE FUNCTION only_one(mood, "my Pair"[]) RETURNS int LANGUAGE sql AS $$SELECT 1$$',
  'CREATE FUNCTION same(mood, mood) RETURNS bool LANGUAGE sql AS $$SELECT $1 = $2$$',
  'CREATE OPERATOR === (leftarg = mood, rightarg = mood, function = same)',
  'CREATE SCHEMA "an Other"',
  'CREATE TYPE "an Other".mood AS ENUM ($$other$$)'.replaceAll('$$', "'"),
  'CREATE TEXT SEARCH CONFIGURATION words (COPY = pg_catalog.simple)',
  `CREATE COLLATION own (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`,
]

const user: readonly Kind[] = [
  of('mood', ['sad', `it's`, 'a,b', '(', '"', '', 'NULL', 'é'.repeat(31)]),
  of('"an Other".mood', ['other']),
  of('"my Pair"', ['(7,sad,7)', '(,,)', '(1,"",1.00)', '(1,"a,b",NaN)', '(1,"""",1.0)']),
  {
    ...of('nested', ['("(7,sad,7)",,z,7)', '(,,,)']),
    large: [
      `ROW(ROW(1, 'a,b', 1.0)::"my Pair", ARRAY[ROW(1, '"', 1.00)::"my Pair", NULL], 'a"b\\c', '-0')::nested`,
    ],
  },
  of('nothing', ['()'], noKey),
  of('other', ['(7,"{sad}")', '(,)', '(1,"{""a,b"",NULL,\\"NULL\\"}")']),
  of('small', ['7', '1.0', '-1.00', 'NaN'].slice(0, 3)),
  of('smaller', ['3', '1.0', '-1.00']),
  of('pairs', ['{"(7,sad,7)"}', '{}', '[-1:0]={"(1,\\"a,b\\",1.0)",NULL}'], { isArray: true }),
  of('pair_domain', ['(7,sad,7)', "(1,it's,1.0)"]),
  of('label', ['z', '', 'a  ', '😀']),
  of('moods', ['{sad}', '{}', `{"a,b",NULL,"NULL","it's"}`, '{{sad},{é}}'], { isArray: true }),
  of('mood_range', ['[sad,sad]', 'empty', `["a,b","NULL"]`, '("",)', '(,)']),
  of('mood_multirange', ['{[sad,sad]}', '{}', `{[sad,"it's"],["(",)}`]),
  of('float_range', ['[7,8)', 'empty', '[-0,0]', '[5e-324,Infinity)']),
  of('"Floats"', ['{[7,8)}', '{[-Infinity,-0),(0.1,1e300]}']),
  of('small_range', ['[7,8)', '[1.0,2.00]']),
  of('own_text', ['z', `it's\\`], noKey),
  of('text COLLATE own', ['z', 'a', 'b ', 'Ä']),
]

const contrib: readonly Kind[] = [
  of('hstore', ['z=>1', '', 'a=>NULL, "b\\"c"=>"\\\\", ä=>"NULL"'], { extension: 'hstore' }),
  of('citext', ['z', 'AbC', '', 'ÄÖ'], { extension: 'citext' }),
  of('ltree', ['z', '', 'a.B.c_1'], { extension: 'ltree' }),
  of('lquery', ['z', '*.a@|b{1,2}'], { extension: 'ltree', ...noKey }),
  of('ltxtquery', ['z', 'a & !b*'], { extension: 'ltree', ...noKey }),
  of('cube', ['(7,7)', '(1),(2)', '(0.1,-5e-324),(1,1e300)'], { extension: 'cube' }),
  of('seg', ['7.0', '1.00 .. 2', '<1', '~5.50'], { extension: 'seg' }),
  of('ean13', ['978-0-393-04002-9', '471-1-123456-2 8'].slice(0, 1), { extension: 'isn' }),
  of('isbn', ['978-0-393-04002-9'], { extension: 'isn' }),
  of('query_int', ['7', '1&(2|!3)'], { extension: 'intarray', ...noKey }),
]

/** What both servers have. */
export function kinds(major: number, extensions: readonly string[]): readonly Kind[] {
  return [...builtin, ...names, ...user, ...contrib].filter(
    (kind) => kind.since <= major && (kind.extension === undefined || extensions.includes(kind.extension)),
  )
}

/** What the follower takes in binary where the older server is of this major, with arrays of it. */
export function binaryKinds(major: number): readonly Kind[] {
  const others = /^(money|xml|int2vector|oidvector|tsquery)$/
  return builtin.filter(
    ({ type, since }) =>
      since <= major && !others.test(type) && (major >= 17 || !type.startsWith('interval')),
  )
}

export const extensions: readonly string[] = [
  ...new Set(contrib.flatMap((kind) => (kind.extension === undefined ? [] : [kind.extension]))),
]

import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { findCandidates } from '../src/ddl/candidates.ts'
import { tableFromState, withoutData } from '../src/ddl/create-table-as.ts'
import { synthesizeDrops } from '../src/ddl/drop.ts'
import { verifyDdlMessage } from '../src/ddl/message.ts'
import { loadParser } from '../src/ddl/parser.ts'
import { textSource } from '../src/ddl/pg-context.ts'
import { parseStatements, withoutConcurrently } from '../src/ddl/statement.ts'
import { beginDdlTransaction, hoistCreateTableAs, takeDdlMessage } from '../src/ddl/transaction.ts'
import type { DdlMessage, DroppedObject } from '../src/model/ddl-message.ts'
import { message, testKey } from './ddl-support.ts'

beforeAll(loadParser)

const first = (text: string) => parseStatements(text)![0]!

describe('verifyDdlMessage', () => {
  const { keys, sign } = testKey()
  const good = message({ xid: String((5n << 32n) + 4_000_000_007n), n: '9' })
  const verify = (content: Buffer, xid = 4_000_000_007, lastN = 8n) =>
    verifyDdlMessage(content, keys, xid, lastN)

  it('takes a signed message of the transaction', () => {
    expect(verify(sign(JSON.stringify(good)))).toEqual({ message: good })
    expect(verify(sign(JSON.stringify(good)), 4_000_000_007 | 0)).toEqual({ message: good })
  })

  it.each([
    ['format', Buffer.from('FLW1 k1 abc {}')],
    ['format', Buffer.from('')],
    ['key', sign(JSON.stringify(good), 'k2')],
    ['version', sign(JSON.stringify(good), 'k1', 2)],
    ['format', sign('{"v":1')],
    ['format', sign('null')],
    ['format', sign(JSON.stringify({ ...good, v: 2 }))],
    ['format', sign(JSON.stringify({ ...good, objects: [{}] }))],
    ['format', sign(JSON.stringify({ ...good, n: '-1' }))],
    ['xid', sign(JSON.stringify({ ...good, xid: '7' }))],
    ['counter', sign(JSON.stringify({ ...good, n: '8' }))],
  ])('rejects for %s', (reason, content) => expect(verify(content)).toEqual({ rejected: reason }))

  it('rejects every other byte', () => {
    const content = sign(JSON.stringify(good))
    fc.assert(
      fc.property(fc.nat(content.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const changed = Buffer.from(content)
        changed[at]! ^= flip
        return 'rejected' in verify(changed)
      }),
    )
  })

  it('keeps keys that are names of Object', () => {
    const odd = `{"__proto__":"1","constructor":"2"}`
    const json = JSON.stringify({ ...good, settings: {} }).replace('"settings":{}', `"settings":${odd}`)
    const result = verify(sign(json))
    expect('message' in result && JSON.stringify(result.message.settings)).toBe(odd)
  })

  it('counts within the transaction', () => {
    const state = beginDdlTransaction()
    const take = (n: string) =>
      takeDdlMessage(sign(JSON.stringify({ ...good, n })), keys, 4_000_000_007, state)
    expect('message' in take('3')).toBe(true)
    expect(take('3')).toEqual({ rejected: 'counter' })
    expect('message' in take('10')).toBe(true)
  })
})

describe('hoistCreateTableAs', () => {
  const start = (query_hash = 'h', tag = 'CREATE TABLE AS') => message({ kind: 'start', tag, query_hash })
  const end = (query_hash = 'h', tag = 'CREATE TABLE AS', objects = [{} as DdlMessage['objects'][number]]) =>
    message({ tag, query_hash, objects })
  const places = (...messages: DdlMessage[]) =>
    hoistCreateTableAs(messages.map((each, index) => ({ index: index * 10, message: each }))).map(
      (placed) => [placed.index, messages.indexOf(placed.message)],
    )

  it('moves an end to its start', () => {
    expect(places(start(), message({ tag: 'CREATE INDEX' }), end())).toEqual([
      [0, 2],
      [10, 1],
    ])
  })
  it('nests', () => {
    expect(places(start(), start(), end(), end())).toEqual([
      [0, 3],
      [10, 2],
    ])
    expect(places(start('a'), start('b', 'SELECT INTO'), end('b', 'SELECT INTO'), end('a'))).toEqual([
      [0, 3],
      [10, 2],
    ])
  })
  it('forgets a start without an end, and an end without objects', () => {
    expect(places(start())).toEqual([])
    expect(places(start(), end('h', 'CREATE TABLE AS', []), start(), end())).toEqual([[20, 3]])
    expect(places(start('a'), start('gone'), end('a'))).toEqual([[0, 2]])
  })
})

describe('textSource', () => {
  const own = 'PL/pgSQL function follower.capture_ddl() line 16 at SQL statement'
  it.each([
    [own, { kind: 'query' }],
    [own.replace('follower.', ''), { kind: 'query' }],
    [
      `${own}\nSQL statement "create table x (i int)"\nPL/pgSQL function f() line 1 at SQL statement`,
      { kind: 'texts', texts: ['create table x (i int)'] },
    ],
    [
      `${own}\nSQL statement "create table "a"\n(i int)"`,
      { kind: 'texts', texts: ['create table "a', 'create table "a"\n(i int)'] },
    ],
    [
      `${own}\nSQL function "s1" statement 2\nSQL statement "SELECT f.s1()"`,
      { kind: 'sql function', name: 's1', statement: 2 },
    ],
    [`${own}\nSQL-Anweisung »create table x«`, { kind: 'none' }],
    [`${own}\nPL/pgSQL function evil() line 3 at PERFORM`, { kind: 'none' }],
  ])('%s', (context, source) => expect(textSource(context)).toEqual(source))
})

describe('findCandidates', () => {
  const find = async (text: string, more: Partial<DdlMessage>, state = beginDdlTransaction()) => {
    const found = await findCandidates(message({ query: text, ...more }), state, async () => [])
    return { ...found, texts: found.list.map(({ statement }) => statement.text) }
  }
  const named = (...names: string[]) => [
    { names, publications: [] } as unknown as DdlMessage['objects'][number],
  ]

  it('goes on behind the last one, and around', async () => {
    const state = beginDdlTransaction()
    const text = `${'create operator class a; '.repeat(0)}alter table t add a int; alter table t add b int; alter table u add c int`
    const more = { tag: 'ALTER TABLE', objects: named('public', 't') }
    const before = await find(text, more, state)
    expect(before.texts).toEqual(['alter table t add a int', 'alter table t add b int'])
    before.list[0]!.accept()
    expect((await find(text, more, state)).texts).toEqual([
      'alter table t add b int',
      'alter table t add a int',
    ])
  })

  it('knows types by their qualified name', async () => {
    const text = 'create type a."B.c" as (i int); create type a.d as (i int)'
    expect((await find(text, { tag: 'CREATE TYPE', objects: named('a."B.c"') })).texts).toHaveLength(1)
  })

  it('says where only a comparison can tell', async () => {
    const text = 'create table t (i int); commit; create table t (i int, j int)'
    expect((await find(text, { objects: named('public', 't') })).ambiguous).toBe(true)
    expect((await find(text.replace(' commit;', ''), { objects: named('public', 't') })).ambiguous).toBe(
      false,
    )
  })

  it('cuts bytes, not characters', async () => {
    expect((await find('select \'é🎉\'; create table "ü" (i int) ; ', {})).texts).toEqual([
      'create table "ü" (i int)',
    ])
  })
})

describe('texts that are replayed', () => {
  it.each([
    ['create index concurrently i on t (a)', 'create index  i on t (a)'],
    [
      'CREATE UNIQUE INDEX CONCURRENTLY if not exists "concurrently" on t (concurrently(a))',
      'CREATE UNIQUE INDEX  if not exists "concurrently" on t (concurrently(a))',
    ],
    ['drop index concurrently "é".concurrently_', 'drop index  "é".concurrently_'],
    [
      'refresh materialized view /* concurrently */ concurrently m',
      'refresh materialized view /* concurrently */  m',
    ],
    [
      'alter table t detach partition "concurrently" concurrently',
      'alter table t detach partition "concurrently" ',
    ],
    ['alter table t detach partition p finalize', 'alter table t detach partition p '],
    ['create index concurrently_ on t (a)', 'create index concurrently_ on t (a)'],
  ])('%s', (text, expected) => expect(withoutConcurrently(first(text))).toBe(expected))

  it.each([
    ['create table t as select 1 -- x', 'create table t as select 1 WITH NO DATA'],
    ['create table t as select 1 with data', 'create table t as select 1 WITH NO DATA'],
    ['create table t as table x with no data', 'create table t as table x WITH NO DATA'],
    [
      'select 1 as "into", 2 into temporary_.  "T" from x',
      'CREATE TABLE temporary_.  "T" AS select 1 as "into", 2  from x WITH NO DATA',
    ],
    [
      'with q as (select 1) select * into unlogged table é from q',
      'CREATE UNLOGGED TABLE é AS with q as (select 1) select *  from q WITH NO DATA',
    ],
  ])('%s', (text, expected) => expect(withoutData(first(text))).toBe(expected))

  it('builds a table from its state, in the order that is known', () => {
    const state = {
      relkind: 'table',
      'column "a"".b".type': 'integer',
      'column "z".type': 'text',
      'column "z".collation': '"C"',
      'column "z".default': '',
      'option "fillfactor"': '50',
    }
    const table = { type: 'table', names: ['s', 'T'], state } as unknown as DdlMessage['objects'][number]
    expect(tableFromState(message({ objects: [table] }), ['z', 'a".b'])).toBe(
      `CREATE TABLE "s"."T" ("z" text COLLATE "C", "a"".b" integer) WITH ("fillfactor" = '50')`,
    )
  })
})

describe('synthesizeDrops', () => {
  const dropped = (type: string, identity: string, more: Partial<DroppedObject> = {}): DroppedObject => ({
    type,
    identity,
    schema: 's',
    name: null,
    names: [],
    args: [],
    original: true,
    normal: false,
    temporary: false,
    publications: ['pub'],
    ...more,
  })
  const drops = (tag: string, ...objects: DroppedObject[]) =>
    synthesizeDrops(
      message({ kind: 'drop', tag, dropped: objects }),
      ({ publications }) => publications.length > 0,
    ).map(({ text }) => text)

  it('drops what was named and is followed', () => {
    expect(
      drops(
        'DROP TABLE',
        dropped('table', 's.a'),
        dropped('table', 's.b', { publications: [] }),
        dropped('table', 's.c'),
        dropped('index', 's.a_pkey', { original: false }),
        dropped('table', 'pg_temp_3.x', { temporary: true }),
      ),
    ).toEqual(['DROP TABLE IF EXISTS s.a, s.c'])
  })
  it('cascades where upstream did', () => {
    expect(
      drops(
        'DROP SCHEMA',
        dropped('schema', 's'),
        dropped('table', 's.t', { original: false, normal: true }),
      ),
    ).toEqual(['DROP SCHEMA IF EXISTS s CASCADE'])
  })
  it('leaves columns to ALTER TABLE', () => {
    expect(drops('ALTER TABLE', dropped('table column', 's.t.a'))).toEqual([])
    expect(
      drops('DROP OWNED', dropped('default acl', 'for role x'), dropped('statistics object', 's.st')),
    ).toEqual(['DROP STATISTICS IF EXISTS s.st'])
  })
})

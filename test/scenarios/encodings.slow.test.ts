import { describe, expect, it } from 'vitest'
import { failure } from '../support/failure.ts'
import { judged } from '../support/judged.ts'
import type { Least } from '../support/least.ts'
import { query, script } from '../support/sql.ts'

const modes: readonly (readonly [name: string, least: Least | undefined])[] = [
  ['superuser', undefined],
  ['least, replica', 'replica'],
  ['least, origin', 'origin'],
]

/** Databases of other encodings: the same text as bytes of the database's own. */
const bytes = (table: string): string => `SELECT a, encode(b::bytea, 'hex') AS b FROM ${table} ORDER BY a`

describe.each(modes)('scenario 15: encodings (%s)', (_, least) => {
  it.each([
    ['UTF8', 'LATIN1', `U&'Mot\\00F6rhead'`, '4d6f74f672686561 64'],
    ['LATIN1', 'UTF8', `U&'Mot\\00F6rhead'`, '4d6f74c3b672686561 64'],
    ['UTF8', 'EUC_JP', `U&'\\65E5\\672C'`, 'c6fccbdc'],
    ['EUC_JP', 'UTF8', `U&'\\65E5\\672C'`, 'e697a5e69cac'],
    ['LATIN1', 'LATIN1', `U&'\\00E9'`, 'e9'],
    ['UTF8', 'SQL_ASCII', `U&'\\00E9'`, 'c3a9'],
    ['SQL_ASCII', 'UTF8', `E'\\xc3\\xa9'`, 'c3a9'],
    ['SQL_ASCII', 'SQL_ASCII', `E'\\xe9\\xff'`, 'e9ff'],
  ])('from %s to %s', async (up, down, text, expected) => {
    const f = await judged({
      least,
      encodings: [up, down],
      before: [
        'CREATE TABLE t(a int PRIMARY KEY, b text)',
        'CREATE TABLE whole(a int, b text)',
        'ALTER TABLE whole REPLICA IDENTITY FULL',
      ],
    })
    await f.run(`INSERT INTO t VALUES (1, ${text}), (2, NULL); INSERT INTO whole SELECT * FROM t`)
    await f.run(`UPDATE t SET b = b || ${text} WHERE a = 1; UPDATE whole SET a = 7 WHERE a = 1`)
    const hex = expected.replace(' ', '')
    expect(await f.alike(bytes('t'))).toEqual([
      { a: '1', b: hex + hex },
      { a: '2', b: null },
    ])
    expect(await f.alike(bytes('whole'))).toEqual([
      { a: '2', b: null },
      { a: '7', b: hex },
    ])
  })

  it('differs: between SQL_ASCII and another than UTF8 text travels as UTF8, where a subscription copies bytes', async () => {
    const before = ['CREATE TABLE t(a int PRIMARY KEY, b text)']
    const out = await judged({ least, encodings: ['LATIN1', 'SQL_ASCII'], before })
    await out.run(`INSERT INTO t VALUES (1, U&'\\00E9')`)
    await out.alike('SELECT a FROM t')
    expect(await query(out.downstream, bytes('t'))).toEqual([{ a: '1', b: 'c3a9' }])
    expect(await query(out.judge, bytes('t'))).toEqual([{ a: '1', b: 'e9' }])
    const into = await judged({ least, encodings: ['SQL_ASCII', 'LATIN1'], before })
    await into.run(`INSERT INTO t VALUES (1, E'\\xc3\\xa9')`)
    await into.alike('SELECT a FROM t')
    expect(await query(into.downstream, bytes('t'))).toEqual([{ a: '1', b: 'e9' }])
    expect(await query(into.judge, bytes('t'))).toEqual([{ a: '1', b: 'c3a9' }])
    await script(into.upstream, `INSERT INTO t VALUES (2, E'\\xe9')`)
    expect(await failure(into.follower, 8)).toMatchObject({ code: 'FLW-312', sqlstate: '22021' })
  })

  it('a character that the downstream does not have stops the follow, and is no question mark', async () => {
    const f = await judged({
      least,
      encodings: ['UTF8', 'LATIN1'],
      before: ['CREATE TABLE t(a int PRIMARY KEY, b text)'],
    })
    await script(f.upstream, `INSERT INTO t VALUES (1, U&'\\65E5')`)
    expect(await failure(f.follower, 8)).toMatchObject({
      code: 'FLW-312',
      sqlstate: '22P05',
      context: { key: '(a)=(1)' },
    })
    expect(await query(f.downstream, 'SELECT a FROM t')).toEqual([])
  })
})

describe.each(modes)('scenario 15: collations (%s)', (_, least) => {
  it('rows are found by the equality of a nondeterministic collation, under an index and under FULL', async () => {
    const f = await judged({ least })
    await f.everywhere(
      `CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false); CREATE COLLATION ndcoll (provider = icu, locale = 'und', deterministic = false);
       CREATE TABLE byindex(a text COLLATE ndcoll PRIMARY KEY, b text); CREATE TABLE byfull(a text COLLATE ndcoll, b text COLLATE ndcoll); ALTER TABLE byfull REPLICA IDENTITY FULL;
       CREATE TABLE bycase(a text COLLATE nocase PRIMARY KEY, b text)`,
    )
    const composed = `U&'\\00E4bc'`
    const decomposed = `U&'\\0061\\0308bc'`
    await f.run(
      `INSERT INTO byindex VALUES (${composed}, 'foo'); INSERT INTO byfull VALUES (${composed}, 'foo'); INSERT INTO bycase VALUES ('Key', 'foo')`,
    )
    await f.alike('SELECT 1')
    await f.below(
      `UPDATE byindex SET a = ${decomposed}; UPDATE byfull SET a = ${decomposed}; UPDATE bycase SET a = 'KEY'`,
    )
    await f.run(
      `UPDATE byindex SET b = 'bar' WHERE b = 'foo'; UPDATE byfull SET b = 'bar' WHERE b = 'foo'; UPDATE bycase SET b = 'bar'`,
    )
    for (const table of ['byindex', 'byfull', 'bycase'])
      expect((await f.alike(`SELECT a, b FROM ${table}`))[0]?.b).toBe('bar')
    await f.run(`DELETE FROM byindex; DELETE FROM byfull; DELETE FROM bycase`)
    expect(
      await f.alike('SELECT a FROM byindex UNION ALL SELECT a FROM byfull UNION ALL SELECT a FROM bycase'),
    ).toEqual([])
  })
})

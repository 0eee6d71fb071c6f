import { describe, expect, it } from 'vitest'
import { failure } from '../support/failure.ts'
import { follow } from '../support/follow.ts'
import { judged } from '../support/judged.ts'
import { firing, rights } from '../support/rights.ts'
import { available } from '../support/servers.ts'
import { query, script } from '../support/sql.ts'

describe.each(rights)('generated columns of %s', (_, pair, least) => {
  it('are computed again downstream, do not spoil the match under FULL, and the upstream may still change its rows', async () => {
    const f = await follow({
      pair,
      least,
      before: [
        'CREATE TABLE whole(a int, g int GENERATED ALWAYS AS (a * 2) STORED, b text)',
        'ALTER TABLE whole REPLICA IDENTITY FULL',
        'CREATE TABLE trigger_beside(a int PRIMARY KEY, b int, g int GENERATED ALWAYS AS (b * 22) STORED)',
      ],
      upstreamOnly: ['CREATE TABLE plain(a int PRIMARY KEY, g int)'],
      downstreamOnly: ['CREATE TABLE plain(a int PRIMARY KEY, g int GENERATED ALWAYS AS (a * 3) STORED)'],
      args: ['--no-identity', 'full'],
    })
    await script(
      f.downstream,
      `CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.b := 10; RETURN NEW; END';
       CREATE TRIGGER change BEFORE UPDATE ON trigger_beside FOR EACH ROW EXECUTE FUNCTION change(); ALTER TABLE trigger_beside ENABLE ${firing(least)} TRIGGER change`,
    )
    await f.run(`INSERT INTO whole(a, b) VALUES (1, 'a'), (1, 'a'), (2, NULL), (NULL, 'n')`)
    await f.run(
      `UPDATE whole SET a = 5 WHERE ctid = (SELECT min(ctid) FROM whole); DELETE FROM whole WHERE a = 2; UPDATE whole SET b = 'm' WHERE a IS NULL`,
    )
    expect(await query(f.downstream, 'SELECT * FROM whole ORDER BY a')).toEqual([
      { a: '1', g: '2', b: 'a' },
      { a: '5', g: '10', b: 'a' },
      { a: null, g: null, b: 'm' },
    ])
    await f.run('INSERT INTO trigger_beside(a, b) VALUES (1, 1); UPDATE trigger_beside SET b = 2')
    expect(await query(f.downstream, 'SELECT * FROM trigger_beside')).toEqual([{ a: '1', b: '10', g: '220' }])
    await f.run(
      'CREATE TABLE later(a int, g int GENERATED ALWAYS AS (a + 1) STORED); INSERT INTO later VALUES (1), (2)',
    )
    await f.run(
      'UPDATE later SET a = 3 WHERE a = 1; DELETE FROM later WHERE a = 2; ALTER TABLE later ADD h int GENERATED ALWAYS AS (a * a) STORED',
    )
    expect(await query(f.downstream, 'SELECT * FROM later')).toEqual([{ a: '3', g: '4', h: '9' }])
    // A subscription refuses a generated column downstream that the upstream publishes; it is computed all the same.
    await f.run('INSERT INTO plain VALUES (1, 100); UPDATE plain SET g = 7')
    expect(await query(f.downstream, 'SELECT * FROM plain')).toEqual([{ a: '1', g: '3' }])
  })
})

describe.each(['18', '18-15'] as const)('generated columns that are published, of %s', (pair) => {
  it.skipIf(!available(pair))('fill ordinary ones downstream, and find rows as part of a key', async () => {
    const f = await judged({
      pair,
      publications: [
        `CREATE TABLE gen(a int PRIMARY KEY, g int GENERATED ALWAYS AS (a * 2) STORED, h int GENERATED ALWAYS AS (a * 3) STORED); CREATE TABLE keyed(a int, b int, g int GENERATED ALWAYS AS (b % 2) STORED, PRIMARY KEY (a, g))`,
        'CREATE PUBLICATION scenarios FOR TABLE settled, gen, keyed WITH (publish_generated_columns = stored)',
      ],
      below: [
        'CREATE TABLE gen(h int, a int PRIMARY KEY, g int, own text)',
        'CREATE TABLE keyed(a int, b int, g int, PRIMARY KEY (a, g))',
      ],
    })
    await f.run('INSERT INTO gen VALUES (1), (2), (3); INSERT INTO keyed VALUES (1, 1), (1, 2)')
    await f.run(
      'UPDATE gen SET a = 10 WHERE a = 1; DELETE FROM gen WHERE a = 2; UPDATE keyed SET b = 4 WHERE b = 2; DELETE FROM keyed WHERE b = 1',
    )
    expect(await f.alike('SELECT a, g, h FROM gen ORDER BY a')).toEqual([
      { a: '3', g: '6', h: '9' },
      { a: '10', g: '20', h: '30' },
    ])
    expect(await f.alike('SELECT * FROM keyed')).toEqual([{ a: '1', b: '4', g: '0' }])
  })
})

it('virtual generated columns under FULL, whose UPDATE the server would refuse, are refused at the start', async () => {
  const before = [
    'CREATE TABLE virtual(a int, g int GENERATED ALWAYS AS (a * 2) VIRTUAL)',
    'ALTER TABLE virtual REPLICA IDENTITY FULL',
  ]
  await expect(follow({ before })).rejects.toThrow(/FLW-131.*public.virtual: virtual column/)
  const f = await follow({ before, args: ['--no-identity', 'insert-only'] })
  await f.run('INSERT INTO virtual VALUES (1), (2); UPDATE virtual SET a = 3')
  expect(await query(f.downstream, 'SELECT * FROM virtual ORDER BY a')).toEqual([
    { a: '1', g: '2' },
    { a: '2', g: '4' },
  ])
})

it.skipIf(!available('15'))(
  'before 18 a key with a generated column, which is not sent, stops the follow and finds no other row',
  async () => {
    const f = await follow({
      pair: '15',
      before: [
        'CREATE TABLE keyed(a int, b int, g int GENERATED ALWAYS AS (b % 2) STORED, PRIMARY KEY (a, g))',
      ],
    })
    await f.run('INSERT INTO keyed VALUES (1, 1), (1, 2)')
    await script(f.upstream, 'UPDATE keyed SET b = 4 WHERE b = 2')
    expect(await failure(f.follower, 8)).toMatchObject({
      code: 'FLW-303',
      context: { relation: 'public.keyed' },
    })
    expect(await query(f.downstream, 'SELECT b FROM keyed ORDER BY b')).toEqual([{ b: '1' }, { b: '2' }])
  },
)

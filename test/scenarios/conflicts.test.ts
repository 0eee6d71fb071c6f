import { describe, expect, it } from 'vitest'
import { failure } from '../support/failure.ts'
import { follow } from '../support/follow.ts'
import { rights } from '../support/rights.ts'
import { query, script, statements, value } from '../support/sql.ts'

describe.each(rights)('conflicts of %s', (_, pair, least) => {
  it('scenario 13: stops at a conflict, tells where, and goes on without loss once it is removed, also of prepared and large transactions', {
    timeout: 120_000,
  }, async () => {
    const f = await follow({ pair, least, before: ['CREATE TABLE t(a int PRIMARY KEY, b text)'] })
    const ways: readonly (readonly string[])[] = [
      [`INSERT INTO t VALUES (100, 'up'), (101, 'up')`],
      [
        `BEGIN; INSERT INTO t VALUES (102, 'up'), (100, 'up'); PREPARE TRANSACTION '${f.name}'`,
        `COMMIT PREPARED '${f.name}'`,
      ],
      [`INSERT INTO t SELECT g, md5(g::text) FROM generate_series(100, 10100) g ORDER BY g DESC`],
    ]
    for (const [i, way] of ways.entries()) {
      await script(f.downstream, `INSERT INTO t VALUES (100, 'in the way')`)
      await statements(f.upstream, [
        `INSERT INTO t VALUES (${i}, 'before')`,
        ...way,
        `INSERT INTO t VALUES (${i + 10}, 'after')`,
      ])
      const stopped = await failure(f.follower, 8)
      expect(stopped).toMatchObject({
        code: 'FLW-310',
        context: { relation: 'public.t', key: '(a)=(100)', lsn: expect.stringMatching('/') },
      })
      // Everything before it, and nothing of it or after it.
      expect(await query(f.downstream, 'SELECT b, count(*) FROM t GROUP BY b ORDER BY b')).toEqual([
        ...(i > 0 ? [{ b: 'after', count: String(i) }] : []),
        { b: 'before', count: String(i + 1) },
        { b: 'in the way', count: '1' },
      ])
      await script(f.downstream, 'DELETE FROM t WHERE a = 100')
      f.start()
      await f.settle()
      const [up, down] = await f.both('SELECT * FROM t ORDER BY a')
      expect(down).toBe(up)
      await f.run('DELETE FROM t WHERE a >= 100')
    }
    expect(
      await value(f.downstream, 'SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()'),
    ).toBe('0')
  })

  it('scenario 13, differs: a conflict is skipped row by row, and never a whole transaction', async () => {
    const f = await follow({
      pair,
      least,
      before: ['CREATE TABLE t(a int PRIMARY KEY, b text)'],
      args: ['--on-conflict', 'insert_exists=skip'],
    })
    await script(f.downstream, `INSERT INTO t VALUES (1, 'in the way')`)
    await f.run(`INSERT INTO t VALUES (1, 'up'), (2, 'up'); INSERT INTO t VALUES (3, 'up')`)
    expect(await query(f.downstream, 'SELECT * FROM t ORDER BY a')).toEqual([
      { a: '1', b: 'in the way' },
      { a: '2', b: 'up' },
      { a: '3', b: 'up' },
    ])
  })
})

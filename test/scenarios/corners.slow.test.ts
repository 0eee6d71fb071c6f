import { describe, expect, it } from 'vitest'
import { failure } from '../support/failure.ts'
import { follow } from '../support/follow.ts'
import { runFollower } from '../support/follower.ts'
import { judged } from '../support/judged.ts'
import { pairs } from '../support/pairs.ts'
import { available } from '../support/servers.ts'
import { query, script, statements } from '../support/sql.ts'
import { waitUntil } from '../support/wait.ts'

const major = (end: 'up' | 'down', pair: string) =>
  Number(end === 'up' ? pair.split('-')[0] : pair.split('-').at(-1))

describe.each(pairs.filter(available))('corners of %s', (pair) => {
  it.skipIf(major('up', pair) < 15)(
    'an error in a row filter stops the follow with its SQLSTATE, and harms neither the upstream nor what was applied',
    async () => {
      const f = await follow({
        pair,
        before: ['CREATE TABLE t(a int PRIMARY KEY, b int)'],
        upstreamOnly: ['CREATE PUBLICATION filtered FOR TABLE settled, t WHERE (100 / a > 0)'],
        args: ['--ddl', 'off', '--publication', 'filtered'],
      })
      await f.run('INSERT INTO t VALUES (1, 1), (1000, 2)')
      // The transaction before arrives together with the error, and is not held back by it.
      expect(await f.stop()).toBe(0)
      await statements(f.upstream, ['INSERT INTO t VALUES (3, 3)', 'INSERT INTO t VALUES (0, 0)'])
      f.start(['--ddl', 'off', '--publication', 'filtered'])
      const stopped = await failure(f.follower, 8)
      expect(stopped).toMatchObject({
        code: 'FLW-336',
        sqlstate: '22012',
        message: expect.stringContaining('division by zero'),
      })
      await script(f.upstream, 'INSERT INTO t VALUES (2, 2)')
      expect(await query(f.downstream, 'SELECT a FROM t ORDER BY a')).toEqual([{ a: '1' }, { a: '3' }])
      // A keepalive moves the position as well, up to the transaction that fails: that has not passed the cause.
      await script(f.downstream, 'UPDATE follower.progress SET lsn = lsn + 1')
      // It comes again: the filter of its time is what counts, until a person moves the slot behind it.
      f.start(['--ddl', 'off', '--publication', 'filtered'])
      expect((await failure(f.follower, 8)).sqlstate).toBe('22012')
      // What did not arrive whole has no position by which it could be skipped.
      expect(
        await query(
          f.downstream,
          'SELECT code, lsn, attempts FROM follower.incident WHERE resolved_at IS NULL',
        ),
      ).toEqual([{ code: 'FLW-336', lsn: null, attempts: '2' }])
    },
  )

  it('scenario 6: two follows of one table, TRUNCATE among concurrent writers, synchronous or not, and no deadlock', {
    timeout: 120_000,
  }, async () => {
    const f = await follow({ pair, before: ['CREATE TABLE t(a int PRIMARY KEY, b text)'] })
    const name = `${f.name}_two`
    await script(f.downstream, `CREATE DATABASE ${name} TEMPLATE template0`)
    const second = new URL(f.downstream)
    second.pathname = `/${name}`
    await script(
      second.href,
      'CREATE TABLE settled(n int PRIMARY KEY); CREATE TABLE t(a int PRIMARY KEY, b text)',
    )
    const two = runFollower(
      ['start', '--upstream', f.upstream, '--downstream', second.href, '--name', name, '--copy', 'none'],
      {},
    )
    await two.ready({ slot: name })
    await Promise.all(
      [1, 2, 3].map(async (writer) => {
        for (let i = 0; i < 15; i++) {
          await script(
            f.upstream,
            `INSERT INTO t SELECT ${writer} * 10000 + ${i} * 100 + g, 'x' FROM generate_series(1, 20) g`,
          )
          if (i % 5 === writer) await script(f.upstream, 'TRUNCATE t')
        }
      }),
    )
    await f.settle()
    const all = 'SELECT * FROM t ORDER BY a'
    const up = await query(f.upstream, all)
    expect(await query(f.downstream, all)).toEqual(up)
    await waitUntil(async () => JSON.stringify(await query(second.href, all)) === JSON.stringify(up), {
      what: 'the second follow',
    })
    for (const each of [f.follower, two]) expect(each.output).not.toContain('deadlock')
    await two.stop()
    await script(f.upstream, `SELECT pg_drop_replication_slot('${name}')`)
    await script(f.downstream, `DROP DATABASE ${name} WITH (FORCE)`)
  })

  it('a row that meets two others by two keys stops the follow, whatever it is told of conflicts', async () => {
    const f = await follow({
      pair,
      before: ['CREATE TABLE t(a int PRIMARY KEY, b int UNIQUE, c text)'],
      args: ['--on-conflict', 'insert_exists=overwrite'],
    })
    await script(f.downstream, `INSERT INTO t VALUES (1, 10, 'one'), (2, 20, 'two')`)
    await f.run(`INSERT INTO t VALUES (1, 11, 'up')`)
    expect(await query(f.downstream, 'SELECT * FROM t ORDER BY a')).toEqual([
      { a: '1', b: '11', c: 'up' },
      { a: '2', b: '20', c: 'two' },
    ])
    await script(f.upstream, `UPDATE t SET a = 5; INSERT INTO t VALUES (1, 20, 'both')`)
    const stopped = await failure(f.follower, 8)
    expect(stopped).toMatchObject({
      code: 'FLW-310',
      context: { relation: 'public.t', constraint: 't_b_key' },
    })
    await script(f.downstream, 'DELETE FROM t WHERE a = 2')
    f.start(['--on-conflict', 'insert_exists=overwrite'])
    await f.settle()
    const [up, down] = await f.both('SELECT * FROM t ORDER BY a')
    expect(down).toBe(up)
  })

  it.skipIf(major('up', pair) < 18 || major('down', pair) < 18)(
    'keys over time (WITHOUT OVERLAPS) find rows, as the identity too, and conflicts are met',
    async () => {
      const f = await judged({ pair })
      await f.below('CREATE EXTENSION btree_gist')
      await script(f.upstream, 'CREATE EXTENSION btree_gist')
      await f.everywhere(
        `CREATE TABLE booking(room int, during daterange, who text, PRIMARY KEY (room, during WITHOUT OVERLAPS));
         ALTER TABLE booking REPLICA IDENTITY FULL`,
      )
      await f.run(
        `INSERT INTO booking VALUES (1, '[2026-01-01,2026-01-05)', 'a'), (1, '[2026-01-05,2026-01-09)', 'b'), (2, '[2026-01-01,2026-02-01)', 'c');
         UPDATE booking SET who = 'd' WHERE during @> date '2026-01-06'; UPDATE booking SET during = '[2026-01-02,2026-01-05)' WHERE who = 'a';
         DELETE FROM booking WHERE room = 2`,
      )
      expect(await f.alike('SELECT * FROM booking ORDER BY during')).toEqual([
        { room: '1', during: '[2026-01-02,2026-01-05)', who: 'a' },
        { room: '1', during: '[2026-01-05,2026-01-09)', who: 'd' },
      ])
      await script(f.downstream, `INSERT INTO booking VALUES (3, '[2026-03-01,2026-03-10)', 'in the way')`)
      await script(f.upstream, `INSERT INTO booking VALUES (3, '[2026-03-05,2026-03-06)', 'up')`)
      expect(await failure(f.follower, 8)).toMatchObject({
        sqlstate: '23P01',
        context: { relation: 'public.booking', constraint: 'booking_pkey' },
      })
    },
  )

  it('differs: a row that an UPDATE moves to another partition downstream passes the UPDATE triggers of the one it leaves', async () => {
    const f = await judged({ pair })
    await f.below(
      `CREATE TABLE moved(a int, b int, PRIMARY KEY (a, b)) PARTITION BY LIST (b); CREATE TABLE moved1 PARTITION OF moved FOR VALUES IN (1);
       CREATE TABLE moved2 PARTITION OF moved FOR VALUES IN (2); CREATE TABLE fired(n serial, what text);
       CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         INSERT INTO public.fired(what) VALUES (concat_ws(' ', tg_table_name, tg_when, tg_op)); RETURN coalesce(NEW, OLD); END $$;
       CREATE TRIGGER b BEFORE INSERT OR UPDATE OR DELETE ON moved1 FOR EACH ROW EXECUTE FUNCTION fire(); ALTER TABLE moved1 ENABLE REPLICA TRIGGER b;
       CREATE TRIGGER b BEFORE INSERT OR UPDATE OR DELETE ON moved2 FOR EACH ROW EXECUTE FUNCTION fire(); ALTER TABLE moved2 ENABLE REPLICA TRIGGER b`,
    )
    await f.upstreamOnly('CREATE TABLE moved(a int, b int, PRIMARY KEY (a, b))')
    await f.run('INSERT INTO moved VALUES (1, 1); UPDATE moved SET b = 2')
    expect(await f.alike('SELECT * FROM moved')).toEqual([{ a: '1', b: '2' }])
    const fired = async (end: string) =>
      (await query(end, 'SELECT what FROM fired ORDER BY n')).map((row) => row.what)
    const moves = ['moved1 BEFORE DELETE', 'moved2 BEFORE INSERT']
    expect(await fired(f.judge)).toEqual(['moved1 BEFORE INSERT', ...moves])
    expect(await fired(f.downstream)).toEqual(['moved1 BEFORE INSERT', 'moved1 BEFORE UPDATE', ...moves])
  })
})

import { beforeAll, describe, expect, it } from 'vitest'
import { failure, type Line, log } from './support/failure.ts'
import { type Following, follow } from './support/follow.ts'
import { followerCommand, runFollower } from './support/follower.ts'
import { client, query, script, statements, value } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

const equal = async (f: Following, text: string): Promise<string> => {
  const [up, down] = await f.both(text)
  expect(down).toBe(up)
  return down
}

/** Lines of /metrics without comments; the address stands in the log. */
async function metrics(f: Following): Promise<string[]> {
  const url = log(f.follower).find((line) => line.msg === 'follower starts')?.web
  const text = await (await fetch(new URL('/metrics', String(url)))).text()
  return text.split('\n').filter((line) => !line.startsWith('#'))
}

const conflictsOf = (f: Following): Line[] => log(f.follower).filter((line) => line.conflict !== undefined)

describe('a conflict', () => {
  it('is skipped or overwritten as chosen, told with its place, and counted', {
    timeout: 120_000,
  }, async () => {
    const f = await follow({
      before: [
        'CREATE TABLE c(a int PRIMARY KEY, b text, u int UNIQUE)',
        'ALTER TABLE c ALTER b SET STORAGE EXTERNAL',
        `INSERT INTO c SELECT g, 'before' FROM generate_series(1, 20) g`,
        'CREATE TABLE d(a int PRIMARY KEY, b int UNIQUE DEFERRABLE)',
        'CREATE TABLE e(a int PRIMARY KEY, b text)',
      ],
    })
    const { upstream, downstream } = f
    await f.settle()
    expect(await f.stop()).toBe(0)
    await script(
      downstream,
      `DELETE FROM c WHERE a IN (2, 3, 5, 6, 7);
       INSERT INTO c VALUES (101, 'down', NULL), (104, 'down', 104), (108, 'down', 8); INSERT INTO d VALUES (1, 1);
       INSERT INTO e VALUES (1, 'down');
       CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         IF NEW.a % 2 = 1 THEN RETURN NEW; END IF; RETURN NULL; END $$;
       CREATE TRIGGER odd BEFORE INSERT ON e FOR EACH ROW EXECUTE FUNCTION odd();
       ALTER TABLE e ENABLE REPLICA TRIGGER odd`,
    )

    const web = ['--web-listen', '127.0.0.1:0']
    f.start([...web, '--on-conflict', 'insert_exists=skip', '--on-conflict', 'update_missing=skip'])
    await f.run(`INSERT INTO c VALUES (100, 'good'); INSERT INTO c VALUES (101, 'up'); UPDATE c SET b = 'up' WHERE a = 2;
      DELETE FROM c WHERE a = 3; UPDATE c SET b = 'good' WHERE a = 1`)
    const changed = 'SELECT a, b FROM c WHERE a IN (1, 2, 3, 100, 101) ORDER BY a'
    expect(await query(downstream, changed)).toEqual([
      { a: '1', b: 'good' },
      { a: '100', b: 'good' },
      { a: '101', b: 'down' },
    ])
    const place = {
      level: 'warn',
      relation: 'public.c',
      lsn: expect.stringMatching(/^\w+\/\w+$/),
      xid: expect.any(Number),
    }
    expect(conflictsOf(f)).toEqual([
      expect.objectContaining({ ...place, conflict: 'insert_exists', resolution: 'skip', key: '(a)=(101)' }),
      expect.objectContaining({ ...place, conflict: 'update_missing', resolution: 'skip', key: '(a)=(2)' }),
      expect.objectContaining({ ...place, conflict: 'delete_missing', resolution: 'skip', key: '(a)=(3)' }),
    ])
    // A deferrable constraint can't tell a conflict, and is not in the way of one that can.
    await f.run('INSERT INTO d VALUES (1, 10), (2, 20)')
    expect(await query(downstream, 'SELECT * FROM d ORDER BY a')).toEqual([
      { a: '1', b: '1' },
      { a: '2', b: '20' },
    ])
    // A suppressed row is none, and a row in the way is one also where a trigger might have suppressed it.
    await f.run(`INSERT INTO e SELECT g, 'up' FROM generate_series(1, 4) g`)
    expect(await query(downstream, `SELECT string_agg(a || b, ' ' ORDER BY a) AS e FROM e`)).toEqual([
      { e: '1down 3up' },
    ])
    expect(
      conflictsOf(f)
        .map((line) => `${line.relation} ${line.key}`)
        .slice(3),
    ).toEqual(['public.d (a)=(1)', 'public.e (a)=(1)'])
    const counted = await metrics(f)
    const count = (name: string, type: string, resolution: string, n: number) =>
      expect(counted).toContain(
        `follower_${name}{downstream="${f.name}",type="${type}",resolution="${resolution}"} ${n}`,
      )
    count('conflicts_total', 'insert_exists', 'skip', 3)
    count('conflicts_total', 'update_missing', 'skip', 1)
    count('conflicts_total', 'delete_missing', 'skip', 1)
    expect(counted).toContain(`follower_changes_skipped_total{downstream="${f.name}",reason="conflict"} 5`)
    expect(await f.stop()).toBe(0)

    const overwrite = [
      ...web,
      '--on-conflict',
      'insert_exists=overwrite,update_missing=overwrite,delete_missing=halt',
    ]
    f.start(overwrite)
    await f.run(
      `INSERT INTO c VALUES (104, 'up', 4); UPDATE c SET b = 'up' WHERE a = 5; UPDATE c SET a = 60 WHERE a = 6`,
    )
    await equal(f, 'SELECT * FROM c WHERE a IN (104, 5, 6, 60) ORDER BY a')
    expect(conflictsOf(f)).toEqual([
      expect.objectContaining({
        ...place,
        conflict: 'insert_exists',
        resolution: 'overwrite',
        key: '(a)=(104)',
      }),
      expect.objectContaining({
        ...place,
        conflict: 'update_missing',
        resolution: 'overwrite',
        key: '(a)=(5)',
      }),
      expect.objectContaining({
        ...place,
        conflict: 'update_missing',
        resolution: 'overwrite',
        key: '(a)=(6)',
      }),
    ])
    const more = await metrics(f)
    expect(more).toContain(
      `follower_conflicts_total{downstream="${f.name}",type="update_missing",resolution="overwrite"} 2`,
    )
    expect(
      more.filter((line) => line.startsWith('follower_changes_skipped_total') && !line.endsWith(' 0')),
    ).toEqual([])

    // What overwriting cannot do halts: a second key is in the way; a value was not sent; a DELETE overwrites nothing.
    await script(upstream, `INSERT INTO c VALUES (9999, 'up', 8)`)
    const second = await failure(f.follower, 8)
    expect(second).toMatchObject({ code: 'FLW-310', context: { constraint: 'c_u_key', key: '(a)=(9999)' } })
    await script(downstream, 'DELETE FROM c WHERE a = 108')
    f.start(overwrite)
    await f.run(`UPDATE c SET b = repeat('long', 10000) WHERE a = 10`)
    await script(downstream, 'DELETE FROM c WHERE a IN (10, 11)')
    await script(upstream, 'UPDATE c SET u = 10 WHERE a = 10')
    const unsent = await failure(f.follower, 8)
    expect(unsent).toMatchObject({ code: 'FLW-330', detail: expect.stringContaining('TOAST') })
    await script(downstream, `INSERT INTO c VALUES (10, repeat('long', 10000))`)
    await script(upstream, 'DELETE FROM c WHERE a = 11')
    f.start(overwrite)
    expect((await failure(f.follower, 8)).context).toMatchObject({
      conflict: 'delete_missing',
      key: '(a)=(11)',
    })
    const wrong = await followerCommand([...f.args, '--on-conflict', 'delete_missing=apply'])
    expect(wrong.code).toBe(2)
    expect(wrong.stderr).toMatch(/FLW-012.*delete_missing/)
    f.start(web)
    await f.settle()
    expect(conflictsOf(f)).toEqual([
      expect.objectContaining({ conflict: 'delete_missing', resolution: 'skip', key: '(a)=(11)' }),
    ])
    await equal(f, 'SELECT * FROM c WHERE a NOT IN (2, 7, 101) ORDER BY a')
    expect(await f.stop()).toBe(0)
  })
})

describe('a downstream of its own shape', () => {
  let f: Following
  const wide = Array.from({ length: 1000 }, (_, i) => `c${i}`)
  beforeAll(async () => {
    f = await follow({
      before: [
        'CREATE TABLE suppressed(a int PRIMARY KEY, b text)',
        'CREATE TABLE swallowed(a int PRIMARY KEY, b text)',
        'CREATE TABLE parent(a int PRIMARY KEY)',
        'CREATE TABLE child(a int PRIMARY KEY, p int)',
        'CREATE TABLE moved(a int PRIMARY KEY, b int UNIQUE)',
        'CREATE TABLE late(a int PRIMARY KEY, b int UNIQUE DEFERRABLE INITIALLY DEFERRED, c int UNIQUE DEFERRABLE)',
        `CREATE TABLE "a""b"("constructor" int PRIMARY KEY, "__proto__" text, "x y" int, "$1" int)`,
        `CREATE TABLE "tab'le"("hasOwnProperty" text PRIMARY KEY, "sel\\ect" text)`,
        `CREATE TABLE "__proto__"("a""b" int, "é, ""ü" text); ALTER TABLE "__proto__" REPLICA IDENTITY FULL`,
        `CREATE SCHEMA "Sch.ema" CREATE TABLE "toString"(a int PRIMARY KEY)`,
        `CREATE TABLE wide(id int PRIMARY KEY, ${wide.map((name) => `${name} int`).join(', ')})`,
        `CREATE TABLE full_wide(${wide.map((name) => `${name} int`).join(', ')}); ALTER TABLE full_wide REPLICA IDENTITY FULL`,
        'CREATE TABLE none(); ALTER TABLE none REPLICA IDENTITY FULL',
        'CREATE TABLE large(a int PRIMARY KEY, b text)',
        'CREATE TABLE many(a int PRIMARY KEY, b text)',
      ],
      upstreamOnly: ['CREATE TABLE shaped(a int PRIMARY KEY, b text, c int)'],
      args: ['--copy', 'none'],
    })
  }, 120_000)

  it('suppresses with REPLICA triggers, does without the ordinary ones, and survives ALWAYS ones', async () => {
    await script(
      f.downstream,
      `CREATE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'fired'; END $$;
       CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         IF coalesce(NEW.a, OLD.a) % 2 = 0 OR OLD.b = 'keep' THEN RETURN NULL; END IF;
         RETURN coalesce(NEW, OLD); END $$;
       CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         BEGIN PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NEW.b := NEW.b || '!'; END; RETURN NEW; END $$;
       CREATE TRIGGER nothing BEFORE INSERT OR UPDATE OR DELETE ON suppressed FOR EACH ROW EXECUTE FUNCTION nothing();
       ALTER TABLE suppressed ENABLE REPLICA TRIGGER nothing;
       CREATE TRIGGER ordinary BEFORE INSERT OR UPDATE OR DELETE ON suppressed FOR EACH ROW EXECUTE FUNCTION raise();
       CREATE TRIGGER swallow BEFORE INSERT OR UPDATE ON swallowed FOR EACH ROW EXECUTE FUNCTION swallow();
       ALTER TABLE swallowed ENABLE ALWAYS TRIGGER swallow;`,
    )
    await f.run(
      `INSERT INTO suppressed SELECT g, 'b' FROM generate_series(1, 9) g; INSERT INTO swallowed VALUES (1, 'a'), (2, 'b')`,
    )
    await f.run(`UPDATE suppressed SET b = 'keep' WHERE a IN (3, 5)`)
    await f.run(`UPDATE suppressed SET b = 'c' WHERE a IN (3, 7); UPDATE swallowed SET b = 'c' WHERE a = 2`)
    await f.run('DELETE FROM suppressed WHERE a IN (5, 9)')
    expect(await query(f.downstream, 'SELECT a, b FROM suppressed ORDER BY a')).toEqual([
      { a: '1', b: 'b' },
      { a: '3', b: 'keep' },
      { a: '5', b: 'keep' },
      { a: '7', b: 'c' },
    ])
    expect(await query(f.downstream, 'SELECT b FROM swallowed ORDER BY a')).toEqual([
      { b: 'a!' },
      { b: 'c!' },
    ])
    expect(conflictsOf(f)).toEqual([])
  })

  it('does not ask its foreign keys, and lets unique values move within a transaction', async () => {
    await script(f.downstream, 'ALTER TABLE child ADD FOREIGN KEY (p) REFERENCES parent ON DELETE CASCADE')
    await f.run('INSERT INTO child VALUES (1, 10), (2, 20); INSERT INTO parent VALUES (10)')
    await f.run('DELETE FROM parent')
    await equal(f, 'SELECT * FROM child ORDER BY a')
    await f.run(
      'INSERT INTO moved VALUES (1, 1), (2, 2), (3, 3); INSERT INTO late VALUES (1, 1, 1), (2, 2, 2)',
    )
    await f.run(`UPDATE moved SET b = 0 WHERE a = 1; UPDATE moved SET b = 1 WHERE a = 2; UPDATE moved SET b = 2 WHERE a = 1;
      DELETE FROM moved WHERE a = 3; INSERT INTO moved VALUES (4, 3); UPDATE moved SET a = 3 WHERE a = 4`)
    await f.run('UPDATE late SET b = 3 - b, c = 3 - c')
    await f.run('BEGIN; INSERT INTO late VALUES (3, 1, 9); UPDATE late SET b = 9 WHERE a = 3; COMMIT')
    for (const table of ['moved', 'late']) await equal(f, `SELECT * FROM ${table} ORDER BY a`)
  })

  it('may have more columns, in another order', async () => {
    await script(
      f.downstream,
      `CREATE TABLE shaped(c int, extra text NOT NULL DEFAULT 'here', twice int GENERATED ALWAYS AS (c * 2) STORED,
         b text, serial bigserial, a int PRIMARY KEY)`,
    )
    await f.run(`INSERT INTO shaped VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3)`)
    await script(f.downstream, `UPDATE shaped SET extra = 'mine' WHERE a = 2`)
    await f.run(
      'UPDATE shaped SET c = c * 10; UPDATE shaped SET a = 20 WHERE a = 2; DELETE FROM shaped WHERE a = 3',
    )
    await equal(f, 'SELECT a, b, c FROM shaped ORDER BY a')
    expect(await query(f.downstream, 'SELECT extra, twice FROM shaped ORDER BY a')).toEqual([
      { extra: 'here', twice: '20' },
      { extra: 'mine', twice: '40' },
    ])
  })

  it('takes whatever name', async () => {
    await f.run(`INSERT INTO "a""b" VALUES (1, 'x', 1, 1), (2, NULL, NULL, 2); UPDATE "a""b" SET "__proto__" = 'y' WHERE "constructor" = 2;
      INSERT INTO "tab'le" VALUES ('k''ey\\', 'v'), ('gone', 'v'); UPDATE "tab'le" SET "sel\\ect" = 'w'; DELETE FROM "tab'le" WHERE "hasOwnProperty" = 'gone';
      INSERT INTO "__proto__" VALUES (1, 'x'), (1, 'x'), (NULL, NULL); UPDATE "__proto__" SET "é, ""ü" = 'y' WHERE "a""b" IS NULL;
      INSERT INTO "Sch.ema"."toString" VALUES (1), (2)`)
    await f.run('TRUNCATE "Sch.ema"."toString"; DELETE FROM "__proto__" WHERE "a""b" = 1')
    for (const table of ['"a""b"', `"tab'le"`, '"__proto__"', '"Sch.ema"."toString"'])
      await equal(f, `SELECT * FROM ${table} ORDER BY 1`)
  })

  it('takes a thousand columns, none, and 60 MB in one value', { timeout: 120_000 }, async () => {
    const values = wide.map((_, i) => i).join(', ')
    await f.run(`INSERT INTO wide VALUES (1, ${values}), (2, ${values}); INSERT INTO full_wide VALUES (${values}), (${values});
      UPDATE wide SET ${wide.map((name) => `${name} = -${name}`).join(', ')} WHERE id = 1; UPDATE full_wide SET c999 = NULL; DELETE FROM wide WHERE id = 2`)
    await f.run(
      'INSERT INTO none DEFAULT VALUES; INSERT INTO none DEFAULT VALUES; INSERT INTO none DEFAULT VALUES',
    )
    await f.run('DELETE FROM none WHERE ctid IN (SELECT ctid FROM none LIMIT 1)')
    await equal(f, 'SELECT * FROM wide')
    await equal(f, 'SELECT * FROM full_wide')
    expect(await equal(f, 'SELECT count(*) FROM none')).toContain('"2"')
    await f.run(`INSERT INTO large VALUES (1, repeat('60 million', 6000000)), (2, 'small')`)
    await f.run(`UPDATE large SET a = 3 WHERE a = 1; UPDATE large SET b = b || '!' WHERE a = 3`)
    expect(await equal(f, 'SELECT a, length(b), md5(b) FROM large ORDER BY a')).toContain('60000001')
  })

  it('takes 100,000 rows in one transaction, and thousands of small ones', { timeout: 120_000 }, async () => {
    await f.run(`INSERT INTO many SELECT g, 'row ' || g FROM generate_series(1, 100000) g`)
    await f.run(`UPDATE many SET b = b || '!' WHERE a % 10 = 0; DELETE FROM many WHERE a % 3 = 0`)
    await f.run(`DO $$ BEGIN FOR i IN 1..3000 LOOP
      INSERT INTO many VALUES (-i, 'small'); UPDATE many SET b = b || '.' WHERE a = -i / 2; COMMIT; END LOOP; END $$`)
    await equal(f, `SELECT count(*), sum(a), md5(string_agg(b, ',' ORDER BY a)) FROM many`)
    expect(conflictsOf(f)).toEqual([])
  })
})

const confirmed = 'SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = $1'
const position = 'SELECT lsn FROM follower.progress'

describe('a follower that is to end', () => {
  it('at an LSN or now: exit 0 with all of it durable and acknowledged, and nothing beyond', {
    timeout: 120_000,
  }, async () => {
    const f = await follow({ before: ['CREATE TABLE t(a int PRIMARY KEY)'] })
    await f.settle()
    expect(await f.stop()).toBe(0)
    const until = async (lsn: string, ...more: string[]): Promise<void> => {
      f.start(['--until', lsn, ...more])
      const { code } = await f.follower.exit
      expect(code, f.follower.output).toBe(0)
      expect(await value(f.upstream, confirmed, [f.name])).toBe(await value(f.downstream, position))
    }
    const rows = () => value(f.downstream, `SELECT string_agg(a::text, ',' ORDER BY a) FROM t`)
    await script(f.upstream, 'INSERT INTO t VALUES (1)')
    const lsn = (await value(f.upstream, 'SELECT pg_current_wal_insert_lsn()')) ?? ''
    // Begun before the position, committed behind it: not to be applied.
    const late = await client(f.upstream)
    await late.query('BEGIN; INSERT INTO t VALUES (2)')
    const within = (await value(f.upstream, 'SELECT pg_current_wal_insert_lsn()')) ?? ''
    await script(f.upstream, 'INSERT INTO t VALUES (3)')
    await late.query('COMMIT')
    await until(lsn)
    expect(await rows()).toBe('1')
    await until(within)
    expect(await rows()).toBe('1')
    await until('now', '--synchronous-commit', 'off')
    expect(await rows()).toBe('1,2,3')
    await until(lsn)
    await until('now')
    await script(f.upstream, 'INSERT INTO t VALUES (4)')
    await until('now')
    expect(await rows()).toBe('1,2,3,4')
  })

  it('by a signal under load: whole transactions, acknowledged; by a second signal at once', {
    timeout: 120_000,
  }, async () => {
    const f = await follow({
      before: ['CREATE TABLE t(a int, b text)', 'ALTER TABLE t REPLICA IDENTITY FULL'],
    })
    const loaded = script(
      f.upstream,
      `DO $$ BEGIN FOR i IN 1..8000 LOOP INSERT INTO t VALUES (i), (i); COMMIT; END LOOP; END $$`,
    )
    await f.follower.until(
      async () => (await value(f.downstream, 'SELECT count(*) > 0 FROM t')) === 't',
      'rows',
    )
    expect(await f.stop()).toBe(0)
    const [down] = await query(
      f.downstream,
      'SELECT count(*), 2 * max(a) AS whole, lsn FROM t, follower.progress GROUP BY lsn',
    )
    expect(down?.count).toBe(down?.whole)
    expect(await value(f.upstream, confirmed, [f.name])).toBe(down?.lsn)
    await loaded

    const locker = await client(f.downstream)
    // The batch in hand waits for a lock: one signal gives it up in time, a second one at once.
    for (const [signal, code, second] of [
      ['SIGTERM', 0, false],
      ['SIGTERM', 143, true],
      ['SIGINT', 130, true],
    ] as const) {
      await locker.query('BEGIN; LOCK TABLE t IN EXCLUSIVE MODE')
      await script(f.upstream, 'INSERT INTO t VALUES (1), (1)')
      f.start()
      await f.follower.until(
        async () =>
          (await value(
            f.downstream,
            `SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND NOT granted`,
          )) !== '0',
        'an applier that waits',
      )
      f.follower.child.kill(signal)
      await f.follower.line(/"stopping"/)
      if (second) f.follower.child.kill(signal)
      expect(await f.follower.exit).toEqual({ code, signal: null })
      await locker.query('ROLLBACK')
    }
    f.start()
    await f.settle()
    await equal(f, 'SELECT count(*), sum(a) FROM t')
    expect(await f.stop()).toBe(0)
  })
})

describe('a batch that is given up for a reason that passes', () => {
  it('is applied again, once, and nothing ends', { timeout: 60_000 }, async () => {
    const f = await follow({ before: ['CREATE TABLE t(a int)', 'ALTER TABLE t REPLICA IDENTITY FULL'] })
    await f.settle()
    const locker = await client(f.downstream)
    for (const [i, end] of ['pg_cancel_backend', 'pg_terminate_backend'].entries()) {
      await locker.query('BEGIN; LOCK TABLE t IN EXCLUSIVE MODE')
      await statements(
        f.upstream,
        [1, 2, 3].map((n) => `INSERT INTO t VALUES (${10 * i + n})`),
      )
      const waiting = `FROM pg_locks WHERE relation = 't'::regclass AND NOT granted`
      await f.follower.until(
        async () => (await value(f.downstream, `SELECT count(*) ${waiting}`)) === '1',
        'it waits',
      )
      await query(f.downstream, `SELECT ${end}(pid) ${waiting}`)
      await f.follower.until(
        () => log(f.follower).filter((line) => line.attempt !== undefined)[i],
        'it tries again',
      )
      await locker.query('ROLLBACK')
      await f.settle()
    }
    await equal(f, 'SELECT a FROM t ORDER BY a')
    const tries = log(f.follower).filter((line) => line.attempt !== undefined)
    expect(tries.map((line) => line.err?.sqlstate)).toEqual(['57014', '57P01'])
    expect(await f.stop()).toBe(0)
  })
})

const idleInTransaction = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'`

describe('a second follower of the same name', () => {
  it.each([
    // Many changes are committed when it is known what they met; few go with their COMMIT, which then stands.
    {
      batch: 'executed, not committed',
      commits: false,
      writes: ['INSERT INTO t SELECT generate_series(0, 199)'],
    },
    {
      batch: 'sent with its COMMIT',
      commits: true,
      writes: Array.from({ length: 20 }, (_, i) => `INSERT INTO t VALUES (${i})`),
    },
  ])(
    'waits, takes over, and the first one commits nothing more, its batch $batch',
    {
      timeout: 120_000,
    },
    async ({ commits, writes }) => {
      const f = await follow({ before: ['CREATE TABLE t(a int)', 'ALTER TABLE t REPLICA IDENTITY FULL'] })
      await f.settle()
      const first = f.follower
      f.start()
      const second = f.follower
      const told = JSON.parse(await second.line(/another follower of/)) as { holder: { pid: string } }

      // The first one is stopped with a batch in hand.
      const locker = await client(f.downstream)
      await locker.query('BEGIN; LOCK TABLE t IN EXCLUSIVE MODE')
      await statements(f.upstream, writes.slice(0, 1))
      const waits = `SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND NOT granted`
      await first.until(async () => (await value(f.downstream, waits)) === '1', 'a batch in hand')
      await statements(f.upstream, writes.slice(1))
      first.child.kill('SIGSTOP')
      await locker.query('ROLLBACK')
      const state = commits ? 'SELECT least(count(*), 1) FROM t' : idleInTransaction
      await waitUntil(async () => (await value(f.downstream, state)) === '1')
      const before = Number(await value(f.downstream, 'SELECT count(*) FROM t'))
      expect(before).toBe(commits ? 1 : 0)
      // While it lives its lock keeps the second one away; whoever knows that it hangs ends its sessions.
      expect(log(second).filter((line) => line.msg.startsWith('following'))).toEqual([])
      await query(f.downstream, 'SELECT pg_terminate_backend($1)', [told.holder.pid])
      await query(
        f.upstream,
        'SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1',
        [f.name],
      )
      await f.settle()
      await equal(f, 'SELECT count(*) FROM t')

      first.child.kill('SIGCONT')
      await waitUntil(
        () => !first.running || first.stderr.some((line) => line.includes('another follower of')),
      )
      if (!first.running) expect((await first.exit).code, first.output).toBe(11)
      await f.run('INSERT INTO t VALUES (100)')
      await equal(f, 'SELECT a FROM t ORDER BY a')

      // One that waits can be stopped, too.
      const fourth = runFollower([...f.args, '--web-listen', 'off'])
      await fourth.line(/another follower of/)
      expect(await fourth.stop()).toEqual({ code: 0, signal: null })

      // Killed, it makes room for the next.
      const third = runFollower([...f.args, '--web-listen', 'off'])
      await third.line(/another follower of/)
      if (first.running) await first.kill9()
      await second.kill9()
      f.follower = third
      await f.run('INSERT INTO t VALUES (101)')
      await equal(f, 'SELECT a FROM t ORDER BY a')
      expect((await third.stop()).code).toBe(0)
    },
  )
})

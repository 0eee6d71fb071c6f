import { describe, expect, it } from 'vitest'
import { cleanUp } from '../support/cleanup.ts'
import { failure, log } from '../support/failure.ts'
import { type Following, follow } from '../support/follow.ts'
import { pairsByDownstream } from '../support/pairs.ts'
import { available } from '../support/servers.ts'
import { query, type Row, script, statements } from '../support/sql.ts'

/** Follows with a downstream role that may not set session_replication_role: what the docs promise for that. */
describe.each(pairsByDownstream.filter(available))('without session_replication_role, of %s', (pair) => {
  const origin = (before: readonly string[], more: Partial<Parameters<typeof follow>[0]> = {}) =>
    follow({ pair, least: 'origin', before, ...more })
  const alike = async (f: Following, text: string): Promise<Row[]> => {
    const [up, down] = await Promise.all([query(f.upstream, text), query(f.superuser, text)])
    expect(down).toEqual(up)
    return down
  }
  const grant = async (f: Following): Promise<void> => {
    const version = Number((await query(f.superuser, 'SHOW server_version_num'))[0]!.server_version_num)
    await script(
      f.superuser,
      version >= 150000
        ? `GRANT SET ON PARAMETER session_replication_role TO ${f.least!.role}`
        : `ALTER ROLE ${f.least!.role} SET session_replication_role = replica`,
    )
  }

  it('says at its start what that means, and what would change it', async () => {
    const f = await origin([])
    const warning = log(f.follower).find((line) => line.code === 'FLW-111')
    expect(warning).toMatchObject({ level: 'warn', fix: expect.stringContaining(f.least!.role) })
    expect(await f.stop()).toBe(0)
    // A superuser may also give the role the setting: then it need not be able to set it.
    await script(f.superuser, `ALTER ROLE ${f.least!.role} SET session_replication_role = replica`)
    f.start()
    await f.settle()
    expect(log(f.follower).some((line) => line.code === 'FLW-111')).toBe(false)
  })

  it('foreign keys hold at every statement, deferred ones and cyclic ones at COMMIT; DDL and TRUNCATE come between', async () => {
    const f = await origin([
      'CREATE TABLE parent(a int PRIMARY KEY)',
      'CREATE TABLE child(a int PRIMARY KEY, p int REFERENCES parent DEFERRABLE)',
      'CREATE TABLE egg(a int PRIMARY KEY, hen int NOT NULL)',
      'CREATE TABLE hen(a int PRIMARY KEY, egg int NOT NULL REFERENCES egg DEFERRABLE INITIALLY DEFERRED)',
      'ALTER TABLE egg ADD FOREIGN KEY (hen) REFERENCES hen DEFERRABLE INITIALLY DEFERRED',
      'CREATE TABLE tree(a int PRIMARY KEY, up int REFERENCES tree DEFERRABLE)',
      'CREATE TABLE ranked(a int PRIMARY KEY, rank int UNIQUE DEFERRABLE)',
    ])
    await f.run('INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (1, 1), (2, 2)')
    await f.run('BEGIN; INSERT INTO hen VALUES (1, 1); INSERT INTO egg VALUES (1, 1); COMMIT')
    await f.run('INSERT INTO tree VALUES (1, 2), (2, 3), (3, NULL)')
    await f.run('DELETE FROM tree; INSERT INTO tree VALUES (5, 4), (4, NULL)')
    await f.run(
      'INSERT INTO ranked SELECT g, g FROM generate_series(1, 5) g; UPDATE ranked SET rank = 6 - rank',
    )
    // What is pending on a table that DDL or TRUNCATE wants: upstream none of it was.
    await f.run(
      `BEGIN; INSERT INTO parent VALUES (3); INSERT INTO child VALUES (3, 3); ALTER TABLE child ADD b text; INSERT INTO child VALUES (4, 3, 'x'); TRUNCATE child;
       INSERT INTO child VALUES (5, 3, 'y'); COMMIT`,
    )
    await f.run(
      'BEGIN; INSERT INTO child VALUES (6, 3); TRUNCATE child; INSERT INTO child VALUES (7, 3); COMMIT',
    )
    await f.run(
      'BEGIN; UPDATE parent SET a = 1 WHERE a = 1; TRUNCATE child, parent; INSERT INTO parent VALUES (9); COMMIT',
    )
    // One that is deferred upstream, too, is not checked before its time.
    await f.run(
      'BEGIN; INSERT INTO hen VALUES (2, 2); TRUNCATE child; INSERT INTO child VALUES (8, 9); TRUNCATE child; INSERT INTO egg VALUES (2, 2); COMMIT',
    )
    for (const table of ['parent', 'child', 'egg', 'hen', 'tree', 'ranked'])
      expect(await alike(f, `SELECT * FROM ${table} ORDER BY 1`)).toBeDefined()
  })

  it('actions of foreign keys have done already what the stream says next: no conflict, even where that would halt', async () => {
    const f = await origin(
      [
        'CREATE TABLE top(a int PRIMARY KEY)',
        'CREATE TABLE mid(a int PRIMARY KEY, t int REFERENCES top ON DELETE CASCADE ON UPDATE CASCADE)',
        'CREATE TABLE low(m int REFERENCES mid ON DELETE CASCADE ON UPDATE CASCADE, n int, b text, PRIMARY KEY (m, n))',
        'CREATE TABLE lax(a int PRIMARY KEY, t int REFERENCES top ON DELETE SET NULL ON UPDATE SET NULL, b text)',
        'CREATE TABLE keyless(t int REFERENCES top ON DELETE SET NULL ON UPDATE CASCADE, b text)',
        'ALTER TABLE keyless REPLICA IDENTITY FULL',
        'CREATE TABLE tree(a int PRIMARY KEY, up int REFERENCES tree ON DELETE CASCADE)',
        'CREATE TABLE parted(t int REFERENCES top ON DELETE CASCADE ON UPDATE CASCADE, n int, PRIMARY KEY (t, n)) PARTITION BY LIST (n)',
        'CREATE TABLE parted1 PARTITION OF parted DEFAULT',
        'CREATE TABLE apart(a int PRIMARY KEY)',
      ],
      { args: ['--on-conflict', 'delete_missing=halt', '--log-level', 'debug'] },
    )
    await f.run(
      `INSERT INTO top SELECT generate_series(1, 5); INSERT INTO mid SELECT g, g FROM generate_series(1, 5) g;
       INSERT INTO low SELECT g, g, 'l' FROM generate_series(1, 5) g; INSERT INTO lax SELECT g, g, 'x' FROM generate_series(1, 5) g;
       INSERT INTO keyless SELECT g, 'k' FROM generate_series(1, 5) g; INSERT INTO keyless VALUES (2, 'k'); INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2);
       INSERT INTO parted SELECT g, g FROM generate_series(1, 5) g; INSERT INTO apart VALUES (1)`,
    )
    await f.run('DELETE FROM top WHERE a IN (1, 2); DELETE FROM tree WHERE a = 1')
    await f.run(`UPDATE mid SET a = a + 10; UPDATE low SET b = 'later'`)
    await f.run(
      `BEGIN; UPDATE top SET a = 40 WHERE a = 4; UPDATE low SET b = 'same'; DELETE FROM top WHERE a = 5; COMMIT`,
    )
    for (const table of ['top', 'mid', 'low', 'lax', 'keyless', 'tree', 'parted'])
      await alike(f, `SELECT * FROM ${table} ORDER BY 1, 2`.replace(', 2', table === 'top' ? '' : ', 2'))
    const cascaded = log(f.follower).filter((line) => /a foreign key downstream has done it/.test(line.msg))
    expect(cascaded.length).toBeGreaterThan(5)
    expect(log(f.follower).some((line) => /^conflict /.test(line.msg))).toBe(false)
    // A row that is missing for no such reason is a conflict as ever.
    await script(f.superuser, 'DELETE FROM apart')
    await script(f.upstream, 'BEGIN; DELETE FROM top; DELETE FROM apart; COMMIT')
    expect(await failure(f.follower, 8)).toMatchObject({
      code: 'FLW-330',
      context: { relation: 'public.apart', conflict: 'delete_missing' },
    })
  })

  it('a foreign key that held only at the end of an upstream statement stops the follow by name, and either remedy goes on', async () => {
    const f = await origin(['CREATE TABLE tree(a int PRIMARY KEY, up int CONSTRAINT "Up" REFERENCES tree)'])
    const stopped = async (): Promise<string> => {
      const error = await failure(f.follower, 8)
      expect(error).toMatchObject({
        code: 'FLW-311',
        sqlstate: '23503',
        context: { relation: 'public.tree', constraint: 'Up' },
      })
      return error.fix
    }
    await f.run('INSERT INTO tree VALUES (1, NULL)')
    await statements(f.upstream, [
      'INSERT INTO tree VALUES (2, 1)',
      'INSERT INTO tree VALUES (3, 4), (4, NULL)',
    ])
    const deferrable = /^ALTER TABLE .* DEFERRABLE;/m.exec(await stopped())?.[0] ?? ''
    // Everything before it, and nothing of it.
    expect(await query(f.superuser, 'SELECT a FROM tree ORDER BY a')).toEqual([{ a: '1' }, { a: '2' }])
    await script(f.superuser, deferrable)
    f.start()
    await f.settle()
    await alike(f, 'SELECT * FROM tree ORDER BY a')
    // What is missing at COMMIT, too: the row that it refers to is only upstream.
    await script(f.superuser, 'DELETE FROM tree WHERE a = 4 OR a = 3')
    await script(f.upstream, 'INSERT INTO tree VALUES (5, 3)')
    const fix = await stopped()
    expect(fix).toContain('GRANT SET ON PARAMETER session_replication_role')
    await grant(f)
    f.start()
    await f.settle()
    expect(await query(f.superuser, 'SELECT a, up FROM tree WHERE a = 5')).toEqual([{ a: '5', up: '3' }])
  })

  it('stops at a table with ordinary triggers or rules by name, at its start and at their first row or TRUNCATE; goes on once they are told', async () => {
    const f = await origin(
      [
        'CREATE TABLE fine(a int PRIMARY KEY)',
        'CREATE TABLE seen(what text)',
        'ALTER TABLE seen REPLICA IDENTITY FULL',
        'CREATE TABLE odd(a int PRIMARY KEY)',
        'CREATE TABLE parted(a int PRIMARY KEY) PARTITION BY LIST (a)',
        'CREATE TABLE leaf PARTITION OF parted DEFAULT',
        'CREATE TABLE ruled(a int PRIMARY KEY)',
      ],
      {
        args: ['--ddl', 'off', '--publication', 'picked'],
        upstreamOnly: [
          'CREATE PUBLICATION picked FOR TABLE settled, fine, odd, parted, ruled WITH (publish_via_partition_root)',
        ],
      },
    )
    const trigger = `CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.seen VALUES (tg_name); RETURN NEW; END $$;`
    await script(
      f.downstream,
      `${trigger} CREATE TRIGGER always BEFORE INSERT ON odd FOR EACH ROW EXECUTE FUNCTION fire(); ALTER TABLE odd ENABLE ALWAYS TRIGGER always;
      CREATE TRIGGER disabled BEFORE INSERT ON odd FOR EACH ROW EXECUTE FUNCTION fire(); ALTER TABLE odd DISABLE TRIGGER disabled`,
    )
    await f.run('INSERT INTO fine VALUES (1); INSERT INTO odd VALUES (1)')
    expect(await query(f.superuser, 'SELECT * FROM seen')).toEqual([{ what: 'always' }])
    await f.stop()
    await script(
      f.downstream,
      `CREATE TRIGGER "Plain" BEFORE INSERT ON odd FOR EACH ROW EXECUTE FUNCTION fire();
       CREATE TRIGGER emptied AFTER TRUNCATE ON odd EXECUTE FUNCTION fire();
       CREATE TRIGGER replica BEFORE INSERT ON leaf FOR EACH ROW EXECUTE FUNCTION fire(); ALTER TABLE leaf ENABLE REPLICA TRIGGER replica;
       CREATE RULE r AS ON INSERT TO ruled DO ALSO INSERT INTO seen VALUES (NEW.a)`,
    )
    await script(
      f.upstream,
      'INSERT INTO odd VALUES (2); TRUNCATE odd; INSERT INTO parted VALUES (1); INSERT INTO ruled VALUES (1)',
    )
    f.start()
    const atStart = await failure(f.follower, 6)
    expect(atStart.code).toBe('FLW-138')
    expect(atStart.detail.split('\n').sort()).toEqual([
      'rule r of public.ruled: would fire',
      'trigger "Plain" of public.odd: would fire',
      'trigger emptied of public.odd: would fire',
      'trigger replica of public.leaf: is for replicas only and would not fire',
    ])
    for (const remedy of [
      'DISABLE TRIGGER "Plain"',
      'ENABLE ALWAYS TRIGGER emptied',
      'ENABLE ALWAYS TRIGGER replica',
      'DISABLE RULE r',
    ])
      await script(f.downstream, new RegExp(`^ALTER TABLE .* ${remedy};`, 'm').exec(atStart.fix)?.[0] ?? '?')
    f.start()
    await f.settle()
    expect(await query(f.superuser, 'SELECT * FROM seen ORDER BY what')).toEqual(
      ['always', 'always', 'emptied', 'replica'].map((what) => ({ what })),
    )
    // Made while the follow runs, before the table's first row.
    await f.stop()
    f.start()
    await f.follower.ready({ upstream: f.upstream })
    await script(
      f.downstream,
      'CREATE TRIGGER late BEFORE INSERT ON odd FOR EACH ROW EXECUTE FUNCTION fire()',
    )
    await script(f.upstream, 'INSERT INTO odd VALUES (7)')
    expect(await failure(f.follower, 8)).toMatchObject({
      code: 'FLW-314',
      context: { relation: 'public.odd', key: '(a)=(7)' },
      detail: expect.stringContaining('trigger late of public.odd: would fire'),
    })
    expect(await query(f.superuser, 'SELECT a FROM odd')).toEqual([])
    f.start([...['--ddl', 'off', '--publication', 'picked'], '--ordinary-triggers', 'fire'])
    await f.settle()
    expect(await query(f.superuser, `SELECT what FROM seen WHERE what = 'late'`)).toHaveLength(1)
    await alike(f, 'SELECT a FROM odd')
  })
})

describe.each(['18-15', '18'] as const)('what waits for COMMIT, of %s', (pair) => {
  it.skipIf(!available(pair))(
    'a deferred foreign key beside a deferred trigger of a table that runs its owner’s code',
    async () => {
      const f = await follow({
        pair,
        least: 'origin',
        before: [
          'CREATE TABLE p(a int PRIMARY KEY)',
          'CREATE TABLE c(a int PRIMARY KEY, p int REFERENCES p DEFERRABLE INITIALLY DEFERRED, n int UNIQUE DEFERRABLE INITIALLY DEFERRED)',
        ],
        downstreamOnly: [
          'CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$',
          'CREATE CONSTRAINT TRIGGER x AFTER INSERT OR UPDATE ON c DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION nothing()',
          'ALTER TABLE c ENABLE ALWAYS TRIGGER x',
        ],
      })
      await f.run('BEGIN; INSERT INTO c VALUES (1, 1, 1), (2, 1, 2); INSERT INTO p VALUES (1); COMMIT')
      await f.run('BEGIN; UPDATE c SET n = 3 - n; UPDATE c SET p = 2; INSERT INTO p VALUES (2); COMMIT')
      const [up, down] = await f.both('SELECT * FROM c ORDER BY a')
      expect(down).toBe(up)
    },
  )

  it.skipIf(!available(pair))(
    'the expression of a deferred exclusion constraint runs as its table’s owner',
    async () => {
      const f = await follow({
        pair,
        least: 'origin',
        before: ['CREATE TABLE x(a int PRIMARY KEY, n int)'],
        downstreamOnly: [
          'CREATE TABLE ran(who name)',
          'CREATE FUNCTION act(i int) RETURNS int LANGUAGE plpgsql VOLATILE AS $$ BEGIN INSERT INTO public.ran VALUES (current_user); RETURN i; END $$',
          'CREATE FUNCTION grab(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN public.act(i); END $$',
          'ALTER TABLE x ADD EXCLUDE USING btree (public.grab(n) WITH =) DEFERRABLE INITIALLY DEFERRED',
        ],
      })
      await f.run('INSERT INTO x VALUES (1, 1), (2, 2)')
      await f.run('BEGIN; UPDATE x SET n = 2 WHERE a = 1; UPDATE x SET n = 1 WHERE a = 2; COMMIT')
      const [up, down] = await f.both('SELECT * FROM x ORDER BY a')
      expect(down).toBe(up)
      expect(await query(f.superuser, 'SELECT DISTINCT who FROM ran')).toEqual([{ who: `owner_${f.name}` }])
    },
  )

  it.skipIf(!available(pair) || pair === '18')(
    'constraint triggers of two owners with one name are refused',
    async () => {
      const f = await follow({ pair })
      const owners = [`one_${f.name}`, `two_${f.name}`]
      cleanUp(async () => {
        for (const owner of owners) await script(f.superuser, `DROP OWNED BY ${owner}; DROP ROLE ${owner}`)
      })
      await script(
        f.superuser,
        'CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$',
      )
      for (const owner of owners)
        await script(
          f.superuser,
          `CREATE ROLE ${owner}; CREATE TABLE of_${owner}(a int);
         CREATE CONSTRAINT TRIGGER same AFTER INSERT ON of_${owner} DEFERRABLE FOR EACH ROW EXECUTE FUNCTION nothing();
         ALTER TABLE of_${owner} OWNER TO ${owner}`,
        )
      await expect(query(f.superuser, 'SELECT follower.fire_deferred()')).rejects.toMatchObject({
        code: 'FLW26',
        detail: 'public.same',
      })
    },
  )
})

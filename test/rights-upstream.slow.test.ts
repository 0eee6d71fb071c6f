import { describe, expect, it } from 'vitest'
import { failure, log } from './support/failure.ts'
import { followerCommand, runFollower } from './support/follower.ts'
import { pairsByUpstream } from './support/pairs.ts'
import { grant, poor, printed } from './support/poor.ts'
import { asUser, available } from './support/servers.ts'
import { query, script, statements, value } from './support/sql.ts'

const pairs = pairsByUpstream.filter(available)

describe.each(pairs)('an upstream role that is no superuser, %s', { timeout: 120_000 }, (pair) => {
  it('what print grants and print capture print is what it takes; run twice it is the same', async () => {
    const db = await poor(pair)
    // The very first step is to be able to connect.
    const first = await failure(runFollower(db.args), 6)
    expect(first.context.codes).toBe('FLW-106 FLW-107 FLW-108 FLW-134')
    expect(first.detail).toContain(`a.t of ${db.alice}`)
    expect(first.fix).toContain(`follower print capture --role ${db.role} | psql`)
    expect(first.fix).toContain(`GRANT "${db.alice}" TO "${db.role}"`)

    await grant(db)
    const again = await printed('grants', ...db.args.slice(1, 5))
    expect(again.split('\n').filter((line) => line && !line.startsWith('--'))).toEqual([])
    await grant(db)

    const follower = await db.start()
    expect(await value(db.upstream, `SELECT puballtables FROM pg_publication`)).toBe('f')
    await script(db.as(db.alice), `INSERT INTO a.t VALUES (1, 'one')`)
    expect(await db.alike('SELECT * FROM a.t')).toContain('one')
    // The capture is nobody's: not a superuser's, not the follower's.
    expect(
      await query(
        db.upstream,
        `SELECT r.rolsuper, r.rolcanlogin, pg_has_role(r.oid, '${db.role}', 'USAGE') AS member,
           pg_has_role('${db.role}', r.oid, 'MEMBER') AS may_become
         FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner WHERE p.proname = 'capture_ddl'`,
      ),
    ).toEqual([{ rolsuper: 'f', rolcanlogin: 'f', member: 't', may_become: 'f' }])
    expect((await follower.stop()).code).toBe(0)
  })

  // Before PostgreSQL 15 nobody but a superuser may set session_replication_role.
  it.skipIf(/-?14$/.test(pair))('no superuser at either end: what print grants prints for both', async () => {
    const db = await poor(pair)
    const below = asUser(db.downstream, db.role)
    const ends = ['--upstream', db.as(db.role), '--downstream', below]
    const upstream = await printed('grants', ...ends, '--end', 'upstream')
    const downstream = await printed('grants', ...ends, '--end', 'downstream')
    expect(await printed('grants', ...ends)).toBe(`${upstream}\n\n${downstream}`)
    await script(db.upstream, upstream)
    await script(db.upstream, await printed('capture', '--role', db.role))
    // As somebody else would print it, for the role.
    const asSuperuser = ['--upstream', db.upstream, '--downstream', db.downstream, '--end', 'downstream']
    await script(db.downstream, await printed('grants', ...asSuperuser, '--downstream-role', db.role))
    const left = await printed('grants', ...ends)
    expect(left.split('\n').filter((line) => line && !line.startsWith('--'))).toEqual([])
    const follower = runFollower(['start', ...ends, '--name', db.name])
    await follower.ready({ upstream: db.upstream })
    await script(
      db.as(db.alice),
      `INSERT INTO a.t VALUES (1, 'one'); ALTER TABLE a.t ADD w int; CREATE TABLE a.n (id int PRIMARY KEY)`,
    )
    await script(db.as(db.alice), 'INSERT INTO a.n VALUES (1)')
    expect(await db.alike('SELECT * FROM a.t')).toContain('"w":null')
    expect(await db.alike('SELECT * FROM a.n')).toBe('[{"id":"1"}]')
    expect((await follower.stop()).code).toBe(0)
  })

  it('rows and schema changes of several owners, new tables, partitions, keys that come and go; a second start', async () => {
    const db = await poor(pair)
    await grant(db)
    let follower = await db.start()
    await statements(db.as(db.alice), [
      `CREATE TABLE a.new (id int PRIMARY KEY, v text); INSERT INTO a.new VALUES (1, 'same transaction')`,
      `INSERT INTO a.new VALUES (2, 'next')`,
      `CREATE TYPE a.mood AS ENUM ('sad', 'glad'); CREATE DOMAIN a.age AS int CHECK (VALUE > 0)`,
      `CREATE SEQUENCE a.s; CREATE VIEW a.seen AS SELECT * FROM a.new`,
      `CREATE FUNCTION a.f(x int) RETURNS int LANGUAGE sql AS 'SELECT x + 1'`,
      `CREATE FUNCTION a.g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'`,
      `CREATE TRIGGER tr BEFORE INSERT ON a.new FOR EACH ROW EXECUTE FUNCTION a.g()`,
      `ALTER TABLE a.new ADD COLUMN m a.mood DEFAULT 'glad', ADD COLUMN n a.age`,
      `CREATE INDEX ON a.new (v); COMMENT ON TABLE a.new IS 'new'; CREATE STATISTICS a.st ON id, v FROM a.new`,
      `ALTER TABLE a.new ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON a.new USING (id > 0)`,
      `INSERT INTO a.new VALUES (3, 'with columns', 'sad', 7)`,
      `CREATE TABLE a.parted (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)`,
      `CREATE TABLE a.p1 PARTITION OF a.parted FOR VALUES FROM (0) TO (10)`,
      `INSERT INTO a.parted VALUES (1, 'one')`,
      `ALTER TABLE a.parted DETACH PARTITION a.p1; INSERT INTO a.p1 VALUES (2, 'alone')`,
      `CREATE TABLE a.bare (v text); INSERT INTO a.bare VALUES ('x'), ('y')`,
      `UPDATE a.bare SET v = 'z' WHERE v = 'x'`,
      `ALTER TABLE a.bare ADD PRIMARY KEY (v)`,
      `UPDATE a.bare SET v = 'zz' WHERE v = 'z'`,
      `ALTER TABLE a.bare RENAME TO named; DELETE FROM a.named WHERE v = 'y'`,
      `CREATE TABLE a.gone (id int PRIMARY KEY); DROP TABLE a.gone`,
      `ALTER SCHEMA a RENAME TO "A b"; INSERT INTO "A b".t VALUES (5, 'renamed')`,
      `ALTER SCHEMA "A b" RENAME TO a`,
      `GRANT SELECT ON a.t TO ${db.bob}`,
      `INSERT INTO a.t VALUES (9, 'last')`,
    ])
    expect(await db.alike('SELECT * FROM a.t ORDER BY 1')).toContain('last')
    expect(await db.alike('SELECT * FROM a.new ORDER BY 1')).toContain('with columns')
    expect(await db.alike('SELECT * FROM a.parted')).toBe('[]')
    expect(await db.alike('SELECT * FROM a.p1 ORDER BY 1')).toContain('alone')
    expect(await db.alike('SELECT * FROM a.named')).toBe('[{"v":"zz"}]')
    expect(await db.alike(`SELECT to_regclass('a.gone') IS NULL AS gone`)).toContain('t')
    expect(await db.alike(`SELECT polname FROM pg_policy`)).toContain('p')
    expect(follower.running, follower.output).toBe(true)
    expect((await follower.stop()).code).toBe(0)

    // What happened meanwhile follows, and nothing has to be made again.
    await script(
      db.as(db.alice),
      `CREATE TABLE a.meanwhile (id int PRIMARY KEY); INSERT INTO a.meanwhile VALUES (1)`,
    )
    follower = await db.start()
    expect(await db.alike('SELECT * FROM a.meanwhile')).toBe('[{"id":"1"}]')
    expect(log(follower).filter((line) => line.level === 'warn')).toEqual([])
    expect((await follower.stop()).code).toBe(0)
  })

  it('a table of an owner without whom: his command goes on, it is named, shown, and added when the right comes', async () => {
    const db = await poor(pair)
    await grant(db)
    let follower = await db.start()
    await statements(db.as(db.bob), [
      `CREATE SCHEMA b; CREATE TABLE b.early (id int PRIMARY KEY); INSERT INTO b.early VALUES (1)`,
      `CREATE TABLE b.empty (id int PRIMARY KEY, v text)`,
      `ALTER TABLE b.empty ADD COLUMN w int`,
      `CREATE TABLE b.away (id int PRIMARY KEY); DROP TABLE b.away`,
    ])
    await script(db.as(db.alice), 'INSERT INTO a.t VALUES (1)')
    await db.alike('SELECT * FROM a.t')
    // Schema changes follow, rows can't.
    expect(await value(db.downstream, `SELECT to_regclass('b.away') IS NULL`)).toBe('t')
    expect(await query(db.downstream, 'SELECT * FROM b.early')).toEqual([])
    const status = async () => {
      const { stdout } = await followerCommand(['status', ...db.args.slice(1), '--json'])
      return JSON.parse(stdout).upstream.unpublished as string[]
    }
    expect(await status()).toEqual(['b.early', 'b.empty'])
    const text = await followerCommand(['status', ...db.args.slice(1)])
    expect(text.stdout).toContain('2 tables: b.early, b.empty')
    expect((await follower.stop()).code).toBe(0)

    // At a later start they are named, not refused.
    follower = await db.start()
    const named = await follower.until(() => log(follower).find((line) => line.code === 'FLW-135'), 'FLW-135')
    expect(named.tables).toEqual([`b.early of ${db.bob}`, `b.empty of ${db.bob}`])
    const [fix] = named.fix as string[]
    expect(fix).toMatch(new RegExp(`^GRANT "${db.bob}" TO "${db.role}".*;   -- upstream$`))
    expect((await follower.stop()).code).toBe(0)

    await script(db.upstream, fix!)
    follower = await db.start()
    await follower.until(() => log(follower).find((line) => line.code === 'FLW-136'), 'FLW-136')
    await follower.line(/"b\.empty".*its rows follow from here/)
    expect(log(follower).filter((line) => line.code === 'FLW-136')).toMatchObject([{ table: 'b.early' }])
    await script(db.as(db.bob), `INSERT INTO b.empty VALUES (1, 'one', 1); INSERT INTO b.early VALUES (2)`)
    expect(await db.alike('SELECT * FROM b.empty')).toContain('one')
    expect(await query(db.downstream, 'SELECT * FROM b.early')).toEqual([{ id: '2' }])
    expect(await status()).toEqual([])
    expect((await follower.stop()).code).toBe(0)
  })

  it('--ddl off without any capture; insert-only; tables that can be told apart are added by the daemon', async () => {
    const db = await poor(
      pair,
      'CREATE TABLE a.bare (v text); CREATE TABLE a.root (id int PRIMARY KEY) PARTITION BY LIST (id)',
    )
    await script(
      db.upstream,
      await printed(
        'grants',
        '--upstream',
        db.as(db.role),
        '--downstream',
        db.downstream,
        '--end',
        'upstream',
      ),
    )
    const refused = await failure(runFollower([...db.args, '--ddl', 'off']), 6)
    expect(refused.code).toBe('FLW-131')
    let follower = await db.start('--ddl', 'off', '--no-identity', 'insert-only')
    for (const uri of [db.downstream, db.upstream])
      await script(
        uri,
        'CREATE TABLE a.leaf PARTITION OF a.root DEFAULT; CREATE TABLE a.late (id int PRIMARY KEY)',
      )
    for (const table of ['a.leaf', 'a.late'])
      await script(db.upstream, `ALTER TABLE ${table} OWNER TO ${db.alice}`)
    await script(
      db.as(db.alice),
      `INSERT INTO a.bare VALUES ('x'); INSERT INTO a.root VALUES (1); INSERT INTO a.t VALUES (1)`,
    )
    await script(
      db.as(db.alice),
      `UPDATE a.bare SET v = 'y'; UPDATE a.root SET id = 2; UPDATE a.t SET id = 2`,
    )
    expect(await db.alike('SELECT * FROM a.t')).toContain('2')
    expect(await db.alike('SELECT * FROM a.root')).toContain('2')
    expect(await query(db.downstream, 'SELECT * FROM a.bare')).toEqual([{ v: 'x' }])
    expect((await follower.stop()).code).toBe(0)
    expect(await value(db.upstream, `SELECT to_regnamespace('follower')`)).toBeNull()

    follower = await db.start('--ddl', 'off', '--no-identity', 'insert-only')
    await follower.line(/"a\.late".*its rows follow from here/)
    await script(db.as(db.alice), `INSERT INTO a.late VALUES (1); UPDATE a.late SET id = 3`)
    expect(await db.alike('SELECT * FROM a.late')).toBe('[{"id":"3"}]')
    expect((await follower.stop()).code).toBe(0)
    const cleaned = await followerCommand(['cleanup', ...db.args.slice(1), '--yes', '--json'])
    expect(cleaned.code).toBe(0)
    expect(JSON.parse(cleaned.stdout).remains).toEqual([])
    expect(await query(db.upstream, 'SELECT FROM pg_publication')).toEqual([])
  })

  it('an upgrade of the capture is told, and cleanup leaves to a superuser what only he can drop', async () => {
    const db = await poor(pair, 'CREATE TABLE a.bare (v text)')
    await grant(db)
    await (await db.start('--no-identity', 'full')).stop()
    expect(await value(db.upstream, `SELECT relreplident FROM pg_class WHERE relname = 'bare'`)).toBe('f')

    await script(db.upstream, `COMMENT ON SCHEMA follower IS 'follower capture of another version'`)
    const other = await failure(runFollower([...db.args, '--no-identity', 'full']), 6)
    expect(other).toMatchObject({ code: 'FLW-107', detail: expect.stringContaining('another version') })
    const key = 'SELECT key_id FROM follower.secret'
    const before = await value(db.upstream, key)
    await script(db.upstream, await printed('capture', '--role', db.role))
    expect(await value(db.upstream, key)).toBe(before)
    const follower = await db.start('--no-identity', 'full')
    await script(db.as(db.alice), `CREATE TABLE a.after (id int PRIMARY KEY); INSERT INTO a.after VALUES (1)`)
    expect(await db.alike('SELECT * FROM a.after')).toContain('1')
    await follower.stop()

    // Another role has nothing from this.
    const bob = await failure(
      runFollower([
        'start',
        '--upstream',
        db.as(db.bob),
        '--downstream',
        db.downstream,
        '--name',
        `${db.name}_b`,
      ]),
      6,
    )
    expect(bob.detail).toContain('this role may not use it')

    const first = await followerCommand(['cleanup', ...db.args.slice(1), '--yes'])
    expect(first.code).toBe(0)
    expect(first.stdout).toContain(`removed  registration of "${db.name}" (upstream)`)
    expect(first.stdout).toContain('remains  capture objects (upstream): they do nothing any more')
    expect(await value(db.upstream, `SELECT relreplident FROM pg_class WHERE relname = 'bare'`)).toBe('d')
    expect(await query(db.upstream, 'SELECT FROM pg_publication')).toEqual([])
    const asSuperuser = db.args.slice(1).map((arg) => (arg === db.as(db.role) ? db.upstream : arg))
    const second = await followerCommand(['cleanup', ...asSuperuser, '--yes'])
    expect(second).toMatchObject({ code: 0, stdout: 'removed  capture objects (upstream)' })
    expect(await value(db.upstream, `SELECT to_regnamespace('follower')`)).toBeNull()
    expect(
      await query(db.upstream, `SELECT FROM pg_roles WHERE rolname = 'follower_capture_${db.name}'`),
    ).toEqual([])
  })
})

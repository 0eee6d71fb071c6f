import { readFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import { cleanUp } from './support/cleanup.ts'
import { type Failure, failure } from './support/failure.ts'
import { follow } from './support/follow.ts'
import { type Follower, followerCommand, runFollower } from './support/follower.ts'
import { asUser, available, cluster, databases, inDatabase } from './support/servers.ts'
import { client, query, script, statements, value } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

const position = 'SELECT lsn FROM follower.progress'

/** Waits until a query downstream answers 1 while the follower lives. */
async function arrives(follower: Follower, downstream: string, count: string): Promise<void> {
  await follower.until(async () => (await value(downstream, count)) === '1', count)
}

/** An address that takes connections and never says a word. */
async function silentAddress(): Promise<{ host: string; port: number }> {
  const sockets: Socket[] = []
  const server = createServer((socket) => sockets.push(socket.on('error', () => {})))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanUp(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { host: '127.0.0.1', port: (server.address() as { port: number }).port }
}

describe('the servers', () => {
  it('each thing that is wrong has its code and its remedy, moves nothing, and shows no password', {
    timeout: 120_000,
  }, async () => {
    const password = 'c4nary/p@ss word'
    const server = await cluster({
      password,
      settings: { wal_level: 'replica', max_replication_slots: '1', max_wal_senders: '0' },
    })
    await statements(server.conninfo(), ['CREATE DATABASE up', 'CREATE DATABASE down'])
    const upstream = server.conninfo('up')
    const downstream = server.conninfo('down')
    for (const uri of [upstream, downstream]) await script(uri, 'CREATE TABLE t(a int PRIMARY KEY)')
    const outputs: string[] = []
    const start = (ends: { up?: string; down?: string; env?: Record<string, string> } = {}): Follower => {
      const args = ['start', '--upstream', ends.up ?? upstream, '--downstream', ends.down ?? downstream]
      const it = runFollower([...args, '--log-level', 'trace'], { env: ends.env ?? {} })
      void it.exit.then(() => outputs.push(it.output))
      return it
    }

    const both = await failure(start(), 6)
    expect(both).toMatchObject({ code: 'FLW-100', context: { codes: 'FLW-101 FLW-105' } })
    expect(both.detail).toMatch(/wal_level is replica[\s\S]*max_wal_senders = 0 upstream, 0 in use/)
    await statements(upstream, both.fix.match(/ALTER SYSTEM[^;]*;/g) ?? [])
    await server.restart()

    await query(upstream, `SELECT pg_create_physical_replication_slot('somebody')`)
    const slots = await failure(start(), 6)
    expect(slots).toMatchObject({ code: 'FLW-104', detail: expect.stringContaining('somebody') })
    expect(slots.fix).toContain('SELECT pg_drop_replication_slot(')
    await script(upstream, /ALTER SYSTEM[^;]*;/.exec(slots.fix)?.[0] ?? '')
    await server.restart()
    expect(await value(downstream, `SELECT to_regnamespace('follower')`)).toBeNull()

    const first = start()
    await first.ready()
    const commandLine = readFileSync(`/proc/${first.pid}/cmdline`, 'utf8')
    expect(commandLine).toContain('follower')
    expect(commandLine).not.toMatch(/c4nary/)
    await script(upstream, 'INSERT INTO t VALUES (1)')
    await arrives(first, downstream, 'SELECT count(*) FROM t WHERE a = 1')
    expect(await first.stop()).toEqual({ code: 0, signal: null })
    await script(upstream, 'INSERT INTO t VALUES (2)')
    const before = await value(downstream, position)

    // Each of these at either end.
    const nobody = new URL(upstream)
    nobody.port = '1'
    const nowhere = new URL(upstream)
    nowhere.hostname = 'nowhere.invalid'
    const silent = new URL(upstream)
    silent.port = String((await silentAddress()).port)
    silent.searchParams.set('connect_timeout', '2')
    const wrong: [what: string, uri: string, number: string, says: RegExp, fix: RegExp][] = [
      [
        'password',
        asUser(upstream, 'postgres', 'c4nary-wrong'),
        '04',
        /password authentication failed/,
        /"postgres"/,
      ],
      ['no password', asUser(upstream, 'postgres'), '13', /password/, /\.pgpass.*:postgres:/],
      ['role', asUser(upstream, 'no body', password), '04', /no body/, /"no body"/],
      ['database', inDatabase(upstream, 'No Base'), '06', /No Base/, /^CREATE DATABASE "No Base";/],
      ['port', nobody.href, '01', /ECONNREFUSED/, /pg_isready -h 127.0.0.1 -p 1$/],
      ['host', nowhere.href, '02', /nowhere\.invalid/, /nowhere\.invalid/],
      ['silent host', silent.href, '03', /./, /connect_timeout/],
    ]
    await Promise.all(
      wrong.map(async ([what, uri, number, says, fix], i) => {
        // One end is enough for each; the code of the other end differs in its first digit only.
        const end = i % 2 === 0 ? 'up' : 'down'
        const error = await failure(start({ [end]: uri }), end === 'up' ? 4 : 5)
        expect(error.code, what).toBe(`FLW-${end === 'up' ? 4 : 5}${number}`)
        expect(`${error.message} ${error.detail}`, what).toMatch(says)
        expect(error.fix, what).toMatch(fix)
        expect(error.context, what).toMatchObject({ end: `${end}stream`, user: expect.any(String) })
      }),
    )
    const other = await failure(start({ down: asUser(downstream, 'postgres', 'c4nary-wrong') }), 5)
    expect(other.code).toBe('FLW-504')
    expect(await value(downstream, position)).toBe(before)

    // The right password from the environment.
    const last = start({
      up: asUser(upstream, 'postgres'),
      down: asUser(downstream, 'postgres'),
      env: { PGPASSWORD: password },
    })
    await arrives(last, downstream, 'SELECT count(*) FROM t WHERE a = 2')
    // The server's death, in the middle, is no reason to end; nor a chance for the password to show.
    await server.restart('immediate')
    await script(upstream, 'INSERT INTO t VALUES (3)')
    await arrives(last, downstream, 'SELECT count(*) FROM t WHERE a = 3')
    expect(await last.stop()).toEqual({ code: 0, signal: null })
    expect(outputs.length).toBe(12)
    expect(outputs.join('\n')).not.toMatch(/c4nary|p%40ss|p@ss/)
  })
})

describe('the roles', () => {
  /** Runs what stands in a fix, each statement at the end that its comment names. */
  async function remedy(error: Failure, db: { upstream: string; downstream: string }) {
    const lines = error.fix.split('\n').filter((line) => /^\s*(GRANT|ALTER) .*;\s+-- /.test(line))
    for (const line of lines) {
      expect(line).toMatch(/-- (up|down)stream/)
      await script(line.includes('-- upstream') ? db.upstream : db.downstream, line)
    }
    return lines.length
  }

  it('without rights: what the errors tell to grant is enough, with and without a superuser', {
    timeout: 120_000,
  }, async () => {
    const db = await databases('18')
    const role = `${db.name}-Role`
    for (const uri of [db.upstream, db.downstream]) {
      await script(uri, `CREATE ROLE "${role}" LOGIN`)
      cleanUp(() => script(uri, `DROP OWNED BY "${role}" CASCADE; DROP ROLE "${role}"`))
      await script(
        uri,
        'CREATE TABLE mine(a int PRIMARY KEY, b text); CREATE SCHEMA closed; CREATE TABLE closed.t(a int PRIMARY KEY)',
      )
    }
    for (const table of ['mine', 'closed.t'])
      await script(db.upstream, `ALTER TABLE ${table} OWNER TO "${role}"`)
    await script(db.upstream, `GRANT USAGE ON SCHEMA closed TO "${role}"`)
    const ends = ['--upstream', asUser(db.upstream, role), '--downstream', asUser(db.downstream, role)]
    const args = ['start', ...ends, '--name', db.name]
    const narrow = [...args, '--ddl', 'off', '--tables', 'public.mine,closed.t', '--copy', 'none']

    const all = await failure(runFollower(args), 6)
    expect(all).toMatchObject({
      code: 'FLW-100',
      context: { codes: 'FLW-106 FLW-107 FLW-108 FLW-113' },
    })
    for (const statement of [
      `ALTER ROLE "${role}" REPLICATION;`,
      `GRANT CREATE ON DATABASE "${db.name}" TO "${role}";   -- upstream`,
      `GRANT CREATE ON DATABASE "${db.name}" TO "${role}";   -- downstream`,
    ])
      expect(all.fix).toContain(statement)
    expect(await value(db.upstream, `SELECT to_regnamespace('follower')`)).toBeNull()

    const few = await failure(runFollower(narrow), 6)
    expect(few.context.codes).toBe('FLW-106 FLW-108 FLW-113')
    expect(await remedy(few, db)).toBe(3)
    let it = runFollower(narrow)
    await it.ready({ upstream: db.upstream })

    // What the role lacks on the tables shows when rows come.
    for (const [table, code] of [
      ['public.mine', 'table'],
      ['closed.t', 'schema'],
    ] as const) {
      await script(db.upstream, `INSERT INTO ${table} VALUES (1)`)
      const error = await failure(it, 8)
      expect(error).toMatchObject({ code: 'FLW-313', sqlstate: '42501', context: { relation: table } })
      expect(error.message).toContain(`permission denied for ${code}`)
      // It may have moved as far as the upstream had come, never over what failed.
      const failed = `SELECT lsn < '${error.context.lsn}' FROM (${position}) AS p`
      if (table === 'public.mine') expect(await value(db.downstream, failed)).toBe('t')
      expect(await remedy(error, db)).toBeGreaterThan(0)
      it = runFollower(narrow)
      await arrives(it, db.downstream, `SELECT count(*) FROM ${table}`)
    }
    await it.stop()

    // DDL needs a superuser upstream for once: what he runs is printed.
    const wide = [...args, '--name', `${db.name}_wide`, '--copy', 'none']
    const capture = await failure(runFollower(wide), 6)
    expect(capture.code).toBe('FLW-107')
    expect(capture.fix).toContain(`follower print capture --role ${role} | psql`)
    const printed = await followerCommand(['print', 'capture', '--role', role])
    await script(db.upstream, printed.stdout)
    cleanUp(() =>
      script(
        db.upstream,
        `DROP OWNED BY follower_capture_${db.name} CASCADE; DROP ROLE follower_capture_${db.name}`,
      ),
    )
    it = runFollower(wide)
    await it.ready({ upstream: db.upstream, slot: `${db.name}_wide` })
    expect(await it.stop()).toEqual({ code: 0, signal: null })
  })
})

describe('the follow', () => {
  it('one database at both ends, a lost slot, positions that do not fit, a slot that is held', {
    timeout: 120_000,
  }, async () => {
    const f = await follow({ before: ['CREATE TABLE t(a int PRIMARY KEY)'] })
    await f.run('INSERT INTO t VALUES (1)')
    const { upstream, downstream, name } = f
    const again = (more: readonly string[] = []): Follower =>
      runFollower([...f.args, '--web-listen', 'off', ...more])

    // Held by the first one.
    const held = await failure(again(['--no-wait']), 11)
    expect(held).toMatchObject({ code: 'FLW-231', message: expect.stringContaining(name) })
    expect(held.detail).toMatch(/pid \d+ \(follower\/.*holds its lock/)
    expect(f.follower.running).toBe(true)
    expect(await f.stop()).toBe(0)
    const before = await value(downstream, position)
    const unmoved = async () => expect(await value(downstream, position)).toBe(before)

    const same = await failure(
      runFollower(['start', '--upstream', upstream, '--downstream', upstream, '--name', 'same']),
      6,
    )
    expect(same.code).toBe('FLW-114')
    expect(same.detail).toContain(name)

    // Its slot is held by somebody else.
    const walsender = await client(upstream, { replication: 'database' } as object)
    void walsender
      .query(`START_REPLICATION SLOT ${name} LOGICAL 0/0 (proto_version '1', publication_names '${name}')`)
      .catch(() => {})
    const slot = `SELECT active FROM pg_replication_slots WHERE slot_name = '${name}'`
    await waitUntil(async () => (await value(upstream, slot)) === 't')
    const taken = await failure(again(['--no-wait']), 11)
    expect(taken).toMatchObject({ code: 'FLW-231', detail: expect.stringContaining(`slot "${name}"`) })
    await unmoved()
    await script(upstream, 'INSERT INTO t VALUES (2)')
    const waiting = again()
    await waiting.line(/is active for PID/)
    await query(
      upstream,
      `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '${name}'`,
    )
    await arrives(waiting, downstream, 'SELECT count(*) FROM t WHERE a = 2')
    expect((await waiting.stop()).code).toBe(0)

    // P3: downstream behind; P5: downstream ahead of the upstream, or of another server.
    const good = await query(downstream, 'SELECT lsn, system_identifier FROM follower.progress')
    const restore = () =>
      query(downstream, 'UPDATE follower.progress SET lsn = $1, system_identifier = $2', [
        good[0]?.lsn,
        good[0]?.system_identifier,
      ])
    for (const [set, code, says] of [
      [`lsn = '0/10'`, 'FLW-204', /progress is at 0\/10, the slot's confirmed_flush_lsn at /],
      [`lsn = 'FF/0'`, 'FLW-208', /progress is at FF\/0/],
      [`system_identifier = '42'`, 'FLW-205', /expected 42/],
    ] as const) {
      await script(downstream, `UPDATE follower.progress SET ${set}`)
      const spoiled = await query(downstream, 'SELECT lsn, system_identifier, epoch FROM follower.progress')
      const error = await failure(again(), 7)
      expect(error.code).toBe(code)
      expect(error.detail).toMatch(says)
      expect(await query(downstream, 'SELECT lsn, system_identifier, epoch FROM follower.progress')).toEqual(
        spoiled,
      )
      await restore()
    }
    await script(upstream, 'INSERT INTO t VALUES (3)')
    f.start()
    await f.settle()

    // The slot is dropped: never made anew over a gap; the printed way begins again.
    await waitUntil(async () => {
      await query(
        upstream,
        `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '${name}' AND active`,
      )
      await query(upstream, `SELECT pg_drop_replication_slot('${name}')`)
      return true
    })
    expect(['FLW-201', 'FLW-207']).toContain((await failure(f.follower, 7)).code)
    await script(upstream, 'INSERT INTO t VALUES (4)')
    const gone = await failure(again(), 7)
    expect(gone).toMatchObject({ code: 'FLW-201', message: expect.stringContaining(name) })
    expect(
      await value(upstream, `SELECT count(*) FROM pg_replication_slots WHERE slot_name = '${name}'`),
    ).toBe('0')
    expect(gone.fix).toContain(`follower cleanup --name ${name}`)
    const cleanup = runFollower(['cleanup', ...f.args.slice(1), '--yes'])
    expect((await cleanup.exit).code, cleanup.output).toBe(0)
    await script(downstream, 'INSERT INTO t VALUES (4)')
    expect(gone.fix).toContain(`follower start --name ${name} --copy none`)
    f.start(['--copy', 'none'])
    await f.follower.ready()
    await f.run('INSERT INTO t VALUES (5)')
    const [up, down] = await f.both('SELECT a FROM t ORDER BY a')
    expect(down).toBe(up)
  })
})

describe('the stream', () => {
  it.skipIf(!available('15'))(
    'an error of the walsender stops the follow and names the upstream',
    async () => {
      const f = await follow({ pair: '15', args: ['--ddl', 'off'] })
      await f.settle()
      const before = await value(f.downstream, position)
      await script(f.upstream, `DROP PUBLICATION ${f.name}; INSERT INTO settled VALUES (1000)`)
      const error = await failure(f.follower, 7)
      expect(error).toMatchObject({ code: 'FLW-213', sqlstate: '42704' })
      expect(error.message).toContain(`publication "${f.name}" does not exist`)
      expect(await value(f.downstream, position)).toBe(before)
    },
  )
})

describe('the command line', () => {
  it('shows no password of what it cannot read', { timeout: 60_000 }, async () => {
    const good = 'postgresql://u:c4nary@127.0.0.1:1/db'
    const wrong: [exit: number, ...args: string[]][] = [
      [3, '--upstream', 'postgresql://u:c4nary@127.0.0.1:port/db', '--downstream', good],
      [3, '--upstream', 'postgresql://u:c4nary@[::1/db', '--downstream', good],
      [3, '--upstream', good, '--downstream', "host=x password='c4nary"],
      [3, '--upstream', good, '--downstream', 'host=x pasword=c4nary'],
      [3, '--upstream', `${good}?sslmode=c4nary`.replace('=c4nary', '=no'), '--downstream', good],
      [2, '--upstreem', good, '--downstream', good],
      [2, good],
      [2, '--upstream', good],
      [2, '--upstream', good, '--downstream', good, '--until', 'never'],
    ]
    await Promise.all(
      wrong.map(async ([exit, ...args]) => {
        const it = runFollower(['start', ...args])
        expect((await it.exit).code, it.output).toBe(exit)
        expect(it.output).toMatch(/FLW-0\d\d/)
        expect(it.output).not.toMatch(/c4nary/)
      }),
    )
  })
})

interface Halt {
  readonly what: string
  /** Of the table t at both ends, which holds a from 1 to 9. */
  readonly table: string
  /** What makes the downstream another one. */
  readonly spoil: string
  /** The transaction that fails: its good rows come before and after the bad one. */
  readonly fails: string
  readonly code: string
  readonly sqlstate?: string
  readonly says: RegExp
  readonly key?: string
  /** Null where the server does not tell. */
  readonly relation?: null
  readonly context?: Readonly<Record<string, unknown>>
  /** SQL of the printed remedy, completed where it has an ellipsis; or what a person would make of its words. */
  readonly remedy: (error: Failure) => string
}

/** The statement of a fix that begins so, `…` replaced. */
function fixOf(error: Failure, begins: string, instead = ''): string {
  const line = error.fix.split('\n').find((each) => each.startsWith(begins))
  if (!line) throw new Error(`no ${begins} in:\n${error.fix}`)
  return line.replace('…', instead)
}

const halts: readonly Halt[] = [
  {
    what: 'a row that is there already',
    table: '(a int PRIMARY KEY, b text)',
    spoil: `INSERT INTO t VALUES (50, 'in the way')`,
    fails: `INSERT INTO t VALUES (49), (50), (51)`,
    ...{ code: 'FLW-310', sqlstate: '23505', says: /Key \(a\)=\(50\) already exists/, key: '(a)=(50)' },
    context: { constraint: 't_pkey' },
    remedy: (error) => {
      expect(error.fix).toContain('or start with --on-conflict insert_exists=skip|overwrite')
      return 'DELETE FROM t WHERE a = 50'
    },
  },
  {
    what: 'a row after a schema change in the same transaction',
    table: '(a int PRIMARY KEY, b text)',
    spoil: `INSERT INTO t VALUES (50, 'in the way')`,
    fails: 'CREATE TABLE made(a int PRIMARY KEY); INSERT INTO made VALUES (1); INSERT INTO t VALUES (50)',
    ...{ code: 'FLW-310', sqlstate: '23505', says: /Key \(a\)=\(50\) already exists/, key: '(a)=(50)' },
    // Where the table had stayed, it could not be made again.
    remedy: () => 'DELETE FROM t WHERE a = 50; DO $$ BEGIN CREATE TABLE made(); DROP TABLE made; END $$',
  },
  {
    what: 'a CHECK, on an UPDATE',
    table: '(a int PRIMARY KEY, b text)',
    spoil: `ALTER TABLE t ADD CONSTRAINT "t's check" CHECK (b <> 'bad')`,
    fails: `INSERT INTO t VALUES (49); UPDATE t SET b = 'bad' WHERE a = 2; DELETE FROM t WHERE a = 1`,
    ...{ code: 'FLW-311', sqlstate: '23514', says: /"t's check"/, key: '(a)=(2)' },
    remedy: (error) => fixOf(error, 'ALTER TABLE "S"."t" DROP CONSTRAINT "t\'s check";'),
  },
  {
    what: 'NOT NULL',
    table: '(a int PRIMARY KEY, b text)',
    spoil: `UPDATE t SET b = 'x'; ALTER TABLE t ALTER b SET NOT NULL`,
    fails: `INSERT INTO t VALUES (49, 'good'), (50, NULL), (51, 'good')`,
    ...{ code: 'FLW-311', sqlstate: '23502', says: /null value in column "b"/, key: '(a)=(50)' },
    remedy: (error) =>
      `${fixOf(error, 'ALTER TABLE "S"."t" ALTER COLUMN "b" DROP NOT NULL;')}\n; UPDATE t SET b = NULL WHERE a <= 9`,
  },
  {
    what: 'a check at COMMIT',
    table: '(a int PRIMARY KEY, b text)',
    spoil: `CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'too late for %', NEW.a; END$$;
      CREATE CONSTRAINT TRIGGER late AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late();
      ALTER TABLE t ENABLE ALWAYS TRIGGER late`,
    fails: `INSERT INTO t VALUES (49, 'x'), (50, 'x')`,
    ...{ code: 'FLW-313', sqlstate: 'P0001', says: /too late for 49/, relation: null },
    remedy: () => 'DROP TRIGGER late ON t',
  },
  {
    what: 'a row that should be updated and is missing',
    table: '(a int PRIMARY KEY, b text)',
    spoil: 'DELETE FROM t WHERE a = 2',
    fails: `INSERT INTO t VALUES (49); UPDATE t SET b = 'x' WHERE a IN (1, 2, 3)`,
    ...{ code: 'FLW-330', says: /removed it downstream/, key: '(a)=(2)' },
    context: { conflict: 'update_missing' },
    remedy: (error) => {
      expect(error.fix).toContain('put the row into S.t downstream')
      expect(error.fix).toContain('--on-conflict update_missing=skip|overwrite')
      return 'INSERT INTO t VALUES (2)'
    },
  },
  {
    what: 'a row that should be deleted and is missing',
    table: '(a int PRIMARY KEY, b text)',
    spoil: 'DELETE FROM t WHERE a = 2',
    fails: 'INSERT INTO t VALUES (49); DELETE FROM t WHERE a < 5',
    ...{ code: 'FLW-330', says: /removed it downstream/, key: '(a)=(2)' },
    context: { conflict: 'delete_missing' },
    remedy: (error) => {
      expect(error.fix).toMatch(/--on-conflict delete_missing=skip\|overwrite$/m)
      return 'INSERT INTO t VALUES (2)'
    },
  },
  {
    what: 'a missing table',
    table: '(a int PRIMARY KEY, b text)',
    spoil: 'ALTER TABLE t RENAME TO away',
    fails: 'INSERT INTO t VALUES (49)',
    ...{ code: 'FLW-301', says: /s\d+\.t does not exist downstream/ },
    remedy: (error) => {
      expect(error.fix).toContain('create S.t downstream')
      return 'ALTER TABLE away RENAME TO t'
    },
  },
  {
    what: 'a missing column',
    table: '(a int PRIMARY KEY, "odd ""one" text)',
    spoil: 'ALTER TABLE t DROP COLUMN "odd ""one"',
    fails: `INSERT INTO t VALUES (49, NULL), (50, 'x')`,
    ...{ code: 'FLW-302', says: /has 2 columns, the downstream's 1/ },
    remedy: (error) => fixOf(error, 'ALTER TABLE "S"."t" ADD COLUMN "odd ""one" …', 'text'),
  },
  {
    what: 'a number beyond the range of the column',
    table: '(a int PRIMARY KEY, b bigint)',
    spoil: 'ALTER TABLE t ALTER b TYPE smallint',
    fails: 'INSERT INTO t VALUES (49, 1), (50, 65536), (51, 1)',
    ...{
      code: 'FLW-312',
      sqlstate: '22003',
      says: /out of range for type smallint/,
      key: '(a)=(50)',
      context: { column: 'b' },
    },
    remedy: (error) => fixOf(error, 'ALTER TABLE "S"."t" ALTER COLUMN "b" TYPE …', 'bigint'),
  },
  {
    what: 'a text beyond the length of the column',
    table: '(a int PRIMARY KEY, b text)',
    spoil: 'ALTER TABLE t ALTER b TYPE varchar(3)',
    fails: `INSERT INTO t VALUES (49, 'abc'), (50, 'abcd')`,
    ...{ code: 'FLW-312', sqlstate: '22001', says: /character varying\(3\)/, key: '(a)=(50)' },
    remedy: (error) => fixOf(error, 'ALTER TABLE "S"."t" ALTER COLUMN … TYPE …', 'b').replace('…', 'text'),
  },
  {
    what: 'a TRUNCATE that a foreign key forbids',
    table: '(a int PRIMARY KEY, b text)',
    spoil: 'CREATE TABLE local(a int REFERENCES t)',
    fails: 'TRUNCATE t',
    ...{ code: 'FLW-313', sqlstate: '0A000', says: /foreign key/ },
    remedy: () => 'DROP TABLE local',
  },
]

describe('a transaction that cannot be applied', () => {
  it('halts between those before and those after it, and is the first after the remedy', {
    timeout: 240_000,
  }, async () => {
    const schema = (i: number) => `SET search_path = s${i}, public`
    const f = await follow({
      before: [
        'CREATE TABLE good(n int PRIMARY KEY)',
        ...halts.flatMap((halt, i) => [
          `CREATE SCHEMA s${i} CREATE TABLE t ${halt.table}`,
          `INSERT INTO s${i}.t SELECT g FROM generate_series(1, 9) g`,
        ]),
      ],
    })
    const { upstream, downstream } = f
    await f.settle()
    expect(await f.stop()).toBe(0)
    for (const [i, { spoil, fails }] of halts.entries()) {
      await statements(downstream, [schema(i), spoil])
      // One batch later: all of these are small.
      await statements(upstream, [
        schema(i),
        ...[1, 2].map((n) => `INSERT INTO good VALUES (${10 * i + n})`),
        ...['BEGIN', `INSERT INTO good VALUES (${10 * i + 3})`, ...fails.split('; ')],
        ...[`INSERT INTO good VALUES (${10 * i + 4})`, 'COMMIT'],
        ...[5, 6].map((n) => `INSERT INTO good VALUES (${10 * i + n})`),
      ])
    }
    const rows = (i: number) =>
      value(
        downstream,
        `SELECT json_agg(t)::text FROM ${halts[i]?.code === 'FLW-301' ? `s${i}.away` : `s${i}.t`} t`,
      )

    for (const [i, halt] of halts.entries()) {
      const { what, code, sqlstate, says, key, context } = halt
      const look = () =>
        query(
          downstream,
          `SELECT lsn, (SELECT count(*) FROM good) AS good, (SELECT max(n) FROM good) FROM follower.progress`,
        )
      const untouched = await rows(i)
      f.start(['--on-conflict', 'delete_missing=halt'])
      const error = await failure(f.follower, 8)
      expect(error, what).toMatchObject({ code, context: { ...context, xid: expect.any(Number) } })
      expect(error.sqlstate, what).toBe(sqlstate)
      expect(`${error.message}\n${error.detail}`, what).toMatch(says)
      expect(error.context.relation, what).toBe(halt.relation === null ? undefined : `s${i}.t`)
      if (key) expect(error.context.key, what).toBe(key)
      expect(error.effect, what).toMatch(/everything before this transaction and nothing of it/)
      const [now] = await look()
      expect(now, what).toMatchObject({ good: String(6 * i + 2), max: String(10 * i + 2) })
      expect(
        await value(upstream, 'SELECT $1::pg_lsn < $2::pg_lsn AND $2::pg_lsn <= pg_current_wal_lsn()', [
          now?.lsn,
          error.context.lsn,
        ]),
        what,
      ).toBe('t')
      expect(await rows(i), what).toBe(untouched)
      if (i === 0) {
        // Without the remedy it is the same again.
        f.start()
        expect((await failure(f.follower, 8)).context).toEqual(error.context)
        expect(await look()).toEqual([now])
      }
      const named = { ...error, fix: error.fix.replaceAll(`s${i}`, 'S') }
      await statements(downstream, [schema(i), halt.remedy(named).replaceAll('"S"', `"s${i}"`)])
    }
    f.start()
    await f.settle()
    for (const table of ['good', ...halts.map((_, i) => `s${i}.t`)]) {
      const [up, down] = await f.both(`SELECT * FROM ${table} ORDER BY 1`)
      expect(down, table).toBe(up)
    }
    expect(await f.stop()).toBe(0)
  })
})

import { describe, expect, it } from 'vitest'
import type { OutputPlugin } from '../src/model/follow.ts'
import { checkPluginFacts, libraryNames, pluginRefused } from '../src/provision/plugin.ts'
import { compareDatabases } from './support/comparator.ts'
import { failure } from './support/failure.ts'
import { follow } from './support/follow.ts'
import { followerCommand, runFollower } from './support/follower.ts'
import { catchUp, expectEqual, type Follow, killed, start } from './support/kill.ts'
import { startLoad } from './support/load.ts'
import { available, cluster, databases, hasWal2json } from './support/servers.ts'
import { client, query, script, statements, value } from './support/sql.ts'

const args = ['--plugin', 'wal2json']
const has = available('15') && hasWal2json()

describe.skipIf(!has)('a follow by wal2json', () => {
  it('carries the same bytes under hostile settings, names and signs', async () => {
    const table = `"S ""q\\"" "."t'a b/.*, é"`
    const f = await follow({
      pair: '15-18',
      args,
      before: [
        `CREATE SCHEMA "S ""q\\"" "; CREATE DOMAIN raw AS bytea; CREATE DOMAIN exact AS numeric; CREATE TYPE mood AS ENUM ('sad', 'a"\\,é')`,
        `CREATE TABLE ${table}(id int PRIMARY KEY, f8 float8 NOT NULL, f4 float4 NOT NULL, n numeric NOT NULL, dn exact, i8 int8, i2 int2, o oid,
           b bool, by bytea, dby raw, t text, c char(5), "va""r\\" varchar, j json, jb jsonb, a text[], na numeric[], m mood, ma mood[],
           ts timestamp, tz timestamptz, d date, iv interval, mo money, x xml, bi bit(3), r numrange, u uuid, inet inet, ts2 tsvector)`,
      ],
    })
    for (const end of [f.upstream, f.downstream])
      for (const setting of [
        `DateStyle = 'German, DMY'`,
        `IntervalStyle = 'sql_standard'`,
        'extra_float_digits = -15',
        `bytea_output = 'escape'`,
        `TimeZone = 'Asia/Kolkata'`,
        'search_path = nowhere',
        'standard_conforming_strings = off',
      ])
        await script(end, `ALTER DATABASE ${f.name} SET ${setting}`)
    await f.stop()
    f.start()
    await query(
      f.upstream,
      `INSERT INTO ${table} SELECT g, f8, f4, n, 'NaN', 9007199254740993, -32768, 4294967295, g = 1, decode('00ff5c275c78', 'hex'),
         decode('00ff5c27', 'hex'), t, 'a', t, '{"a": 1e400,  "a":null}', '{"a": 1e400, "b": [null, "\\u00e9"]}', ARRAY[NULL, 'NULL', 'a"b,{}'],
         '{NaN,1.50}', E'a"\\\\,é', E'{sad,NULL,"a\\\\"\\\\\\\\,é"}', '03.02.2024 04:05:06.789012', '13.12.1901 20:45:52.000001+00',
         '15.03.0044 BC', '-1 mon +2 days -03:04:05.000006', '-12.34', '<a>1</a>', B'101', '[1.5,)', gen_random_uuid(), '::1/64', $$'a"\\\\' b:2$$
       FROM (VALUES (1, '-0'::float8, '-0'::float4, '-0.00'::numeric, ''), (2, 0.1::float8 + 0.2, '1e-38', 1e131071 + 0.1, NULL),
         (3, '1e308', '3.4e38', '12345678901234567890.10', (SELECT string_agg(chr(i), '') FROM generate_series(1, 2000) i WHERE i NOT BETWEEN 55296 AND 57343))
       ) v(g, f8, f4, n, t)`,
    )
    await query(f.upstream, `UPDATE ${table} SET b = NOT b, by = '' WHERE id < 3`)
    await expect
      .poll(() => value(f.downstream, `SELECT count(*) FROM ${table} WHERE by = ''`), { timeout: 20_000 })
      .toBe('2')
    const [up, down] = await f.both(
      `SELECT float8send(f8), float4send(f4), numeric_send(n), numeric_send(dn), array_send(na), timestamp_send(ts), timestamptz_send(tz),
         interval_send(iv), date_send(d), cash_send(mo), * FROM ${table} ORDER BY id`,
    )
    expect(down).toBe(up)
  })

  it('truncates together what was truncated together', async () => {
    const f = await follow({
      pair: '15',
      args,
      before: [
        'CREATE TABLE a(i int PRIMARY KEY)',
        'CREATE TABLE b(i int PRIMARY KEY REFERENCES a)',
        'CREATE TABLE c(i int PRIMARY KEY REFERENCES b)',
      ],
    })
    const rows = ['a', 'b', 'c'].map((table) => `INSERT INTO ${table} VALUES (1)`).join('; ')
    await f.run(rows)
    await f.run(
      `BEGIN; TRUNCATE c; TRUNCATE a CASCADE; ${rows}; TRUNCATE a, b, c RESTART IDENTITY; INSERT INTO a VALUES (2); COMMIT`,
    )
    expect(
      await f.both('SELECT (SELECT sum(i) FROM a), (SELECT count(*) FROM b), (SELECT count(*) FROM c)'),
    ).toEqual(Array(2).fill('[{"sum":"2","count":"0"}]'))
  })

  it('leaves materialized views to their own refresh', async () => {
    const f = await follow({
      pair: '15',
      args,
      before: ['CREATE TABLE t(i int, s text)'],
      upstreamOnly: ['ALTER TABLE t REPLICA IDENTITY FULL'],
    })
    await f.run('INSERT INTO t VALUES (1), (2)')
    await f.run('CREATE MATERIALIZED VIEW mv AS SELECT i FROM t; CREATE UNIQUE INDEX ON mv(i)')
    await f.run('INSERT INTO t VALUES (3); REFRESH MATERIALIZED VIEW CONCURRENTLY mv')
    await f.run(
      'BEGIN; DELETE FROM t WHERE i = 2; REFRESH MATERIALIZED VIEW CONCURRENTLY mv; INSERT INTO t VALUES (4); COMMIT',
    )
    await f.run('REFRESH MATERIALIZED VIEW mv; UPDATE t SET i = -i')
    // What a name was is not what it is.
    await f.follower.kill9()
    for (const text of [
      'CREATE TABLE was(i int); INSERT INTO was VALUES (1)',
      'ALTER TABLE was RENAME TO is_now; CREATE MATERIALIZED VIEW was AS SELECT i FROM is_now; CREATE UNIQUE INDEX ON was(i)',
      'INSERT INTO is_now VALUES (2); REFRESH MATERIALIZED VIEW CONCURRENTLY was',
      'DROP MATERIALIZED VIEW was; CREATE TABLE was(i int); INSERT INTO was VALUES (3)',
      'BEGIN; CREATE MATERIALIZED VIEW gone AS SELECT 1 AS i; DROP MATERIALIZED VIEW gone; CREATE TABLE gone(i int); INSERT INTO gone VALUES (4); COMMIT',
    ])
      await script(f.upstream, text)
    f.start()
    await f.settle()
    expect(await compareDatabases(f.upstream, f.downstream)).toEqual([])
    expect(
      await f.both('SELECT (SELECT sum(i) FROM is_now) AS a, (SELECT sum(i) FROM was) AS b, i FROM gone'),
    ).toEqual(Array(2).fill('[{"a":"3","b":"3","i":"4"}]'))
    expect(await f.both('SELECT i FROM t ORDER BY i')).toEqual(
      Array(2).fill('[{"i":"-4"},{"i":"-3"},{"i":"-1"}]'),
    )
  })

  it('does not make a row of an update without its TOASTed values', async () => {
    const f = await follow({
      pair: '15',
      args: [...args, '--on-conflict', 'update_missing=overwrite'],
      before: [
        'CREATE TABLE t(a int PRIMARY KEY, b text, n int); ALTER TABLE t ALTER b SET STORAGE EXTERNAL',
      ],
    })
    await f.run(`INSERT INTO t VALUES (1, repeat('x', 100000), 0), (2, 'short', 0)`)
    await script(f.downstream, 'DELETE FROM t')
    await f.run('UPDATE t SET n = 1 WHERE a = 2')
    expect(await query(f.downstream, 'SELECT * FROM t')).toEqual([{ a: '2', b: 'short', n: '1' }])
    await script(f.upstream, 'UPDATE t SET n = 1 WHERE a = 1')
    expect(await failure(f.follower, 8)).toMatchObject({ code: 'FLW-330', context: { key: '(a)=(1)' } })
  })

  it('halts at a NaN in a column that came later, and goes on when told to take it for NULL', async () => {
    const f = await follow({ pair: '15', args })
    await f.run('CREATE TABLE late(id int PRIMARY KEY, f float8); INSERT INTO late VALUES (1, 1.5)')
    await script(f.upstream, `INSERT INTO late VALUES (2, 'NaN')`)
    expect(await failure(f.follower, 8)).toMatchObject({
      code: 'FLW-332',
      context: { relation: 'public.late', column: 'f' },
      fix: expect.stringContaining('--nan-as-null'),
    })
    f.start([...args, '--nan-as-null'])
    await f.settle()
    expect(await query(f.downstream, 'SELECT * FROM late ORDER BY id')).toEqual([
      { id: '1', f: '1.5' },
      { id: '2', f: null },
    ])
  })

  it('loses nothing and applies nothing twice when it is killed under load, with schema changes', {
    timeout: 180_000,
  }, async () => {
    const it: Follow = { ...(await databases('15-18')), args: [...args, '--nan-as-null'] }
    const first = start(it)
    await first.ready({ slot: it.name })
    await first.kill9()
    const load = await startLoad(it.upstream, { seed: 7 })
    await catchUp(it)
    for (const [name, hit] of [
      ['stream.received', 20],
      ['apply.mid-batch', 3],
      ['apply.commit-sent', 4],
      ['apply.committed', 2],
      ['progress.acknowledge', 5],
      ['ddl.replayed', 2],
    ] as const)
      await killed(start(it, `${name}:kill9:${hit}`), name, it)
    await expectEqual(it, load)
  })
})

describe.skipIf(!has)('a start by wal2json refuses', () => {
  const refusal = async (
    ends: { upstream: string; downstream: string; name: string },
    ...more: string[]
  ): Promise<string> => {
    const { upstream, downstream, name } = ends
    const ends3 = ['--upstream', upstream, '--downstream', downstream, '--name', name]
    const { code, stderr } = await followerCommand(['start', ...ends3, ...more])
    return `${code} ${stderr}`
  }

  it('options that the plugin has no means for, on either side', async () => {
    const ends = { upstream: 'dbname=x', downstream: 'dbname=y', name: 'x' }
    for (const wrong of [
      ['--publication', 'p'],
      ['--tables', 'public.t'],
      ['--no-identity', 'insert-only'],
    ]) {
      const text = await refusal(ends, ...args, ...wrong)
      expect(text).toMatch(/^2 [\s\S]*FLW-030/)
      expect(text).toContain(`goes without ${wrong[0]}`)
    }
    expect(await refusal(ends, '--nan-as-null')).toMatch(/^2 [\s\S]*FLW-030/)
    expect(await refusal(ends, '--plugin', 'wal2jsn')).toContain('did you mean wal2json?')
  })

  it('columns whose NaN would become NULL', async () => {
    const made = await databases('15')
    for (const end of [made.upstream, made.downstream])
      await script(
        end,
        'CREATE TABLE t(id int PRIMARY KEY, a numeric(10,2), b float4 NOT NULL, c float8[], "D" real); CREATE TABLE u(n numeric) PARTITION BY RANGE (n)',
      )
    const text = await refusal(made, ...args, '--until', 'now')
    expect(text).toMatch(/^6 [\s\S]*FLW-140/)
    expect(text).toContain('2 columns')
    expect(text).toContain('public.t: \\"a\\"\\npublic.t: \\"D\\"')
    expect(
      await value(made.upstream, 'SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1', [
        made.name,
      ]),
    ).toBe('0')
    expect(await refusal(made, ...args, '--until', 'now', '--nan-as-null')).toMatch(/^0 /)
    // The slot is of that plugin now.
    expect(await refusal(made, '--until', 'now')).toMatch(
      /^7 [\s\S]*FLW-203[\s\S]*its plugin is wal2json, not pgoutput/,
    )
    const { upstream, downstream, name } = made
    const removed = await followerCommand([
      'cleanup',
      '--yes',
      '--upstream',
      upstream,
      '--downstream',
      downstream,
      '--name',
      name,
    ])
    expect(removed.code, removed.stderr).toBe(0)
    expect(
      await value(upstream, 'SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1', [name]),
    ).toBe('0')
  })

  it('a slot of another plugin', async () => {
    const made = await databases('15')
    expect(await refusal(made, '--until', 'now')).toMatch(/^0 /)
    expect(await refusal(made, ...args, '--until', 'now')).toMatch(
      /^7 [\s\S]*FLW-203[\s\S]*its plugin is pgoutput, not wal2json/,
    )
  })

  it('a database in another encoding', async () => {
    const made = await databases('15')
    const latin = `${made.name}_latin1`
    await script(
      made.upstream,
      `CREATE DATABASE ${latin} TEMPLATE template0 ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C'`,
    )
    const upstream = new URL(made.upstream)
    upstream.pathname = `/${latin}`
    const text = await refusal({ ...made, upstream: upstream.href }, ...args)
    await script(made.upstream, `DROP DATABASE ${latin} WITH (FORCE)`)
    expect(text).toMatch(/^6 [\s\S]*FLW-142/)
  })
})

describe.skipIf(!available('18'))('a server without wal2json', () => {
  it('is told by name, and no slot is left', async () => {
    const { upstream, downstream, name } = await databases('18')
    const it = runFollower([
      'start',
      ...args,
      '--upstream',
      upstream,
      '--downstream',
      downstream,
      '--name',
      name,
    ])
    expect(await failure(it, 6)).toMatchObject({ code: 'FLW-143' })
    expect(
      await value(upstream, 'SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1', [name]),
    ).toBe('0')
  })
})

describe.skipIf(!available('18'))('output_plugin_libraries', () => {
  it('is read as the server reads it', () => {
    expect(libraryNames('pgoutput, test_decoding')).toEqual(['pgoutput', 'test_decoding'])
    expect(libraryNames(' a,"b, ""c""" ,d ')).toEqual(['a', 'b, "c"', 'd'])
    expect(libraryNames('')).toEqual([])
  })

  it('is looked at before anything is made', () => {
    const facts = { encoding: 'UTF8', nullable: [] }
    const codes = (plugin: OutputPlugin, libraries?: string) =>
      checkPluginFacts({ plugin, nanAsNull: false }, { ...facts, libraries }).map((error) => error.code)
    expect(codes('wal2json')).toEqual([])
    expect(codes('wal2json', 'pgoutput, test_decoding, wal2json')).toEqual([])
    expect(codes('wal2json', 'pgoutput, test_decoding')).toEqual(['FLW-141'])
    expect(codes('pgoutput', 'pgoutput, test_decoding')).toEqual([])
    expect(codes('pgoutput', 'wal2json')).toEqual(['FLW-141'])
  })

  it.skipIf(!has)(
    'keeps the plugin away at a start and under way, until the remedy is run',
    async (context) => {
      const up = await cluster({ major: 15 })
      const upstream = up.conninfo()
      const setting = "SELECT setting FROM pg_settings WHERE name = 'output_plugin_libraries'"
      if ((await query(upstream, setting)).length === 0) context.skip('this server has no such setting')
      const { downstream, name } = await databases('15')
      const ends = ['start', ...args, '--upstream', upstream, '--downstream', downstream, '--name', name]
      const refused = await failure(runFollower(ends), 6)
      expect(refused.code).toBe('FLW-141')
      await statements(
        upstream,
        refused.fix.split('\n').map((line) => line.replace(/--.*/, '')),
      )
      await expect.poll(() => value(upstream, setting)).toBe('pgoutput, test_decoding, wal2json')
      const it = runFollower(ends)
      await it.ready({ upstream, slot: name })
      await statements(upstream, ['ALTER SYSTEM RESET output_plugin_libraries', 'SELECT pg_reload_conf()'])
      await expect.poll(() => value(upstream, setting)).toBe('pgoutput, test_decoding')
      await query(upstream, 'SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots')
      expect(await failure(it, 6)).toMatchObject({ code: 'FLW-141', fix: refused.fix })
    },
  )

  it('is told with the statement that adds the plugin and keeps the others', async () => {
    const { upstream } = await databases('18')
    const session = await client(upstream)
    const report = Object.assign(new Error('library "wal2json" may not be used as an output plugin'), {
      severity: 'ERROR',
      code: '42501',
      detail: `The configuration parameter "output_plugin_libraries" (currently 'pgoutput, test_decoding') does not name this library as a trusted output plugin.`,
    })
    const wrapped = new Error('upstream: refused', { cause: report })
    for (const error of [report, wrapped]) {
      const refused = await pluginRefused(session, 'wal2json', error)
      expect(refused).toMatchObject({ code: 'FLW-141', exit: 6 })
      expect(refused?.fix.join('\n')).toContain(
        `ALTER SYSTEM SET output_plugin_libraries = 'pgoutput', 'test_decoding', 'wal2json'`,
      )
    }
    expect(await pluginRefused(session, 'wal2json', new Error('anything else'))).toBeUndefined()
  })
})

import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { TcpProxy } from './chaos/proxy.ts'
import { cleanUp } from './support/cleanup.ts'
import { followerCommand, runFollower } from './support/follower.ts'
import { available, databases } from './support/servers.ts'
import { client, script, value } from './support/sql.ts'
import { terminal } from './support/terminal.ts'
import { waitUntil } from './support/wait.ts'

const esc = '\u001b'
const cli = fileURLToPath(new URL('../dist/cli.js', import.meta.url))
const withScript =
  spawnSync('script', ['--version'], { encoding: 'utf8' }).stdout?.includes('util-linux') === true
if (!withScript && process.env.FOLLOWER_CI === '1') throw new Error('script of util-linux is not installed')

describe.skipIf(!available('18'))('a copy that goes on', () => {
  /** Two tables with rows upstream, of which one takes none after the first thousands until `open`. */
  async function held() {
    const all = await databases('18')
    const schema = 'CREATE TABLE big (id int PRIMARY KEY, t text); CREATE TABLE small (id int PRIMARY KEY)'
    for (const end of [all.upstream, all.downstream]) await script(end, schema)
    await script(
      all.upstream,
      "INSERT INTO big SELECT i, repeat('x', 100) FROM generate_series(1, 30000) i; INSERT INTO small SELECT generate_series(1, 10)",
    )
    const gate = await client(all.downstream)
    await gate.query("BEGIN; INSERT INTO big VALUES (20000, '')")
    const ends = ['--upstream', all.upstream, '--downstream', all.downstream, '--name', all.name]
    return { ...all, ends, open: () => gate.query('ROLLBACK') }
  }

  const copied = (downstream: string) =>
    waitUntil(async () => (await value(downstream, 'SELECT count(*) FROM big')) === '30000', {
      what: 'the rows',
    })

  test('status shows it, from the downstream', { timeout: 240_000 }, async () => {
    const { ends, open, downstream } = await held()
    const it = runFollower(['start', ...ends, '--copy', 'data'])
    const status = async () => JSON.parse((await followerCommand(['status', ...ends, '--json'])).stdout)
    await it.until(async () => (await status()).copy?.inWork[0]?.rows > 1000, 'rows that are counted', 60_000)
    await it.until(async () => (await status()).copy.tables.copied === 1, 'the small table', 60_000)
    const { state, copy } = await status()
    expect(state).toBe('copying')
    expect(copy).toMatchObject({ tables: { copied: 1, total: 2 }, steps: [] })
    expect(copy.inWork).toHaveLength(1)
    expect(copy.inWork[0].table).toBe('public.big')
    expect(copy.inWork[0].rows).toBeLessThan(20000)
    expect(copy.rows).toBe(copy.inWork[0].rows + 10)
    expect(copy.bytes).toBeGreaterThan(100_000)
    expect(copy.expectedBytes).toBeGreaterThan(copy.bytes)
    expect(copy.secondsLeft).toBeGreaterThan(0)
    const text = await followerCommand(['status', ...ends])
    expect(text.code).toBe(0)
    expect(text.stdout).toMatch(/^\S+ +copying$/m)
    expect(text.stdout).toMatch(
      /^copy +1 of 2 tables {3}\d+ rows {3}[\d.]+ [kM]B of about [\d.]+ MB {3}about .* left$/m,
    )
    expect(text.stdout).toMatch(/^ +public\.big {3}\d+ rows {3}[\d.]+ [kM]B of about/m)
    await open()
    await copied(downstream)
    await it.until(async () => (await status()).state === 'following', 'the stream', 60_000)
    expect((await status()).copy).toBeNull()
    // Steps are all that is left.
    await it.stop()
    await script(
      downstream,
      `INSERT INTO follower.copy_step SELECT name, 1, 'foreign keys', '', '' FROM follower.progress`,
    )
    expect((await followerCommand(['status', ...ends])).stdout).toMatch(/^to make +1 foreign keys$/m)
    expect((await status()).state).toBe('stopped')
  })

  test('status shows all rounds, tables that are behind, and what an older follower has left', async () => {
    const all = await databases('18')
    const schema = 'CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)'
    for (const end of [all.upstream, all.downstream]) await script(end, schema)
    await script(all.upstream, 'INSERT INTO a SELECT generate_series(1, 100)')
    const ends = ['--upstream', all.upstream, '--downstream', all.downstream, '--name', all.name]
    const until = await followerCommand(['start', ...ends, '--copy', 'data', '--until', 'now'])
    expect(until.code, until.stderr).toBe(0)
    const status = async () => JSON.parse((await followerCommand(['status', ...ends, '--json'])).stdout).copy
    expect(await status()).toBeNull()
    const update = (text: string) => script(all.downstream, `UPDATE follower.copied_table SET ${text}`)
    await update(
      `begun_at = now() - interval '1 hour', rows = 10, bytes = 1000, file_bytes = 1000 WHERE name = 'a'`,
    )
    await update(
      `begun_at = now() - interval '10 s', rows = 2, bytes = 200, file_bytes = 5000, state = 'copying', parts_left = 1 WHERE name = 'b'`,
    )
    expect(await status()).toEqual({
      ...{ tables: { copied: 1, behind: 0, total: 2 }, rows: 12, bytes: 1200, expectedBytes: 6000 },
      // Nobody copies.
      secondsLeft: null,
      inWork: [{ table: 'public.b', rows: 2, bytes: 200, expectedBytes: 5000 }],
      steps: [],
    })
    await update(`state = 'copied', behind = true WHERE name = 'b'`)
    expect(await status()).toMatchObject({ tables: { copied: 2, behind: 1, total: 2 }, inWork: [] })
    await script(
      all.downstream,
      `INSERT INTO follower.copy_step SELECT p.name, row_number() OVER (), wave, '', ''
         FROM follower.progress p, unnest(ARRAY['last', 'foreign keys', 'objects', 'indexes', 'schema']) wave`,
    )
    expect((await status()).steps.map(({ wave }: { wave: string }) => wave)).toEqual([
      ...['schema', 'indexes', 'objects', 'foreign keys', 'last'],
    ])
    await script(
      all.downstream,
      'ALTER TABLE follower.copied_table DROP COLUMN file_bytes, DROP COLUMN begun_at, DROP COLUMN behind, DROP COLUMN overwrite',
    )
    await update(`state = 'copying' WHERE name = 'b'`)
    expect(await status()).toMatchObject({
      ...{ tables: { copied: 1, behind: 0, total: 2 }, rows: 12, bytes: 1200, expectedBytes: null },
      inWork: [{ table: 'public.b', rows: 2 }],
    })
    await script(all.downstream, 'DROP TABLE follower.copy_step')
    expect(await status()).toBeNull()
  })

  test('rows that come with the rights of their owner are counted, too', async () => {
    const all = await databases('18')
    const owner = `${all.name}_owner`
    for (const end of [all.upstream, all.downstream])
      await script(end, 'CREATE TABLE big (id int PRIMARY KEY, t text)')
    await script(
      all.upstream,
      "INSERT INTO big SELECT i, repeat('x', 100) FROM generate_series(1, 30000) i; ANALYZE big",
    )
    await script(
      all.downstream,
      `CREATE ROLE ${owner}; ALTER TABLE big OWNER TO ${owner};
       CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
       CREATE TRIGGER note BEFORE INSERT ON big FOR EACH ROW EXECUTE FUNCTION note(); ALTER TABLE big ENABLE ALWAYS TRIGGER note`,
    )
    cleanUp(() => script(all.downstream, `DROP OWNED BY ${owner} CASCADE; DROP ROLE ${owner}`))
    const url = new URL(all.upstream)
    const port = Number(url.port)
    const proxy = await TcpProxy.listen(() => port)
    cleanUp(() => proxy.close())
    proxy.slow(100_000)
    url.port = String(proxy.port)
    const ends = ['--upstream', url.href, '--downstream', all.downstream, '--name', all.name]
    const it = runFollower(['start', ...ends, '--copy', 'data'])
    await it.line(/copying tables/, 60_000)
    // Without the proxy, which is in no hurry.
    const status = async () =>
      JSON.parse(
        (await followerCommand(['status', '--upstream', all.upstream, ...ends.slice(2), '--json'])).stdout,
      ).copy
    await it.until(
      async () => {
        const { inWork } = await status()
        return inWork.length === 1 && inWork[0].table === 'public.big' && inWork[0].rows > 100
      },
      'rows that are counted',
      60_000,
    )
    expect(await value(all.downstream, 'SELECT count(*) FROM big')).toBe('0')
    proxy.pass()
    await copied(all.downstream)
    await it.stop()
  })

  test.skipIf(!withScript).each([
    ['is drawn on', {}, true],
    ['that is dumb is not', { TERM: 'dumb' }, false],
    ['of JSON is not', { FOLLOWER_TEST_FORMAT: 'json' }, false],
  ] as const)('a terminal %s (needs script of util-linux)', async (_, env: Record<string, string>, drawn) => {
    const { ends, open, downstream } = await held()
    const format = env.FOLLOWER_TEST_FORMAT ?? 'auto'
    const command = `stty cols 90 rows 20; exec '${process.execPath}' '${cli}' start ${ends.map((it) => `'${it}'`).join(' ')} --copy data --web-listen off --log-format ${format}`
    const it = runFollower([], {
      program: ['script', '-qefc', command, '/dev/null'],
      env: { TERM: 'xterm', JOURNAL_STREAM: undefined, ...env },
    })
    let raw = ''
    it.child.stdout!.on('data', (data) => (raw += String(data)))
    const seen = (): readonly string[] => {
      const screen = terminal()
      // What is cut in the middle of a sequence comes later.
      const last = raw.lastIndexOf(esc)
      screen.write(/[A-Za-z]/.test(raw.slice(last)) ? raw : raw.slice(0, last))
      return screen.lines
    }
    if (drawn) {
      await it.until(
        () => /^public\.big +\[#+-+\] +\d+% .* [1-9][\d,]+ rows/m.test(seen().join('\n')),
        'bars',
        60_000,
      )
      const lines = seen()
      expect(lines.at(-1)).toMatch(/^1 of 2 tables +\[#+-+\]/)
      expect(lines.filter((line) => line.includes('[#'))).toHaveLength(2)
      for (const line of lines.slice(-2)) expect([...line].length).toBeLessThanOrEqual(90)
    } else await it.line(/copying tables/, 60_000)
    await open()
    await copied(downstream)
    await it.line(/following/, 60_000)
    const lines = seen()
    expect(lines.join('\n')).not.toContain('[#')
    if (!drawn) expect(raw).not.toContain(`${esc}[`)
    // NO_COLOR.
    expect(raw.split(esc).filter((part) => /^\[[\d;]*m/.test(part))).toEqual([])
    // Every line of the log stands for itself.
    const log = lines.filter((line) => !/^\[?\d\d:\d\d:\d\d|^\{"level"/.test(line))
    expect(log).toEqual([])
    expect(lines.join('\n')).toMatch(/copied 2 tables, 30010 rows/)
    it.child.kill('SIGTERM')
    await it.exit
  })
})

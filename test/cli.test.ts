import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { type Following, follow } from './support/follow.ts'
import { followerCommand, runFollower } from './support/follower.ts'
import { databases } from './support/servers.ts'
import { query, script } from './support/sql.ts'

const noEnds = { FOLLOWER_UPSTREAM: undefined, FOLLOWER_DOWNSTREAM: undefined }
/** Port 1 of this machine: nothing listens there. */
const nowhere = (password = '') => `postgres://app${password && `:${password}`}@127.0.0.1:1/shop`

describe('usage', () => {
  test.each([
    [
      'an unknown command',
      ['strat'],
      2,
      ['error[FLW-010]', "unknown command 'strat'", 'did you mean start?'],
    ],
    ['an unknown option', ['start', '--tabels', 'x'], 2, ['FLW-010', 'did you mean --tables?']],
    ['an option without its value', ['start', '--web-listen'], 2, ['FLW-010', 'argument missing']],
    ['an argument too many', ['version', 'now'], 2, ['FLW-010', 'too many arguments']],
    ['no ends', ['start'], 2, ['FLW-011', '--upstream and --downstream missing', 'FOLLOWER_UPSTREAM']],
    [
      'a wrong value',
      ['status', '--upstream', nowhere(), '--downstream', nowhere(), '--name', 'A-1'],
      2,
      ['FLW-012', '--name: ', 'did you mean a_1?'],
    ],
    [
      'no confirmation',
      ['cleanup', '--upstream', nowhere(), '--downstream', nowhere()],
      2,
      ['FLW-015', '--yes'],
    ],
    [
      'a wrong conninfo',
      ['start', '--upstream', nowhere(), '--downstream', 'host=db2 prot=5432'],
      3,
      ['FLW-021', '--downstream: ', 'port'],
    ],
    [
      'no server',
      ['status', '--upstream', nowhere(), '--downstream', nowhere()],
      4,
      ['FLW-401', '127.0.0.1'],
    ],
  ])('%s', async (_name, args, code, texts) => {
    const result = await followerCommand(args, { env: noEnds })
    expect(result.code).toBe(code)
    expect(result.stdout).toBe('')
    for (const text of texts) expect(result.stderr).toContain(text)
    expect(result.stderr).not.toMatch(/^\s+at /m)
  })

  test('no command: help, on stderr', async () => {
    const { code, stdout, stderr } = await followerCommand([])
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toContain('Usage: follower')
  })

  test('--json: the error too, on stdout', async () => {
    const { code, stdout, stderr } = await followerCommand(['status', '--json'], { env: noEnds })
    expect([code, stderr]).toEqual([2, ''])
    expect(JSON.parse(stdout)).toMatchObject({
      schema: 'follower.error/1',
      exit: 2,
      error: { code: 'FLW-011', fix: expect.any(Array) },
    })
  })

  test('version', async () => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8'))
    expect((await followerCommand(['version'])).stdout).toContain(`follower ${version} (`)
    expect(JSON.parse((await followerCommand(['version', '--json'])).stdout)).toMatchObject({ version })
  })

  test('every command has examples, and docs/cli.md has every flag', async () => {
    const docs = readFileSync('docs/cli.md', 'utf8')
    const flags = new Set<string>()
    for (const command of ['start', 'status', 'cleanup', 'version']) {
      const { code, stdout } = await followerCommand([command, '--help'])
      expect(code).toBe(0)
      expect(stdout).toContain('Examples:\n  follower ')
      for (const [flag] of stdout.matchAll(/^ {2}--[a-z-]+/gm)) flags.add(flag.trim())
    }
    expect(flags.size).toBeGreaterThan(15)
    expect([...flags].filter((flag) => !docs.includes(`\`${flag}`))).toEqual([])
  })
})

test('a reader who takes his time gets all that is printed, more than a pipe holds', () => {
  const cli = fileURLToPath(new URL('../dist/cli.js', import.meta.url))
  const script = execFileSync(
    'sh',
    ['-c', '"$0" "$1" print capture --role me | (sleep 1; cat)', process.execPath, cli],
    {
      encoding: 'utf8',
    },
  )
  expect(script.length).toBeGreaterThan(65_536)
  expect(script.trimEnd().endsWith("CALL follower.hand_over('me');\nCOMMIT;")).toBe(true)
})

test('docs/errors.md has every code of the sources, and no other', () => {
  const files = readdirSync('src', { recursive: true, encoding: 'utf8' }).filter((file) =>
    file.endsWith('.ts'),
  )
  const codes = new Set<string>()
  const add = (text: string, pattern: RegExp, ...prefixes: string[]) => {
    for (const [, number] of text.matchAll(pattern))
      for (const prefix of prefixes) codes.add(`FLW-${prefix}${number}`)
  }
  for (const file of files) {
    const text = readFileSync(`src/${file}`, 'utf8')
    add(text, /FLW-(\d{3})/g, '')
    add(text, /ddlError\(\s*(\d{3})/g, '')
    // Two digits there, behind the end's own one.
    if (file.endsWith('connect-error.ts')) add(text, /number(?::| =) '(\d\d)'/g, '4', '5')
  }
  const rows = readFileSync('docs/errors.md', 'utf8').match(/^\|.*/gm) ?? []
  const listed = new Set(
    rows.flatMap(
      (row) =>
        row
          .split('|', 3)
          .join()
          .match(/FLW-\d{3}/g) ?? [],
    ),
  )
  expect([...listed].toSorted()).toEqual([...codes].toSorted())
})

describe('secrets', () => {
  test('ps, log and errors show no password; the command line warns', async () => {
    const { upstream, downstream, name } = await databases()
    const secret = 'hunter2/hunter2'
    const withPassword = (conninfo: string) => {
      const url = new URL(conninfo)
      url.password = encodeURIComponent(secret)
      return url.href
    }
    const ends = ['--upstream', withPassword(upstream), `--downstream=${withPassword(downstream)}`]
    const it = runFollower(['start', ...ends, '--name', name, '--log-level', 'trace'])
    await it.ready({ upstream })
    const shown = readFileSync(`/proc/${it.pid}/cmdline`, 'utf8')
    expect(shown).toContain(`--name ${name}`)
    const status = await followerCommand(['status', ...ends, '--name', name])
    expect(status.stderr).toContain('warning: --upstream has a password on the command line')
    expect((await it.stop()).code).toBe(0)
    expect(it.output).toContain('has a password on the command line')
    for (const text of [shown, it.output, status.stdout, status.stderr]) {
      expect(text).not.toContain('hunter2')
    }
  })

  test('nor does the error of a server that is not there', async () => {
    for (const conninfo of [
      nowhere('hunter2hunter2'),
      'host=127.0.0.1 port=1 user=app password=hunter2hunter2',
    ]) {
      const ends = ['--upstream', conninfo, '--downstream', conninfo]
      for (const args of [
        ['start', ...ends, '--log-level', 'trace'],
        ['status', ...ends, '--json'],
      ]) {
        const result = await followerCommand(args)
        expect([4, 5]).toContain(result.code)
        expect(result.stdout + result.stderr).toMatch(/FLW-[45]01/)
        expect(result.stdout + result.stderr).not.toContain('hunter2')
      }
    }
  })
})

describe('a follow', () => {
  test('start, status, refused cleanup, stop, status, cleanup, status', { timeout: 120_000 }, async () => {
    const it = await follow({ before: ['CREATE TABLE t(id int PRIMARY KEY)'] })
    await it.run('INSERT INTO t VALUES (1)')
    const ends = it.args.slice(1)
    const following = await followerCommand(['status', ...ends, '--json'])
    expect(JSON.parse(following.stdout)).toMatchObject({
      schema: 'follower.status/1',
      name: it.name,
      state: 'following',
      slot: { active: true },
      lagBytes: expect.any(Number),
    })
    expect(following.code).toBe(0)
    const text = await followerCommand(['status', ...ends])
    expect(text.stdout).toMatch(new RegExp(`^${it.name} +following\nupstream +${it.name} on PostgreSQL 18`))

    const refused = await followerCommand(['cleanup', '--yes', ...ends])
    expect([refused.code, refused.stdout]).toEqual([11, ''])
    expect(refused.stderr).toContain('FLW-212')
    expect(await it.stop()).toBe(0)

    expect(JSON.parse((await followerCommand(['status', ...ends, '--json'])).stdout).state).toBe('stopped')
    const cleaned = await followerCommand(['cleanup', '--yes', ...ends])
    expect([cleaned.code, cleaned.stderr]).toEqual([0, ''])
    expect(cleaned.stdout).toContain(`removed  slot "${it.name}" (upstream)`)
    const absent = await followerCommand(['status', ...ends, '--json'])
    expect([absent.code, JSON.parse(absent.stdout).state]).toEqual([2, 'absent'])
    expect(
      await query(it.upstream, `SELECT 1 FROM pg_replication_slots WHERE slot_name = $1`, [it.name]),
    ).toEqual([])
    const again = await followerCommand(['cleanup', '--yes', '--json', ...ends])
    expect(JSON.parse(again.stdout)).toEqual({ schema: 'follower.cleanup/1', removed: [], remains: [] })
  })

  test('status with one end only tells what it can', async () => {
    const { upstream, name } = await databases()
    const { code, stdout, stderr } = await followerCommand([
      'status',
      ...['--upstream', upstream, '--downstream', nowhere(), '--name', name],
    ])
    expect(code).toBe(5)
    expect(stdout).toMatch(new RegExp(`^${name} +unknown\nupstream +${name} on`))
    expect(stderr).toContain('warning: cannot connect to downstream')
  })

  test('ends by the environment; --until now ends with 0; the log is JSON on stderr, or stdout under systemd', async () => {
    const { upstream, downstream, name } = await databases()
    for (const journal of [undefined, '8:12345']) {
      const env = { FOLLOWER_UPSTREAM: upstream, FOLLOWER_DOWNSTREAM: downstream, JOURNAL_STREAM: journal }
      const result = await followerCommand(['start', '--name', name, '--until', 'now'], { env })
      expect(result.code).toBe(0)
      const [log, other] = journal ? [result.stdout, result.stderr] : [result.stderr, result.stdout]
      expect(other).toBe('')
      const lines = log.split('\n').map((line) => JSON.parse(line))
      expect(lines[0]).toMatchObject({ level: 'info', follow: name, msg: 'follower starts' })
      expect(lines[0].time).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/)
    }
  })

  test('metrics and probes of a running follow', async () => {
    const it = await follow({ args: ['--web-listen', '127.0.0.1:0'] })
    const first = await it.follower.line(/follower starts/)
    const { web } = JSON.parse(first)
    await it.run('SELECT 1')
    await it.follower.until(async () => (await fetch(`${web}/readyz`)).ok, 'readiness')
    const text = await (await fetch(`${web}/metrics`)).text()
    expect(text).toContain(`follower_state{downstream="${it.name}",state="streaming"} 1`)
    expect(text).toContain('follower_upstream_up 1')
    expect(await it.stop()).toBe(0)
  })

  test('a chosen web address that is taken: exit 3, and nothing made', async () => {
    const { upstream, downstream, name } = await databases()
    const server = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const address = server.address()
    const port = address && typeof address === 'object' ? address.port : 0
    const args = ['start', '--upstream', upstream, '--downstream', downstream, '--name', name]
    const result = await followerCommand([...args, '--web-listen', `127.0.0.1:${port}`])
    server.close()
    expect(result.code).toBe(3)
    expect(result.stderr).toContain('FLW-014')
    expect((await followerCommand(['status', ...args.slice(1), '--json'])).stdout).toContain('"absent"')
  })

  test.each([
    ['SIGTERM', 143],
    ['SIGINT', 130],
  ] as const)('a second %s ends a stop that hangs with %i', async (signal, code) => {
    const it = await hanging()
    it.follower.child.kill(signal)
    await it.follower.line(/"stopping"/)
    expect(await it.follower.stop(signal)).toEqual({ code, signal: null })
  })

  test('a stop that hangs for 10 s ends with 1; the next start goes on', { timeout: 60_000 }, async () => {
    const it = await hanging()
    expect(await it.follower.stop()).toEqual({ code: 1, signal: null })
    expect(it.follower.output).toContain('the stop took too long')
    // Without the failpoint.
    it.follower = runFollower(it.args)
    await it.settle()
    expect(await it.both('SELECT * FROM settled ORDER BY n')).toEqual(Array(2).fill('[{"n":"0"},{"n":"1"}]'))
  })
})

/** A follow that has sent everything but its COMMIT, and goes no further. */
async function hanging(): Promise<Following> {
  const it = await follow({ env: { FOLLOWER_FAILPOINT: 'apply.before-commit:hang' } })
  await script(it.upstream, 'INSERT INTO settled VALUES (0)')
  await it.follower.line(/failpoint apply.before-commit hang/)
  return it
}

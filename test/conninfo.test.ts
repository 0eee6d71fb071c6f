import { execFile } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import path from 'node:path'
import { inspect, promisify } from 'node:util'
import { beforeAll, describe, expect, it } from 'vitest'
import { FollowerError } from '../src/errors.ts'
import { connect } from '../src/postgres/connect.ts'
import { parseConninfo } from '../src/postgres/conninfo.ts'
import { quoteIdentifier, quoteLiteral } from '../src/postgres/identifier.ts'
import { findPassword } from '../src/postgres/passfile.ts'
import { cleanUp } from './support/cleanup.ts'
import { available, databases } from './support/servers.ts'
import { statements, value } from './support/sql.ts'

type Env = Record<string, string>

const home = mkdtempSync(path.join(tmpdir(), 'follower-home-'))
cleanUp(() => rmSync(home, { recursive: true, force: true }))

const parse = (text: string, env: Env = {}) => parseConninfo(text, { HOME: home, ...env })

function refusal(text: string, env: Env = {}): FollowerError {
  try {
    parse(text, env)
  } catch (error) {
    if (error instanceof FollowerError) return error
    throw error
  }
  throw new Error(`was accepted: ${text}`)
}

describe('what the text says', () => {
  const cases: [text: string, expected: Record<string, unknown>][] = [
    ['postgresql://u@h/d', { host: 'h', port: 5432, user: 'u', database: 'd', sslmode: 'prefer' }],
    ['postgres://u:secret@h:5433/d', { host: 'h', port: 5433 }],
    ['postgresql://u@[2001:db8::1]:6/d', { host: '2001:db8::1', port: 6 }],
    ['postgresql://us%20er@h/d%2Fb', { user: 'us er', database: 'd/b' }],
    ['postgresql://%2Frun%2Fpg/d?user=u', { host: '/run/pg', database: 'd' }],
    ['postgresql:///d?host=/run/pg&port=7&user=u', { host: '/run/pg', port: 7, database: 'd' }],
    ['postgresql://u@h/d?ssl=true', { sslmode: 'require' }],
    [
      'postgresql://u@h?application_name=a%20b&connect_timeout=5&',
      { applicationName: 'a b', connectTimeout: 5 },
    ],
    ['host=h user=u', { host: 'h', user: 'u', database: 'u' }],
    ['  host = h   port= 7 dbname =d user=u ', { host: 'h', port: 7, database: 'd' }],
    [
      String.raw`host=h user='o\'b r\\' dbname=it\'s\ d`,
      { user: String.raw`o'b r\ `.trim(), database: "it's d" },
    ],
    ["host=h user=u dbname=''", { database: 'u' }],
    ['host=h hostaddr=10.0.0.1 user=u', { host: 'h', hostaddr: '10.0.0.1' }],
    ['hostaddr=10.0.0.1 user=u', { host: '10.0.0.1' }],
    ['host=h user=u connect_timeout=0 keepalives=1 tcp_user_timeout=5', { connectTimeout: 0 }],
    ['host=h user=u sslrootcert=system', { sslmode: 'verify-full', sslrootcert: 'system' }],
    ['host=h user=u channel_binding=prefer target_session_attrs=any client_encoding=UTF8', { host: 'h' }],
  ]
  it.each(cases)('%s', (text, expected) => {
    expect(parse(text)).toMatchObject(expected)
  })

  const lists: [text: string, places: string, display: string][] = [
    ['postgresql://u@a:1,b:2/d', 'a:1 b:2', 'a:1,b:2/d as u'],
    ['postgresql://u@a,[::1]:2,c/d', 'a:5432 ::1:2 c:5432', 'a:5432,[::1]:2,c:5432/d as u'],
    ['host=a,b port=7 user=u', 'a:7 b:7', 'a:7,b:7/u as u'],
    ['host=a,b port=7, user=u', 'a:7 b:5432', 'a:7,b:5432/u as u'],
    [
      'host=a,b hostaddr=10.0.0.1,10.0.0.2 user=u',
      'a:5432(10.0.0.1) b:5432(10.0.0.2)',
      'a:5432,b:5432/u as u',
    ],
    [
      'hostaddr=10.0.0.1,10.0.0.2 user=u',
      '10.0.0.1:5432 10.0.0.2:5432',
      '10.0.0.1:5432,10.0.0.2:5432/u as u',
    ],
  ]
  it.each(lists)('several servers: %s', (text, places, display) => {
    const it = parse(`${text}${text.startsWith('post') ? '?' : ' '}target_session_attrs=primary`)
    expect(
      it.servers
        ?.map(({ host, port, hostaddr }) => `${host}:${port}${hostaddr ? `(${hostaddr})` : ''}`)
        .join(' '),
    ).toBe(places)
    expect(it.servers?.every(({ targetSessionAttrs }) => targetSessionAttrs === 'primary')).toBe(true)
    expect(it.display).toBe(display)
  })

  it('one server is no list', () => {
    expect(parse('host=a user=u')).toMatchObject({ targetSessionAttrs: 'any' })
    expect(parse('host=a user=u').servers).toBeUndefined()
  })

  it('names the place without a secret', () => {
    expect(parse('postgresql://u:pw@[::1]/d').display).toBe('[::1]:5432/d as u')
    expect(parse('host=/run/pg user=u').display).toBe('/run/pg:5432/u as u')
  })
})

describe('precedence', () => {
  const env = {
    PGHOST: 'eh',
    PGPORT: '1111',
    PGUSER: 'eu',
    PGDATABASE: 'ed',
    PGSSLMODE: 'disable',
    PGAPPNAME: 'ea',
    PGCONNECT_TIMEOUT: '9',
  }
  it('takes the environment where the text is silent', () => {
    expect(parse('', env)).toMatchObject({
      host: 'eh',
      port: 1111,
      user: 'eu',
      database: 'ed',
      sslmode: 'disable',
      applicationName: 'ea',
      connectTimeout: 9,
    })
  })
  it('takes the text before the environment', () => {
    expect(parse('host=h port=2 user=u dbname=d sslmode=allow', env)).toMatchObject({
      host: 'h',
      port: 2,
      user: 'u',
      database: 'd',
      sslmode: 'allow',
    })
  })
  it('takes the default where the text says nothing expressly', () => {
    expect(parse("port='' dbname=''", env)).toMatchObject({ port: 5432, database: 'eu' })
  })
  it('takes the user of the system, and the socket where there is one', () => {
    const socket = '/var/run/postgresql'
    expect(parse('')).toMatchObject({
      host: existsSync(socket) ? socket : 'localhost',
      user: userInfo().username,
      database: userInfo().username,
    })
  })
})

describe('refusals', () => {
  const cases: [text: string, code: string, words: RegExp, env?: Env][] = [
    ['shop', 'FLW-020', /missing "=" after "shop"/],
    ["host='h", 'FLW-020', /quote of host/],
    ['= x', 'FLW-020', /without a keyword/],
    ['postgresql://u@[::1/d', 'FLW-020', /host:port nor \[IPv6/],
    ['postgresql://u@[]/d', 'FLW-020', /empty/],
    ['postgresql://u@h/d%zz', 'FLW-020', /%25/],
    ['postgresql://u@h/d%00', 'FLW-020', /%25/],
    ['postgresql://u@h/d%ff', 'FLW-020', /UTF-8/],
    ['postgresql://u@h/d?user', 'FLW-020', /no "="/],
    ['postgresql://u@h/d?user=a=b', 'FLW-020', /%3D/],
    ['host=h databse=d', 'FLW-021', /"databse".*did you mean dbname/s],
    ['host=h aplication_name=d', 'FLW-021', /did you mean application_name/],
    ['postgresql://u@h/d?ssl_mode=require', 'FLW-021', /did you mean sslmode/],
    ['host=a,b port=1,2,3', 'FLW-023', /3 items.*2 hosts/],
    ['host=a port=1,2', 'FLW-023', /2 items.*1 hosts/],
    ['host=a,b hostaddr=10.0.0.1', 'FLW-023', /hostaddr has 1 items/],
    ['postgresql://u@a:1,b:x/d', 'FLW-020', /not a number/],
    ['postgresql://u@a:1,b:99999/d', 'FLW-023', /between 1 and 65535/],
    ['service=s', 'FLW-022', /take service out/],
    ['', 'FLW-022', /unset PGSERVICE/, { PGSERVICE: 's' }],
    ['host=h target_session_attrs=standby', 'FLW-022', /from a primary/],
    ['host=h load_balance_hosts=random', 'FLW-022', /load_balance_hosts/],
    ['host=h options=-cdatestyle=German', 'FLW-022', /ALTER ROLE/],
    ['host=h', 'FLW-022', /unset PGOPTIONS/, { PGOPTIONS: '-c work_mem=1GB' }],
    ['host=h channel_binding=require', 'FLW-022', /verify-full/],
    ['host=h gssencmode=require', 'FLW-022', /GSSAPI/],
    ['host=h replication=database', 'FLW-022', /by itself/],
    ['host=h port=0', 'FLW-023', /between 1 and 65535/],
    ['host=h port=70000', 'FLW-023', /between 1 and 65535/],
    ['host=h port=5x', 'FLW-023', /integer/],
    ['host=h connect_timeout=1.5', 'FLW-023', /integer/],
    ['host=h sslmode=verify_full', 'FLW-023', /disable, allow/],
    ['host=h sslrootcert=system sslmode=require', 'FLW-023', /too weak/],
    ['host=h sslmode=verify-full', 'FLW-024', /root\.crt does not exist/],
    ['host=h sslrootcert=/nowhere/ca.crt', 'FLW-024', /"\/nowhere\/ca\.crt" does not exist/],
    ['host=h sslcert=/nowhere/c.crt', 'FLW-024', /sslcert/],
  ]
  it.each(cases)('%s %s', (text, code, words, env) => {
    const error = refusal(text, env)
    expect(error).toMatchObject({ code, exit: 3 })
    expect([error.message, error.detail, ...error.fix].join('\n')).toMatch(words)
  })
})

describe('secrets', () => {
  const texts = [
    'postgresql://u:hunter2@h/d',
    'host=h user=u password=hunter2',
    'postgresql://u@h/d?password=hunter2',
    "host=h password='hunter2'",
  ]
  it.each(texts)('are not in what shows of %s', async (text) => {
    const conninfo = parse(text)
    expect(await conninfo.password()).toBe('hunter2')
    const shown = [
      JSON.stringify(conninfo),
      inspect(conninfo, { depth: 9, showHidden: true }),
      conninfo.display,
    ]
    expect(shown.join('\n')).not.toContain('hunter2')
  })

  it.each([
    'postgresql://u:x@hunter2@h/d',
    'postgresql://u:hunter2/x@h/d',
    'postgresql://u:1/hunter2',
    'postgresql://u:hunter2%@h/d',
    'host=h password=x hunter2=5',
    'host=h password=x hunter2',
    "host=h password='hunter2",
    'postgresql://u:hunter2@h:p/d',
    'postgresql://u:hunter2@h/d?shema=x',
    'host=h password=hunter2 sslmode=x',
    'host=h password=hunter2 service=x',
  ])('are not in the refusal of %s', (text) => {
    // The fourth text is what it says: u is a host, 1 its port, hunter2 its database.
    if (text.endsWith('/hunter2')) return expect(parse(text).host).toBe('u')
    expect(inspect(refusal(text), { depth: 9 }).replaceAll(/at .*/g, '')).not.toContain('hunter2')
  })
})

describe('passfile', () => {
  const key = { host: 'h', port: 5432, database: 'd', user: 'u' }
  const cases: [text: string, password: string | undefined, where?: Partial<typeof key>][] = [
    ['h:5432:d:u:pw', 'pw'],
    ['h:5432:d:u:p:w', 'p:w'],
    ['h:5432:d:u:p\\:w\\\\', 'p:w\\'],
    ['*:*:*:*:any', 'any'],
    ['x:5432:d:u:no\r\nh:*:d:u:yes\r\n', 'yes'],
    ['h:5432:d:u:first\nh:5432:d:u:second', 'first'],
    ['# h:5432:d:u:pw', undefined],
    ['#:5432:d:u:pw', undefined, { host: '#' }],
    ['h:5432:d:u', undefined],
    ['h:5432:d:u:', undefined],
    ['h:5433:d:u:pw', undefined],
    ['h:5432:D:u:pw', undefined],
    ['\\*:5432:d:u:pw', undefined],
    ['\\*:5432:d:u:pw', 'pw', { host: '*' }],
    ['a\\:b:5432:d:u:pw', 'pw', { host: 'a:b' }],
    ['localhost:5432:d:u:pw', 'pw', { host: '/var/run/postgresql' }],
    ['/srv/sock:5432:d:u:pw', 'pw', { host: '/srv/sock' }],
    ['localhost:5432:d:u:pw', undefined, { host: '/srv/sock' }],
  ]
  it.each(cases)('%j gives %s', (text, password, where) => {
    expect(findPassword(text, { ...key, ...where }).password).toBe(password)
  })

  it('is found by keyword, variable or in the home, and read anew each time', async () => {
    const [named, other] = [path.join(home, 'named'), path.join(home, '.pgpass')]
    writeFileSync(named, 'h:5432:d:u:named\n', { mode: 0o600 })
    writeFileSync(other, 'h:5432:d:u:home\n', { mode: 0o600 })
    const text = 'host=h user=u dbname=d'
    expect(await parse(`${text} passfile=${named}`).password()).toBe('named')
    expect(await parse(text, { PGPASSFILE: named }).password()).toBe('named')
    expect(await parse(text, { PGPASSFILE: named, PGPASSWORD: 'variable' }).password()).toBe('variable')
    expect(await parse(`${text} password=given`, { PGPASSWORD: 'variable' }).password()).toBe('given')
    const conninfo = parse(text)
    expect(await conninfo.password()).toBe('home')
    writeFileSync(other, 'h:5432:d:u:rotated\n')
    expect(await conninfo.password()).toBe('rotated')
    expect(await conninfo.passfileProblem?.()).toBeUndefined()
    rmSync(other)
    expect(await conninfo.password()).toBeUndefined()
    expect(await conninfo.passfileProblem?.()).toBeUndefined()
  })

  it('is ignored, with a reason, where others may read it', async () => {
    const open = path.join(home, 'open')
    writeFileSync(open, '*:*:*:*:pw\n')
    chmodSync(open, 0o640)
    const conninfo = parse(`host=h user=u passfile=${open}`)
    expect(await conninfo.password()).toBeUndefined()
    expect(await conninfo.passfileProblem?.()).toMatch(/open is ignored.*mode 640.*chmod 0600/)
    const beside = parse(`host=h user=u passfile=${open}`, { CREDENTIALS_DIRECTORY: home.slice(0, -1) })
    expect(await beside.password()).toBeUndefined()
  })

  it.skipIf(process.geteuid?.() !== 0)('is not missed by a user without a name and a home', async () => {
    const { HOME } = process.env
    delete process.env.HOME
    // Nobody's number: as in a container, or under systemd's DynamicUser=.
    process.seteuid!(61_234)
    try {
      expect(await parse('host=h user=u', { HOME: '' }).password()).toBeUndefined()
    } finally {
      process.seteuid!(0)
      if (HOME !== undefined) process.env.HOME = HOME
    }
  })

  it('is taken as it is where systemd keeps it', async () => {
    const credential = path.join(home, 'credential')
    writeFileSync(credential, '*:*:*:*:pw\n')
    chmodSync(credential, 0o440)
    const env = { PGPASSFILE: credential, CREDENTIALS_DIRECTORY: home }
    expect(await parse('host=h user=u', env).password()).toBe('pw')
  })
})

const psql = ['/usr/bin/psql', '/usr/local/bin/psql'].find((place) => existsSync(place))
if (!psql) console.warn('SKIPPED: there is no psql to compare conninfos with')

/** Where a connection arrived. */
const where = `SELECT current_user || '|' || current_database() || '|'
  || coalesce(inet_server_port()::text, 'socket') AS place`

describe.skipIf(!psql || !available('18'))('arrives where psql does', () => {
  let upstream: URL
  let socket: string
  let name: string
  let odd: string

  beforeAll(async () => {
    const made = await databases('18')
    ;({ name } = made)
    upstream = new URL(made.upstream)
    socket = (await value(made.upstream, 'SHOW unix_socket_directories'))!
    odd = `o'b \\r:@/? ${name} ü`
    const maintenance = made.upstream.replace(/[^/]*$/, 'postgres')
    await statements(maintenance, [
      `CREATE ROLE ${quoteIdentifier(odd)} LOGIN`,
      `CREATE DATABASE ${quoteIdentifier(odd)}`,
    ])
    cleanUp(() =>
      statements(maintenance, [`DROP DATABASE ${quoteIdentifier(odd)}`, `DROP ROLE ${quoteIdentifier(odd)}`]),
    )
  })

  const quote = (text: string) => `'${text.replace(/[\\']/g, '\\$&')}'`
  const bare = (text: string) => text.replace(/[\\'\s]/g, '\\$&')
  const encode = encodeURIComponent

  const cases: [title: string, text: () => string, env?: () => Env][] = [
    ['URI', () => `postgres://postgres@127.0.0.1:${upstream.port}/${name}`],
    ['URI, odd names', () => `postgresql://${encode(odd)}@127.0.0.1:${upstream.port}/${encode(odd)}`],
    ['URI, no database', () => `postgresql://${encode(odd)}@127.0.0.1:${upstream.port}`],
    ['URI, no database but a slash', () => `postgresql://postgres@127.0.0.1:${upstream.port}/`],
    [
      'URI, socket in the query',
      () => `postgresql:///${name}?host=${socket}&port=${upstream.port}&user=postgres`,
    ],
    ['URI, socket as host', () => `postgresql://postgres@${encode(socket)}:${upstream.port}/${name}`],
    [
      'URI, trailing ampersand',
      () => `postgresql://postgres@127.0.0.1:${upstream.port}/${name}?connect_timeout=9&`,
    ],
    [
      'URI, double ampersand',
      () => `postgresql://postgres@127.0.0.1:${upstream.port}/${name}?connect_timeout=9&&`,
    ],
    [
      'URI, query before authority',
      () => `postgresql://nobody@127.0.0.1:${upstream.port}/x?user=postgres&dbname=${name}`,
    ],
    ['URI, rest from the environment', () => 'postgresql://', environment],
    ['URI, empty port', () => `postgresql://postgres@127.0.0.1:/${name}`, () => ({ PGPORT: upstream.port })],
    ['URI, bad percent', () => `postgresql://postgres@127.0.0.1:${upstream.port}/${name}%4`],
    ['keywords', () => `host=127.0.0.1 port=${upstream.port} user=postgres dbname=${name}`],
    [
      'keywords, quoted',
      () => `host = 127.0.0.1 port= ${upstream.port} user=${quote(odd)}dbname =${quote(odd)}`,
    ],
    [
      'keywords, backslashes',
      () => `host=127.0.0.1 port=${upstream.port} user=${bare(odd)} dbname=${bare(odd)}`,
    ],
    [
      'keywords, later wins',
      () => `port=1 host=127.0.0.1 port=${upstream.port} user=postgres dbname=${name}`,
    ],
    [
      'keywords, port with spaces',
      () => `host=127.0.0.1 port=' ${upstream.port} ' user=postgres dbname=${name}`,
    ],
    ['keywords, value on the other side', () => `user= dbname=${name} host=127.0.0.1 port=${upstream.port}`],
    [
      'keywords, hostaddr',
      () => `host=nowhere.invalid hostaddr=127.0.0.1 port=${upstream.port} user=postgres dbname=${name}`,
    ],
    [
      'keywords over environment',
      () => `user=postgres dbname=${name}`,
      () => ({ ...environment(), PGUSER: odd, PGDATABASE: odd }),
    ],
    ['empty keyword hides environment', () => "user=postgres dbname=''", environment],
    ['environment', () => '', environment],
    ['environment, hostaddr', () => '', () => ({ ...environment(), PGHOSTADDR: '127.0.0.1' })],
    ['URI, several hosts', () => `postgresql://postgres@127.0.0.1:1,127.0.0.1:${upstream.port}/${name}`],
    [
      'keywords, several hosts',
      () => `host=127.0.0.1,nowhere.invalid,127.0.0.1 port=1,1,${upstream.port} user=postgres dbname=${name}`,
    ],
    [
      'keywords, several hosts, one port',
      () =>
        `host=nowhere.invalid,127.0.0.1 port=${upstream.port} user=postgres dbname=${name} target_session_attrs=read-write`,
    ],
    [
      'the login is refused by the first of several',
      () => `host=127.0.0.1,127.0.0.1 port=${upstream.port} user=no_one dbname=${name}`,
    ],
    [
      'too few ports',
      () => `host=127.0.0.1,127.0.0.1,127.0.0.1 port=${upstream.port},${upstream.port} user=postgres`,
    ],
    ['no equals sign', () => `host=127.0.0.1 port=${upstream.port} postgres`],
    ['quote not closed', () => `host=127.0.0.1 port=${upstream.port} user='postgres`],
    ['unknown keyword', () => `host=127.0.0.1 port=${upstream.port} user=postgres data=x`],
  ]
  const wrong = new Set([
    'the login is refused by the first of several',
    'too few ports',
    'URI, double ampersand',
    'URI, bad percent',
    'keywords, value on the other side',
    'no equals sign',
    'quote not closed',
    'unknown keyword',
  ])
  function environment(): Env {
    return { PGHOST: socket, PGPORT: upstream.port, PGUSER: 'postgres', PGDATABASE: name }
  }

  it.each(cases)('%s', async (title, text, env) => {
    const [theirs, ours] = await Promise.all([
      byPsql(text(), env?.() ?? {}),
      byFollower(text(), env?.() ?? {}),
    ])
    expect(ours).toBe(theirs)
    expect(theirs === 'refused').toBe(wrong.has(title))
  })

  async function byPsql(text: string, env: Env): Promise<string> {
    try {
      // psql takes a text without "=" for a database's name; behind an option it does not.
      const args = ['-X', '-At', '-d', text === '' ? name : text, '-c', where]
      const options = { env: { PATH: process.env.PATH, HOME: home, LC_ALL: 'C.UTF-8', ...env } }
      const { stdout } = await promisify(execFile)(psql!, args, options)
      return stdout.trim()
    } catch {
      return 'refused'
    }
  }

  async function byFollower(text: string, env: Env): Promise<string> {
    try {
      const client = await connect({ end: 'upstream', conninfo: parse(text, env), applicationName: 'test' })
      const { rows } = await client.query<{ place: string }>(where)
      await client.end()
      return rows[0]!.place
    } catch (error) {
      if (error instanceof FollowerError) return 'refused'
      throw error
    }
  }
})

describe('quoting', () => {
  it('of names', () => {
    expect(quoteIdentifier('a"b C')).toBe('"a""b C"')
  })
  it('of texts', () => {
    expect(quoteLiteral("it's")).toBe("'it''s'")
    expect(quoteLiteral("a\\b'")).toBe(" E'a\\\\b'''")
  })
})

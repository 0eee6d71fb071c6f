import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import path from 'node:path'
import type pg from 'pg'
import { beforeAll, describe, expect, it } from 'vitest'
import { serverAccount, temporaryRoot } from '../src/demo/binaries.ts'
import type { Cluster } from '../src/demo/cluster.ts'
import { FollowerError } from '../src/errors.ts'
import { connect } from '../src/postgres/connect.ts'
import { parseConninfo } from '../src/postgres/conninfo.ts'
import type { End } from '../src/postgres/end.ts'
import { pins } from '../src/postgres/pins.ts'
import { isTransient, sqlstate } from '../src/postgres/sqlstate.ts'
import { startPooler } from './lending-pooler.ts'
import { cleanUp } from './support/cleanup.ts'
import { asUser, available, cluster, databases, inDatabase, type Pair } from './support/servers.ts'
import { query, script, statements, value } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

type Options = Partial<Omit<Parameters<typeof connect>[0], 'conninfo'>>

const nowhere = { HOME: '/nowhere' }

async function open(conninfo: string, options: Options = {}): Promise<pg.Client> {
  const client = await connect({
    end: 'upstream',
    applicationName: 'follower/test',
    ...options,
    conninfo: parseConninfo(conninfo, nowhere),
  })
  cleanUp(() => client.end())
  return client
}

async function failure(conninfo: string, options: Options = {}): Promise<FollowerError> {
  const error = await open(conninfo, options).then(
    () => new Error('connected'),
    (reason: unknown) => reason,
  )
  if (error instanceof FollowerError) return error
  throw error
}

async function one(client: pg.Client, text: string): Promise<unknown> {
  const { rows } = await client.query(text)
  return Object.values(rows[0])[0]
}

const both: Pair[] = ['18', '15']

describe.each(both)('a session of PostgreSQL %s', (pair) => {
  if (!available(pair)) return it.skip('is not here', () => {})
  let upstream: string
  let hostile: string

  const settings: [name: string, theirs: string, pinned: string][] = [
    ['DateStyle', 'German, DMY', 'ISO, YMD'],
    ['IntervalStyle', 'sql_standard', 'postgres'],
    ['TimeZone', 'Asia/Kolkata', 'UTC'],
    ['extra_float_digits', '-5', '3'],
    ['bytea_output', 'escape', 'hex'],
    ['xmloption', 'document', 'content'],
    ['array_nulls', 'off', 'on'],
    ['search_path', 'public', 'pg_catalog, pg_temp'],
    ['row_security', 'on', 'off'],
    ['quote_all_identifiers', 'on', 'off'],
    ['standard_conforming_strings', 'off', 'on'],
    ['transform_null_equals', 'on', 'off'],
    ['client_encoding', 'LATIN1', 'UTF8'],
    ['client_min_messages', 'debug1', 'warning'],
    ['statement_timeout', '40s', '0'],
    ['lock_timeout', '41s', '0'],
    ['idle_in_transaction_session_timeout', '42s', '0'],
    ['idle_session_timeout', '43s', '0'],
    ...(pair === '18' ? ([['transaction_timeout', '44s', '0']] as [string, string, string][]) : []),
    ['default_transaction_read_only', 'on', 'off'],
    ['default_transaction_isolation', 'serializable', 'read committed'],
    ['default_transaction_deferrable', 'on', 'off'],
  ]

  beforeAll(async () => {
    const made = await databases(pair)
    upstream = made.upstream
    await statements(upstream, [
      `CREATE ROLE ${made.name} LOGIN REPLICATION`,
      ...settings.map(
        ([name, theirs]) =>
          `ALTER ROLE ${made.name} SET ${name} = ${theirs.includes(',') ? theirs : `'${theirs}'`}`,
      ),
    ])
    cleanUp(() => script(inDatabase(upstream, 'postgres'), `DROP ROLE ${made.name}`))
    hostile = asUser(upstream, made.name)
  })

  it.each([
    ['ordinary', {}],
    ['downstream', { end: 'downstream' as End }],
    ['walsender', { replication: true }],
  ])('has its settings pinned against those of the role: %s', async (_, options) => {
    // That the role's settings would bite without the pins, is shown by a plain connection.
    const plain = await query(hostile, 'SELECT name, setting FROM pg_settings')
    const client = await open(hostile, options)
    for (const [name, theirs, pinned] of settings) {
      if (name !== 'client_encoding' && !/timeout/.test(name))
        expect(plain.find((row) => row.name === name)?.setting, name).toBe(theirs)
      expect(await one(client, `SELECT current_setting('${name}')`), name).toBe(pinned)
    }
    expect(await one(client, "SELECT 1234.5::numeric::money || ''")).toBe('$1,234.50')
    expect(await one(client, "SELECT '2024-03-01 12:00+02'::timestamptz")).toBe('2024-03-01 10:00:00+00')
    expect(await one(client, 'SELECT 0.1::float8 + 0.2::float8')).toBe('0.30000000000000004')
    expect(await one(client, "SELECT current_setting('application_name')")).toBe('follower/test')
  })

  it('gets its pins back after a statement that changed them, within the same transaction', async () => {
    const client = await open(upstream)
    await client.query(
      `BEGIN; SET DateStyle = German; SET search_path = public; SET client_encoding = LATIN1`,
    )
    await client.query(pins('upstream'))
    expect(await one(client, 'SHOW DateStyle')).toBe('ISO, YMD')
    expect(await one(client, 'SHOW client_encoding')).toBe('UTF8')
    await client.query('COMMIT')
    expect(await one(client, 'SHOW search_path')).toBe('pg_catalog, pg_temp')
  })

  it('has every value as the text of the server', async () => {
    const client = await open(upstream)
    const { rows } = await client.query(
      `SELECT true AS bool, 9007199254740993::int8 AS int8, 1.50::numeric AS numeric, '{"a": 1.0}'::json AS json,
        '{1,NULL,3}'::int[] AS array, '2024-03-01 10:00:00.123456'::timestamp AS timestamp, '\\x00ff'::bytea AS bytea,
        'infinity'::timestamptz AS infinity, NULL::int AS missing, $1::date AS date, 7::oid AS oid`,
      ['0044-03-15 BC'],
    )
    expect(rows[0]).toEqual({
      bool: 't',
      int8: '9007199254740993',
      numeric: '1.50',
      json: '{"a": 1.0}',
      array: '{1,NULL,3}',
      timestamp: '2024-03-01 10:00:00.123456',
      bytea: '\\x00ff',
      infinity: 'infinity',
      missing: null,
      date: '0044-03-15 BC',
      oid: '7',
    })
  })

  it('takes bytes as they are where the database has no encoding', async () => {
    const name = new URL(upstream).pathname.slice(1)
    await statements(upstream, [
      `CREATE DATABASE ${name}_ascii TEMPLATE template0 ENCODING SQL_ASCII LOCALE 'C'`,
    ])
    cleanUp(() => script(upstream, `DROP DATABASE ${name}_ascii WITH (FORCE)`))
    for (const replication of [false, true]) {
      const client = await open(inDatabase(upstream, `${name}_ascii`), { replication })
      expect(await one(client, 'SHOW client_encoding')).toBe('SQL_ASCII')
      // A client of UTF8 would be refused that byte.
      expect(await one(client, "SELECT octet_length(convert_from('\\xff', 'SQL_ASCII'))")).toBe('1')
    }
  })

  it('is a walsender where asked for', async () => {
    const client = await open(upstream, { replication: true })
    expect(await one(client, 'IDENTIFY_SYSTEM')).toMatch(/^\d+$/)
    const ordinary = await open(upstream)
    await expect(ordinary.query('IDENTIFY_SYSTEM')).rejects.toMatchObject({ code: '42601' })
  })

  it('survives the loss of its connection: only the next query fails, as transient', async () => {
    const client = await open(upstream)
    await query(upstream, 'SELECT pg_terminate_backend($1::int, 5000)', [
      await one(client, 'SELECT pg_backend_pid()'),
    ])
    const error = await waitUntil(() =>
      client.query('SELECT 1').then(
        () => undefined,
        (reason: unknown) => reason,
      ),
    )
    expect(isTransient(error)).toBe(true)
  })

  it('is refused without the right to replicate', async () => {
    const { upstream: fresh, name } = await databases(pair)
    await statements(fresh, [`CREATE ROLE ${name} LOGIN`])
    cleanUp(() => script(inDatabase(fresh, 'postgres'), `DROP ROLE ${name}`))
    const error = await failure(asUser(fresh, name), { replication: true })
    expect(error).toMatchObject({ code: 'FLW-409', exit: 4, sqlstate: '42501', transient: false })
    expect(error.fix.join('\n')).toContain(`ALTER ROLE "${name}" REPLICATION`)
    await script(fresh, `ALTER ROLE ${name} REPLICATION`)
    await open(asUser(fresh, name), { replication: true })
  })

  it('is refused without the right to connect, and where too many are', async () => {
    const { upstream: fresh, name } = await databases(pair)
    await statements(fresh, [`CREATE ROLE ${name} LOGIN`, `REVOKE CONNECT ON DATABASE ${name} FROM PUBLIC`])
    cleanUp(() => statements(inDatabase(fresh, 'postgres'), [`DROP OWNED BY ${name}`, `DROP ROLE ${name}`]))
    const error = await failure(asUser(fresh, name), { end: 'downstream' })
    expect(error).toMatchObject({ code: 'FLW-506', exit: 5, sqlstate: '42501', transient: false })
    await script(fresh, error.fix[0]!)
    const first = await open(asUser(fresh, name))
    await first.end()
    await script(fresh, `ALTER ROLE ${name} CONNECTION LIMIT 0`)
    expect(await failure(asUser(fresh, name))).toMatchObject({
      code: 'FLW-408',
      sqlstate: '53300',
      transient: true,
    })
  })
})

describe.skipIf(!available('18'))('failures', () => {
  let upstream: string
  beforeAll(async () => {
    upstream = (await databases()).upstream
  })
  const port = () => new URL(upstream).port

  it('no such database', async () => {
    const error = await failure(inDatabase(upstream, 'no"where'))
    expect(error).toMatchObject({ code: 'FLW-406', exit: 4, sqlstate: '3D000', transient: false })
    expect(error.message).toBe(
      `cannot connect to upstream 127.0.0.1:${port()}/no"where as postgres: database "no"where" does not exist`,
    )
    expect(error.fix[0]).toContain('CREATE DATABASE "no""where"')
    expect(error.effect).toMatch(/nothing was changed/)
  })

  it('no such role', async () => {
    const error = await failure(asUser(upstream, 'no_one'))
    expect(error).toMatchObject({ code: 'FLW-404', sqlstate: '28000', transient: false })
  })

  it('nobody listens', async () => {
    const probe = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => probe.once('listening', resolve))
    const { port: free } = probe.address() as AddressInfo
    await new Promise((resolve) => probe.close(resolve))
    const error = await failure(`host=127.0.0.1 port=${free} user=u`)
    expect(error).toMatchObject({ code: 'FLW-401', exit: 4, sqlstate: undefined, transient: true })
    expect(error.message).toMatch(/ECONNREFUSED/)
    // A name with two addresses fails twice, in one error without words of its own.
    expect((await failure(`host=localhost port=${free} user=u`)).message).toMatch(/ECONNREFUSED/)
    expect(await failure(`host=/nowhere port=${free} user=u`)).toMatchObject({
      code: 'FLW-401',
      transient: true,
    })
  })

  it('no such host', async () => {
    expect(await failure('host=nowhere.invalid user=u', { end: 'downstream' })).toMatchObject({
      code: 'FLW-502',
      exit: 5,
      transient: true,
    })
  })

  it('a server that says nothing', async () => {
    const silent = createServer((socket) => socket.on('error', () => {})).listen(0, '127.0.0.1')
    await new Promise((resolve) => silent.once('listening', resolve))
    cleanUp(() => silent.close())
    const { port: taken } = silent.address() as AddressInfo
    expect(await failure(`host=127.0.0.1 port=${taken} user=u connect_timeout=1`)).toMatchObject({
      code: 'FLW-403',
      transient: true,
    })
    const stop = new AbortController()
    const attempt = open(`host=127.0.0.1 port=${taken} user=u connect_timeout=0`, { signal: stop.signal })
    const reason = new Error('enough')
    silent.once('connection', () => stop.abort(reason))
    await expect(attempt).rejects.toBe(reason)
    await expect(open(upstream, { signal: stop.signal })).rejects.toBe(reason)
  })

  it('a server that shuts down', async () => {
    const server = await cluster()
    const held = await open(server.conninfo())
    process.kill(server.pid!, 'SIGTERM')
    const error = await waitUntil(() => failure(server.conninfo()))
    expect(error).toMatchObject({ code: 'FLW-407', sqlstate: '57P03', transient: true })
    await held.end()
  })
})

describe.skipIf(!available('18'))('passwords', () => {
  let server: Cluster
  beforeAll(async () => {
    server = await cluster({ password: "it's \\ ü" })
  })

  it('opens with the right one, over TCP and Unix socket', async () => {
    const client = await open(server.conninfo())
    expect(await one(client, 'SELECT 1')).toBe('1')
    await open(
      `host=${server.socketDir} port=${server.port} user=postgres password='it\\'s \\\\ ü' sslmode=require`,
    )
  })

  it('is refused with a wrong one, for good', async () => {
    const error = await failure(asUser(server.conninfo(), 'postgres', 'hunter2'))
    expect(error).toMatchObject({ code: 'FLW-404', exit: 4, sqlstate: '28P01', transient: false })
    expect(JSON.stringify([error, error.message])).not.toContain('hunter2')
  })

  it('says that there is none, and why the passfile gave none', async () => {
    const bare = asUser(server.conninfo(), 'postgres')
    const error = await failure(bare)
    expect(error).toMatchObject({ code: 'FLW-413', transient: false })
    expect(error.fix.join()).toContain(`127.0.0.1:${server.port}:postgres:postgres:`)
    const passfile = path.join(server.dir, 'passfile')
    writeFileSync(passfile, `*:*:*:postgres:it's \\\\ ü\n`)
    expect((await failure(`${bare}?passfile=${passfile}`)).message).toMatch(
      /passfile .* is ignored.*mode 644/,
    )
    chmodSync(passfile, 0o600)
    await open(`${bare}?passfile=${passfile}`)
  })
})

describe.skipIf(!available('18'))('poolers', () => {
  it('refuses one that lends a backend for a transaction', async () => {
    const { upstream } = await databases()
    const pooler = await startPooler(Number(new URL(upstream).port), 'transaction')
    cleanUp(pooler.close)
    const url = new URL(upstream)
    url.port = String(pooler.port)
    const error = await failure(`${url.href}?sslmode=disable`)
    expect(error).toMatchObject({ code: 'FLW-412', exit: 4, transient: false })
    expect(error.message).toMatch(/answers two sessions at once/)
    expect(await failure(`${url.href}?sslmode=disable`, { end: 'downstream' })).toMatchObject({
      code: 'FLW-512',
    })
  })

  it('accepts one that gives each client a backend, and leaves no second session behind', async () => {
    const { upstream, name } = await databases()
    const pooler = await startPooler(Number(new URL(upstream).port), 'session')
    cleanUp(pooler.close)
    const url = new URL(upstream)
    url.port = String(pooler.port)
    const client = await open(`${url.href}?sslmode=disable`)
    expect((client as { processID?: number }).processID).not.toBe(
      Number(await one(client, 'SELECT pg_backend_pid()')),
    )
    await waitUntil(
      async () =>
        (await value(
          inDatabase(upstream, 'postgres'),
          'SELECT count(*) FROM pg_stat_activity WHERE datname = $1',
          [name],
        )) === '1',
    )
  })
})

const openssl = (() => {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' })
    return true
  } catch {
    console.warn('SKIPPED: there is no openssl to make certificates for the tests of sslmode')
    return false
  }
})()

describe.skipIf(!openssl || !available('18'))('sslmode', () => {
  let dir: string
  let server: Cluster
  let plain: string

  beforeAll(async () => {
    dir = mkdtempSync(path.join(temporaryRoot(), 'follower-tls-'))
    chmodSync(dir, 0o755)
    cleanUp(() => rmSync(dir, { recursive: true, force: true }))
    certificate('ca', 'follower test CA')
    certificate('other', 'another CA')
    certificate('server', 'db.test', { issuer: 'ca', san: 'DNS:db.test' })
    certificate('client', 'tls_cert', { issuer: 'ca' })
    const account = serverAccount()
    if (account) chownSync(file('server.key'), account.uid, account.gid)
    server = await cluster({
      settings: {
        ssl: 'on',
        ssl_cert_file: file('server.crt'),
        ssl_key_file: file('server.key'),
        ssl_ca_file: file('ca.crt'),
      },
    })
    await statements(
      server.conninfo(),
      ['tls_only', 'plain_only', 'tls_cert', 'no_one'].map((role) => `CREATE ROLE ${role} LOGIN`),
    )
    writeFileSync(
      path.join(server.dataDir, 'pg_hba.conf'),
      `hostnossl all tls_only all reject
       hostssl all plain_only all reject
       hostssl all tls_cert all cert
       host all postgres,tls_only,plain_only all trust
       local all all trust\n`,
    )
    await script(server.conninfo(), 'SELECT pg_reload_conf()')
    await waitUntil(() => failure(address('user=no_one')))
    plain = (await databases()).upstream
  })

  const file = (name: string) => path.join(dir, name)

  function certificate(name: string, cn: string, made: { issuer?: string; san?: string } = {}): void {
    const run = (...args: string[]) => execFileSync('openssl', args, { cwd: dir, stdio: 'pipe' })
    const subject = [
      '-subj',
      `/CN=${cn}`,
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
    ]
    if (!made.issuer)
      run('req', '-x509', ...subject, '-days', '2', '-keyout', `${name}.key`, '-out', `${name}.crt`)
    else {
      run('req', '-new', ...subject, '-keyout', `${name}.key`, '-out', `${name}.csr`)
      const issuer = ['-CA', `${made.issuer}.crt`, '-CAkey', `${made.issuer}.key`, '-CAcreateserial']
      writeFileSync(
        file(`${name}.ext`),
        made.san ? `subjectAltName=${made.san}\n` : 'basicConstraints=CA:FALSE\n',
      )
      run(
        'x509',
        '-req',
        ...issuer,
        '-in',
        `${name}.csr`,
        '-days',
        '2',
        '-extfile',
        `${name}.ext`,
        '-out',
        `${name}.crt`,
      )
    }
    chmodSync(file(`${name}.key`), 0o600)
  }

  /** The server by the name of its certificate. */
  const address = (rest: string) =>
    `host=db.test hostaddr=127.0.0.1 port=${server.port} dbname=postgres ${rest.includes('user=') ? '' : 'user=postgres'} ${rest}`
  const encrypted = async (conninfo: string, options: Options = {}): Promise<unknown> =>
    one(await open(conninfo, options), 'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()')

  it.each([
    ['sslmode=disable', 'f'],
    ['sslmode=allow', 'f'],
    ['sslmode=prefer', 't'],
    ['', 't'],
    ['sslmode=require', 't'],
    ['sslmode=require sslrootcert=ca.crt', 't'],
    ['sslmode=verify-ca sslrootcert=ca.crt', 't'],
    ['sslmode=verify-full sslrootcert=ca.crt', 't'],
    ['user=tls_only sslmode=allow', 't'],
    ['user=plain_only sslmode=prefer', 'f'],
    ['user=tls_cert sslmode=require sslcert=client.crt sslkey=client.key', 't'],
  ])('connects: %s (TLS: %s)', async (rest, tls) => {
    const text = address(rest.replace(/=(\w+\.\w+)/g, (_, name: string) => `=${file(name)}`))
    expect(await encrypted(text)).toBe(tls)
    expect(await encrypted(text, { end: 'downstream' })).toBe(tls)
  })

  it.each([
    ['user=tls_only sslmode=disable', 'FLW-405', /rejects/],
    ['user=plain_only sslmode=require', 'FLW-405', /rejects/],
    ['user=no_one sslmode=require', 'FLW-405', /no pg_hba\.conf entry/],
    ['sslmode=require sslrootcert=other.crt', 'FLW-414', /certificate/],
    ['sslmode=verify-ca sslrootcert=other.crt', 'FLW-414', /certificate/],
    ['sslrootcert=system', 'FLW-414', /certificate/],
    ['sslmode=verify-full sslrootcert=ca.crt host=127.0.0.1', 'FLW-414', /altnames/],
    ['sslmode=require sslcert=client.crt sslkey=open.key', 'FLW-414', /mode 644/],
  ])('refuses: %s', async (rest, code, words) => {
    writeFileSync(file('open.key'), '', { mode: 0o644 })
    const text = address(rest.replace(/=(\w+\.(?:crt|key))/g, (_, name: string) => `=${file(name)}`))
    const error = await failure(text)
    expect(error).toMatchObject({ code, transient: false })
    expect(error.message).toMatch(words)
  })

  it('verifies the chain but not the name with verify-ca', async () => {
    expect(await encrypted(address(`host=127.0.0.1 sslmode=verify-ca sslrootcert=${file('ca.crt')}`))).toBe(
      't',
    )
  })

  it('finds the certificates of the home directory', async () => {
    const home = { HOME: mkdtempSync(path.join(dir, 'home-')) }
    execFileSync('sh', ['-c', `mkdir "$HOME/.postgresql" && cp other.crt "$HOME/.postgresql/root.crt"`], {
      cwd: dir,
      env: { ...process.env, ...home },
    })
    const conninfo = parseConninfo(address('sslmode=require'), home)
    expect(conninfo.sslrootcert).toBe(path.join(home.HOME, '.postgresql/root.crt'))
    await expect(connect({ end: 'upstream', applicationName: 'test', conninfo })).rejects.toMatchObject({
      code: 'FLW-414',
    })
  })

  it('does without TLS where the server has none, unless told otherwise', async () => {
    for (const [mode, tls] of [
      ['prefer', 'f'],
      ['allow', 'f'],
    ])
      expect(await encrypted(`${plain}?sslmode=${mode}`)).toBe(tls)
    const error = await failure(`${plain}?sslmode=require`)
    expect(error).toMatchObject({ code: 'FLW-414', transient: false })
    expect(error.fix.join()).toMatch(/ssl = on/)
  })

  it('never uses TLS on a Unix socket', async () => {
    const text = `host=${server.socketDir} port=${server.port} user=postgres sslmode=verify-full sslrootcert=${file('ca.crt')}`
    expect(await encrypted(text)).toBe('f')
  })

  it('tells the line that pg_hba.conf lacks, and that line helps', async () => {
    for (const rest of ['user=no_one sslmode=require', 'user=no_one sslmode=disable']) {
      const error = await failure(address(rest))
      expect(error).toMatchObject({ code: 'FLW-405', sqlstate: '28000' })
      const line = /pg_hba\.conf: (host.*) scram-sha-256$/.exec(error.fix[0]!)![1]
      const hba = path.join(server.dataDir, 'pg_hba.conf')
      execFileSync('sh', ['-c', 'printf "%s trust\\n" "$LINE" >> "$HBA"'], { env: { LINE: line, HBA: hba } })
      await script(`${server.conninfo()}`, 'SELECT pg_reload_conf()')
      expect(await waitUntil(() => encrypted(address(rest)))).toBe(rest.endsWith('require') ? 't' : 'f')
      execFileSync('sed', ['-i', '/no_one/d', hba])
      await script(`${server.conninfo()}`, 'SELECT pg_reload_conf()')
      await waitUntil(() => failure(address(rest)))
    }
  })
})

describe('classes of errors', () => {
  const server = (code: string) => Object.assign(new Error('x'), { severity: 'ERROR', code })
  const system = (code: string) => Object.assign(new Error('x'), { code })
  it.each(['08006', '40001', '40P01', '53100', '55P03', '55006', '57014', '57P01', '57P05'])(
    '%s may pass',
    (code) => {
      expect(isTransient(server(code))).toBe(true)
      expect(sqlstate(server(code))).toBe(code)
    },
  )
  it.each(['08P01', '22P02', '23505', '28P01', '3D000', '42501', 'XX000', 'FLW11', 'EPIPE'])(
    '%s stays',
    (code) => {
      expect(isTransient(server(code))).toBe(false)
    },
  )
  it.each(['ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ENOTFOUND'])('%s may pass, and is no SQLSTATE', (code) => {
    expect(isTransient(system(code))).toBe(true)
    expect(sqlstate(system(code))).toBeUndefined()
  })
  it('knows what is no failure of a connection', () => {
    expect(isTransient(new Error('x'))).toBe(false)
    expect(isTransient(undefined)).toBe(false)
    expect(isTransient(system('ERR_INVALID_ARG_TYPE'))).toBe(false)
    expect(isTransient(system('ENOENT'))).toBe(false)
  })
})

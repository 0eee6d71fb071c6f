import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { serverAccount, temporaryRoot } from '../src/demo/binaries.ts'
import type { Cluster } from '../src/demo/cluster.ts'
import { cleanUp } from './support/cleanup.ts'
import { failure, log } from './support/failure.ts'
import { type Follower, runFollower } from './support/follower.ts'
import { absent, cluster, databases } from './support/servers.ts'
import { query, script, statements, value } from './support/sql.ts'

const openssl = (() => {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' })
    return true
  } catch {
    return absent('openssl')
  }
})()

function directory(): string {
  const dir = mkdtempSync(path.join(temporaryRoot(), 'follower-secrets-'))
  chmodSync(dir, 0o755)
  cleanUp(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

function passfile(file: string, user: string, password: string): void {
  writeFileSync(file, `*:*:*:${user}:${password}\n`, { mode: 0o600 })
}

/** Ends every connection of the follower there: what it has open does not ask for a password again. */
async function throwOut(server: string): Promise<void> {
  await query(
    server,
    `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE 'follower/%'`,
  )
}

const count = (downstream: string) => value(downstream, 'SELECT count(*) FROM t')

/** The attempts so far that were refused, of any loudness. */
const refusals = (follower: Follower, code: string) =>
  log(follower).filter((line) => line.code === code || line.err?.code === code)

describe('while it follows', { timeout: 120_000 }, () => {
  test.each(['upstream', 'downstream'] as const)('the password is changed %s', async (end) => {
    const server = await cluster({ password: 'of the superuser' })
    const superuser = server.conninfo()
    await script(superuser, "CREATE ROLE rotated LOGIN SUPERUSER REPLICATION PASSWORD 'canary one'")
    const { [end === 'upstream' ? 'downstream' : 'upstream']: other, name } = await databases('18')
    for (const conninfo of [superuser, other]) await script(conninfo, 'CREATE TABLE t (id int PRIMARY KEY)')
    const file = path.join(directory(), 'pgpass')
    passfile(file, 'rotated', 'canary one')
    const mine = `host=${server.host} port=${server.port} dbname=postgres user=rotated passfile=${file}`
    const [upstream, downstream] = end === 'upstream' ? [mine, other] : [other, mine]
    const [above, below] = end === 'upstream' ? [superuser, other] : [other, superuser]
    const args = [
      'start',
      '--upstream',
      upstream,
      '--downstream',
      downstream,
      '--name',
      name,
      '--log-level',
      'debug',
      '--log-format',
      'json',
    ]
    const follower = runFollower(args)
    await follower.ready({ upstream: above, slot: name })
    await script(above, 'INSERT INTO t VALUES (1)')
    await follower.until(async () => (await count(below)) === '1', 'the first row')

    await script(superuser, "ALTER ROLE rotated PASSWORD 'canary two'")
    await throwOut(superuser)
    const code = end === 'upstream' ? 'FLW-404' : 'FLW-504'
    await follower.until(() => refusals(follower, code).length >= 3, 'the refusals', 30_000)
    // Each wait is longer than the one before, up to half a minute: no loop without rest.
    const waits = refusals(follower, code).map((line) => Number(line.next_attempt_in_seconds))
    expect(waits.at(-1)).toBeGreaterThan(waits[0]! * 1.5)
    expect(follower.output).not.toMatch(/canary/)
    await script(above, 'INSERT INTO t VALUES (2)')
    passfile(file, 'rotated', 'canary two')
    await follower.until(async () => (await count(below)) === '2', 'the row after the change', 60_000)
    // Who begins with a wrong one hears it at once.
    passfile(file, 'rotated', 'canary one')
    expect((await follower.stop()).code).toBe(0)
    expect(await failure(runFollower(args), end === 'upstream' ? 4 : 5)).toMatchObject({ code })
  })

  test('pg_hba.conf shuts it out and lets it in again', async () => {
    const server = await cluster()
    const { downstream, name } = await databases('18')
    for (const conninfo of [server.conninfo(), downstream])
      await script(conninfo, 'CREATE TABLE t (id int PRIMARY KEY)')
    await script(server.conninfo(), 'CREATE ROLE moved LOGIN SUPERUSER REPLICATION')
    const follower = runFollower([
      ...[
        'start',
        '--upstream',
        server.conninfo('postgres', 'moved'),
        '--downstream',
        downstream,
        '--name',
        name,
      ],
      ...['--log-format', 'json'],
    ])
    await follower.ready({ upstream: server.conninfo(), slot: name })
    const file = path.join(server.dataDir, 'pg_hba.conf')
    const before = readFileSync(file, 'utf8')
    writeFileSync(file, `host all moved all reject\n${before}`)
    await script(server.conninfo(), 'SELECT pg_reload_conf()')
    await throwOut(server.conninfo())
    await follower.until(() => refusals(follower, 'FLW-405').length > 0, 'the refusal')
    expect(refusals(follower, 'FLW-405')[0]?.err?.fix.join('\n')).toMatch(
      /pg_hba\.conf: host "postgres" "moved"/,
    )
    writeFileSync(file, before)
    await statements(server.conninfo(), ['SELECT pg_reload_conf()', 'INSERT INTO t VALUES (1)'])
    await follower.until(async () => (await count(downstream)) === '1', 'the row', 60_000)
    expect((await follower.stop()).code).toBe(0)
  })

  test.skipIf(!openssl)('certificates of server and client come from another issuer', async () => {
    const dir = directory()
    const file = (name: string) => path.join(dir, name)
    const run = (...args: string[]) => execFileSync('openssl', args, { cwd: dir, stdio: 'pipe' })
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
    const issue = (generation: string): void => {
      run(
        'req',
        '-x509',
        ...key,
        '-subj',
        `/CN=CA ${generation}`,
        '-days',
        '2',
        '-keyout',
        `ca-${generation}.key`,
        '-out',
        `ca-${generation}.crt`,
      )
      for (const [name, subject] of [
        ['server', '/CN=db.test'],
        ['client', '/CN=certified'],
      ] as const) {
        const it = `${name}-${generation}`
        run('req', '-new', ...key, '-subj', subject, '-keyout', `${it}.key`, '-out', `${it}.csr`)
        writeFileSync(file('ext'), 'subjectAltName=DNS:db.test\n')
        const issuer = ['-CA', `ca-${generation}.crt`, '-CAkey', `ca-${generation}.key`, '-CAcreateserial']
        run(
          'x509',
          '-req',
          ...issuer,
          '-in',
          `${it}.csr`,
          '-days',
          '2',
          '-extfile',
          'ext',
          '-out',
          `${it}.crt`,
        )
      }
    }
    /** Puts files in their place; the server's are its own. */
    const install = (part: 'server' | 'client', generation: string): void => {
      for (const suffix of ['crt', 'key'] as const)
        copyFileSync(file(`${part}-${generation}.${suffix}`), file(`${part}.${suffix}`))
      copyFileSync(file(`ca-${generation}.crt`), file(`${part}-root.crt`))
      chmodSync(file(`${part}.key`), 0o600)
      const account = serverAccount()
      if (account && part === 'server') chownSync(file('server.key'), account.uid, account.gid)
    }
    issue('one')
    issue('two')
    install('server', 'one')
    install('client', 'one')
    const server: Cluster = await cluster({
      settings: {
        ssl: 'on',
        ssl_cert_file: file('server.crt'),
        ssl_key_file: file('server.key'),
        ssl_ca_file: file('server-root.crt'),
      },
    })
    const { downstream, name } = await databases('18')
    for (const conninfo of [server.conninfo(), downstream])
      await script(conninfo, 'CREATE TABLE t (id int PRIMARY KEY)')
    await script(server.conninfo(), 'CREATE ROLE certified LOGIN SUPERUSER REPLICATION')
    writeFileSync(
      path.join(server.dataDir, 'pg_hba.conf'),
      'hostssl all certified all cert\nhostnossl all certified all reject\nhost all postgres all trust\n',
    )
    await script(server.conninfo(), 'SELECT pg_reload_conf()')
    const upstream = `host=db.test hostaddr=127.0.0.1 port=${server.port} dbname=postgres user=certified sslmode=verify-full
      sslrootcert=${file('client-root.crt')} sslcert=${file('client.crt')} sslkey=${file('client.key')}`
    const follower = runFollower([
      'start',
      '--upstream',
      upstream,
      '--downstream',
      downstream,
      '--name',
      name,
      '--log-format',
      'json',
    ])
    await follower.ready({ upstream: server.conninfo(), slot: name })
    await script(server.conninfo(), 'INSERT INTO t VALUES (1)')
    await follower.until(async () => (await count(downstream)) === '1', 'the first row')

    // The server first: the follower trusts its new issuer only once it is told to.
    install('server', 'two')
    await script(server.conninfo(), 'SELECT pg_reload_conf()')
    await throwOut(server.conninfo())
    await follower.until(() => refusals(follower, 'FLW-414').length > 0, 'the refusal')
    await script(server.conninfo(), 'INSERT INTO t VALUES (2)')
    install('client', 'two')
    await follower.until(async () => (await count(downstream)) === '2', 'the row after the change', 60_000)
    expect(
      await query(
        server.conninfo(),
        `SELECT DISTINCT issuer_dn FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'certified'`,
      ),
    ).toEqual([{ issuer_dn: '/CN=CA two' }])
    expect((await follower.stop()).code).toBe(0)
  })
})

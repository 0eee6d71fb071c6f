import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, test } from 'vitest'
import { buildImage, composed, docker, engine, systemdMachine } from './support/docker.ts'
import { waitUntil } from './support/wait.ts'

const patience = { timeout: 120_000, interval: 500 }

describe.skipIf(!engine())('in containers', () => {
  let image: string
  beforeAll(async () => {
    image = await buildImage()
  }, 600_000)

  test('the image runs as nobody, without rights and with nothing to write', async () => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8'))
    const bare = ['run', '--rm', '--read-only', '--cap-drop', 'ALL', '--network', 'none']
    expect(await docker(...bare, image, '--version')).toContain(`follower ${version} (revision test, node `)
    expect(await docker(...bare, '--entrypoint', 'id', image, '-u')).toBe('65532')
    expect(await docker('inspect', '-f', '{{json .Config.Entrypoint}}', image)).toBe(
      '["node","/app/dist/cli.js"]',
    )
    const files = await docker(...bare, '--entrypoint', 'ls', image, '/app', '/app/node_modules')
    expect(files.split('\n')).toEqual(expect.arrayContaining(['dist', 'sql', 'pg', 'pino']))
    expect(files).not.toMatch(/vitest|typescript|^(src|test)$/m)
    await expect(docker(...bare, image)).rejects.toMatchObject({ code: 2 })
  })

  test('compose: it becomes healthy, follows, is scraped, and stops in order', {
    timeout: 600_000,
  }, async () => {
    const { compose, web, prometheus, inspect, psql } = await composed(image)
    await compose('up', '-d', '--no-build')
    const healthy = async () =>
      (await inspect('follower', '{{.State.Health.Status}}').catch(String)) === 'healthy'
    await waitUntil(healthy, { ...patience, what: 'a healthy follower' })
    await waitUntil(async () => (await fetch(`${web}/readyz`)).ok, { ...patience, what: 'readiness' })

    await psql('upstream', 'CREATE TABLE t (id int PRIMARY KEY, v text)')
    await psql('upstream', "INSERT INTO t VALUES (1, 'one')")
    await psql('upstream', 'ALTER TABLE t ADD COLUMN w int DEFAULT 7')
    const rows = () => psql('downstream', 'SELECT * FROM t')
    await waitUntil(async () => (await rows()) === '1|one|7', { ...patience, what: 'the row downstream' })

    const query = `${prometheus}/api/v1/query?query=follower_upstream_up`
    const scraped = async () => (await (await fetch(query)).text()).includes(',"1"]')
    await waitUntil(scraped, { ...patience, what: 'a sample in Prometheus' })

    const status = await compose('exec', '-T', 'follower', 'node', '/app/dist/cli.js', 'status', '--json')
    expect(JSON.parse(status)).toMatchObject({ state: 'following' })
    await compose('stop', 'follower')
    expect(await inspect('follower', '{{.State.ExitCode}} {{.State.OOMKilled}}')).toBe('0 false')
  })

  test('systemd runs the unit: sandbox, credential, watchdog, exit codes', { timeout: 600_000 }, async () => {
    const machine = await systemdMachine(image)
    const show = async (property: string) => machine(`systemctl show -P ${property} follower`)
    const shown = (property: string, expected: string | RegExp) =>
      waitUntil(async () => (await show(property)).match(expected), { ...patience, what: property })
    const psql = (database: string, text: string) =>
      machine(`runuser -u postgres -- psql -At ${database} -c "${text}"`)
    await waitUntil(() => psql('postgres', 'SELECT 1'), { ...patience, what: 'PostgreSQL' })
    await psql('postgres', "ALTER USER postgres PASSWORD 'secret'")
    for (const name of ['up', 'down']) {
      await psql('postgres', `CREATE DATABASE ${name}`)
      await psql(name, 'CREATE TABLE t (id int PRIMARY KEY)')
    }
    const dropIn = '/etc/systemd/system/follower.service.d'
    await machine(`
      mount --make-rshared /   # As systemd does it, but in a container: credentials are mounts.
      umask 077; mkdir /etc/follower ${dropIn}
      echo 'FOLLOWER_UPSTREAM="host=127.0.0.1 dbname=up user=postgres"' >/etc/follower/follower.env
      echo 'FOLLOWER_DOWNSTREAM="host=127.0.0.1 dbname=down user=postgres"' >>/etc/follower/follower.env
      echo '*:*:*:postgres:secret' >/etc/follower/pgpass
      printf '[Service]\nLoadCredential=pgpass:/etc/follower/pgpass\nEnvironment=PGPASSFILE=%%d/pgpass\n' >${dropIn}/pgpass.conf
      systemctl daemon-reload; systemctl start follower`)
    // systemctl start has waited for READY=1.
    expect(await show('ActiveState')).toBe('active')
    await shown('StatusText', /^streaming/)
    await psql('up', 'INSERT INTO t VALUES (1)')
    await waitUntil(async () => (await psql('down', 'SELECT * FROM t')) === '1', patience)
    const status = await machine('cat /proc/$(systemctl show -P MainPID follower)/status')
    expect(status).toMatch(/^CapEff:\t0+$/m)
    expect(status).toMatch(/^Seccomp:\t2$/m)
    expect(status).not.toMatch(/^Uid:\t0/m)

    await machine(`
      printf '[Service]\nEnvironment=FOLLOWER_FAILPOINT=apply.before-commit:hang\nWatchdogSec=3\n' >${dropIn}/wedge.conf
      systemctl daemon-reload; systemctl restart follower`)
    await psql('up', 'INSERT INTO t VALUES (2)')
    await waitUntil(async () => Number(await show('NRestarts')) > 0, { timeout: 150_000, interval: 1000 })
    expect(await machine('journalctl -u follower')).toContain('Watchdog timeout')
    await machine(`rm ${dropIn}/wedge.conf; systemctl daemon-reload; systemctl restart follower`)
    await waitUntil(async () => (await psql('down', 'SELECT max(id) FROM t')) === '2', patience)
    await machine('systemctl stop follower')
    expect([await show('Result'), await show('ExecMainStatus')]).toEqual(['success', '0'])

    await machine(
      'echo FOLLOWER_OPTIONS=--tabels >>/etc/follower/follower.env; systemctl start follower || true',
    )
    expect([await show('ActiveState'), await show('ExecMainStatus')]).toEqual(['failed', '2'])
  })
})

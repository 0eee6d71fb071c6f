import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, test } from 'vitest'
import { buildImage, composed, docker, engine } from './support/docker.ts'
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
})

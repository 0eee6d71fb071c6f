import { expect, it } from 'vitest'
import { TcpProxy } from './chaos/proxy.ts'
import { compareDatabases } from './support/comparator.ts'
import { runFollower } from './support/follower.ts'
import { json, pulling } from './support/pull.ts'
import { databases } from './support/servers.ts'
import { script, value } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

it('a stream that falls behind by its own slowness makes way for pulling', { timeout: 240_000 }, async () => {
  const { upstream, downstream, name } = await databases('18')
  const table = 'CREATE TABLE t (id int PRIMARY KEY, a text)'
  for (const end of [upstream, downstream]) await script(end, table)
  const proxy = await TcpProxy.listen(() => Number(new URL(upstream).port))
  try {
    const through = new URL(upstream)
    through.hostname = proxy.host
    through.port = String(proxy.port)
    const ends = ['--upstream', through.href, '--downstream', downstream, '--name', name]
    const it = runFollower(['start', ...ends, ...json], { env: pulling(100_000) })
    await it.ready({ upstream })
    const pulls = (): number => it.output.match(/"msg":"pulled /g)?.length ?? 0
    const before = pulls()
    // Each connection has so little that the stream can't keep up; what it brings are small transactions.
    proxy.slow(50_000)
    await script(
      upstream,
      `DO $$BEGIN FOR i IN 1..60000 LOOP INSERT INTO t VALUES (i, repeat('x', 800)); COMMIT; END LOOP; END$$`,
    )
    await waitUntil(() => /"msg":"the stream falls behind/.test(it.output), {
      what: 'the stream to be given up',
      timeout: 120_000,
    })
    proxy.pass()
    await waitUntil(async () => (await value(downstream, 'SELECT count(*) FROM t')) === '60000', {
      what: 'all rows',
      timeout: 60_000,
    })
    expect(pulls()).toBeGreaterThan(before)
    expect(await it.stop()).toMatchObject({ code: 0 })
    expect(await compareDatabases(upstream, downstream)).toEqual([])
  } finally {
    await proxy.close()
  }
})

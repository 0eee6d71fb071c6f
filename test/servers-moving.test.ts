import { expect, test } from 'vitest'
import { TcpProxy } from './chaos/proxy.ts'
import { cleanUp } from './support/cleanup.ts'
import { log } from './support/failure.ts'
import { runFollower } from './support/follower.ts'
import { available, databases } from './support/servers.ts'
import { script, value } from './support/sql.ts'

test.skipIf(!available('18')).each([
  ['upstream', 'FLW-416'],
  ['downstream', 'FLW-516'],
] as const)(
  'an address that moves between two servers while the %s is being connected',
  async (end, code) => {
    const it = await databases('18')
    for (const conninfo of [it.upstream, it.downstream])
      await script(conninfo, 'CREATE TABLE t (id int PRIMARY KEY)')
    const url = new URL(it[end])
    const right = Number(url.port)
    const wrong = Number(new URL(it[end === 'upstream' ? 'downstream' : 'upstream']).port)
    let path: number[] = []
    const proxy = await TcpProxy.listen(() => path.shift() ?? right)
    cleanUp(() => proxy.close())
    url.port = String(proxy.port)
    url.searchParams.set('sslmode', 'disable')
    const ends = { upstream: it.upstream, downstream: it.downstream, [end]: url.href }
    const follower = runFollower([
      ...['start', '--upstream', ends.upstream, '--downstream', ends.downstream, '--name', it.name],
      ...['--log-format', 'json'],
    ])
    await follower.ready({ upstream: it.upstream, slot: it.name })
    // Of its two connections there the first reaches the one server, the second the other.
    path = [right, wrong]
    proxy.cut()
    await follower.until(() => log(follower).some((line) => line.err?.code === code), `error ${code}`)
    await script(it.upstream, 'INSERT INTO t VALUES (1)')
    await follower.until(
      async () => (await value(it.downstream, 'SELECT count(*) FROM t')) === '1',
      'the row',
    )
    expect((await follower.stop()).code).toBe(0)
  },
)

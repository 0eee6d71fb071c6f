import { expect, test } from 'vitest'
import { TcpProxy } from './chaos/proxy.ts'
import { cleanUp } from './support/cleanup.ts'
import { log } from './support/failure.ts'
import { runFollower } from './support/follower.ts'
import { databases, inDatabase } from './support/servers.ts'
import { script, value } from './support/sql.ts'

/** The server of a conninfo behind a proxy that can fall silent without closing anything. */
async function behindProxy(conninfo: string): Promise<{ through: string; proxy: TcpProxy }> {
  const url = new URL(conninfo)
  const target = Number(url.port)
  const proxy = await TcpProxy.listen(() => target)
  cleanUp(() => proxy.close())
  url.port = String(proxy.port)
  return { through: url.href, proxy }
}

test.each([
  ['upstream', 'FLW-411', 'down'],
  ['downstream', 'FLW-511', 'both'],
] as const)(
  'a connection %s that falls silent is given up (%s, %s)',
  { timeout: 150_000 },
  async (end, code, direction) => {
    const it = await databases('18')
    for (const conninfo of [it.upstream, it.downstream])
      await script(conninfo, 'CREATE TABLE t (id int PRIMARY KEY)')
    await script(
      inDatabase(it.upstream, 'postgres'),
      `ALTER DATABASE ${it.name} SET wal_sender_timeout = '3s'`,
    )
    const { through, proxy } = await behindProxy(it[end])
    const ends = { upstream: it.upstream, downstream: it.downstream, [end]: through }
    const follower = runFollower([
      ...['start', '--upstream', ends.upstream, '--downstream', ends.downstream, '--name', it.name],
      ...['--log-format', 'json'],
    ])
    await follower.ready({ upstream: it.upstream, slot: it.name })
    const count = () => value(it.downstream, 'SELECT count(*) FROM t')
    await script(it.upstream, 'INSERT INTO t VALUES (1)')
    await follower.until(async () => (await count()) === '1', 'the first row')
    proxy.stall(direction)
    await script(it.upstream, 'INSERT INTO t VALUES (2)')
    await follower.until(() => log(follower).some((line) => line.err?.code === code), `error ${code}`, 90_000)
    proxy.pass()
    await script(it.upstream, 'INSERT INTO t VALUES (3)')
    await follower.until(async () => (await count()) === '3', 'all rows', 60_000)
    expect((await follower.stop()).code).toBe(0)
  },
)

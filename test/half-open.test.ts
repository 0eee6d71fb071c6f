import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { cleanUp } from './support/cleanup.ts'
import { follow } from './support/follow.ts'
import { available } from './support/servers.ts'
import { query, value } from './support/sql.ts'

/** A proxy before a server that can lose the near half of all its connections, so that the server keeps the far half. */
async function halving(conninfo: string) {
  const target = new URL(conninfo)
  const halves = new Map<Socket, Socket>()
  const proxy = createServer((near) => {
    const far = connect(Number(target.port), target.hostname)
    halves.set(near, far)
    near.on('error', () => {}).on('data', (data) => far.write(data))
    far.on('error', () => {}).on('data', (data) => near.write(data))
    far.on('close', () => near.destroy())
    near.on('end', () => far.end())
  })
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  const each = (act: (near: Socket, far: Socket) => void): void => {
    for (const [near, far] of halves) act(near, far)
  }
  cleanUp(() => {
    each((near, far) => void [near, far].map((socket) => socket.destroy()))
    proxy.close()
  })
  const through = new URL(conninfo)
  through.port = String((proxy.address() as AddressInfo).port)
  return {
    conninfo: through.href,
    lose: () => each((near) => near.removeAllListeners('end').destroy()),
    /** What the server says stays with the proxy from now on. Resolves when it is asked something with these words. */
    silence: (words: string) =>
      new Promise<void>((resolve) =>
        each((near, far) => {
          far.pause()
          near.on('data', (data) => data.includes(words) && resolve())
        }),
      ),
  }
}

test.skipIf(!available('18'))(
  'with --no-wait, sessions that the servers still hold after a cut are no other follower',
  async () => {
    const f = await follow({ before: ['CREATE TABLE t (a int PRIMARY KEY)'] })
    expect(await f.stop()).toBe(0)
    const [up, down] = [await halving(f.upstream), await halving(f.downstream)]
    f.start(['--upstream', up.conninfo, '--downstream', down.conninfo, '--no-wait'])
    await f.run('INSERT INTO t VALUES (1)')
    const slot = 'SELECT active_pid FROM pg_replication_slots WHERE slot_name = $1'
    const lock = `SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND database =
      (SELECT oid FROM pg_database WHERE datname = current_database())`
    const walsender = await value(f.upstream, slot, [f.name])
    const holder = await value(f.downstream, lock)

    up.lose()
    down.lose()
    await f.follower.line(/another follower of/)
    expect(await value(f.upstream, slot, [f.name])).toBe(walsender)
    expect(await value(f.downstream, lock)).toBe(holder)
    await query(f.downstream, 'SELECT pg_terminate_backend($1)', [holder])
    await f.follower.line(/is active for PID/)
    await query(f.upstream, 'SELECT pg_terminate_backend($1)', [walsender])
    await f.run('INSERT INTO t VALUES (2)')
    expect(await f.stop()).toBe(0)
  },
)

test.skipIf(!available('18'))(
  'what is asked of a silent upstream when it is stopped is no error',
  async () => {
    const f = await follow()
    expect(await f.stop()).toBe(0)
    const up = await halving(f.upstream)
    f.start(['--upstream', up.conninfo])
    await f.settle()
    await up.silence('r.sync_state')
    expect(await f.stop(), f.follower.output).toBe(0)
    expect(f.follower.output).not.toContain('"level":"error"')
  },
)

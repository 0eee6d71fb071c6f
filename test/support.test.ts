import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { describe, expect, test } from 'vitest'
import { TcpProxy } from './chaos/proxy.ts'
import { cleanUp } from './support/cleanup.ts'
import { available, cluster, databases } from './support/servers.ts'
import { client, query, script, value } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

describe.each(['18', '15', '15-18', '18-15'] as const)('the pair %s', (pair) => {
  test.skipIf(!available(pair))('gives two empty databases that share a name and nothing else', async () => {
    const { upstream, downstream, name } = await databases(pair)
    await script(upstream, 'CREATE TABLE t (a int8); INSERT INTO t VALUES (9007199254740993)')
    expect(await query(upstream, 'SELECT a FROM t WHERE a > $1', [1])).toEqual([{ a: '9007199254740993' }])
    expect(await value(downstream, "SELECT to_regclass('t')")).toBeNull()
    expect(await value(downstream, 'SELECT current_database()')).toBe(name)
    const major = async (end: string) => Number(await value(end, 'SHOW server_version_num')) / 10000
    expect([Math.trunc(await major(upstream)), Math.trunc(await major(downstream))]).toEqual(
      pair.length === 2 ? [Number(pair), Number(pair)] : pair.split('-').map(Number),
    )
  })
})

let left: { upstream: string; name: string } | undefined

test('a test may leave slots, prepared transactions and connections', async () => {
  left = await databases()
  await script(left.upstream, 'CREATE TABLE t (a int)')
  await query(left.upstream, 'SELECT pg_create_logical_replication_slot($1, $2)', [left.name, 'pgoutput'])
  const session = await client(left.upstream)
  await session.query("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'left'")
})

test('and the next finds nothing of them', async () => {
  const { upstream } = await databases()
  expect(await query(upstream, 'SELECT 1 FROM pg_database WHERE datname = $1', [left?.name])).toEqual([])
  expect(
    await query(upstream, 'SELECT 1 FROM pg_replication_slots WHERE slot_name = $1', [left?.name]),
  ).toEqual([])
})

test('a server of its own keeps port and rows over SIGKILL, and wants its password', async () => {
  const server = await cluster({
    password: 'it’s "a" p@ss',
    settings: { fsync: 'on', log_min_messages: 'info' },
  })
  const port = server.port
  await script(server.conninfo(), 'CREATE TABLE t (a int); INSERT INTO t VALUES (1)')
  await server.restart('kill')
  expect(server.port).toBe(port)
  expect(await value(server.conninfo(), 'SELECT a FROM t')).toBe('1')
  await expect(query(server.conninfo().replace(/:[^:@]*@/, ':wrong@'), 'SELECT 1')).rejects.toMatchObject({
    code: '28P01',
  })
})

test('servers do not outlive a process that is killed', async () => {
  const code = `import { startCluster } from '${import.meta.resolve('../dist/demo/cluster.js')}'
    const { dir, pid } = await startCluster()
    console.log(JSON.stringify({ dir, pid }))
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  cleanUp(() => child.kill('SIGKILL'))
  const line = await new Promise<string>((resolve) =>
    child.stdout.once('data', (data) => resolve(String(data))),
  )
  const { dir, pid } = JSON.parse(line) as { dir: string; pid: number }
  expect(existsSync(dir) && existsSync(`/proc/${pid}`)).toBe(true)
  child.kill('SIGKILL')
  await waitUntil(() => !existsSync(dir) && !existsSync(`/proc/${pid}`))
})

test('a slow proxy that passes everything again keeps the order of the bytes', async () => {
  const received: Buffer[] = []
  const server = createServer((socket) => socket.on('data', (chunk: Buffer) => received.push(chunk)))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanUp(() => server.close())
  const proxy = await TcpProxy.listen(() => (server.address() as AddressInfo).port)
  cleanUp(() => proxy.close())
  const socket = connect(proxy.port, proxy.host)
  cleanUp(() => socket.destroy())
  const sent = Buffer.from(Array.from({ length: 40_000 }, (_, i) => i % 251))
  proxy.slow(50_000)
  socket.write(sent.subarray(0, 20_000))
  await waitUntil(() => received.length > 0)
  socket.write(sent.subarray(20_000))
  proxy.pass()
  await waitUntil(() => Buffer.concat(received).length === sent.length)
  expect(Buffer.concat(received).equals(sent)).toBe(true)
})

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import pg from 'pg'
import type { TestProject } from 'vitest/node'
import { type Cluster, startCluster } from '../src/demo/cluster.ts'
import { majors, serverBinDir } from './support/binaries.ts'
import { streamed } from './support/streaming.ts'

declare module 'vitest' {
  export interface ProvidedContext {
    serversUrl: string
  }
}

/**
 * Servers that all test files share, started when the first test asks: `GET /18-upstream` answers the URI of its
 * database `postgres`. They belong to this process, since the workers come and go.
 */
export default async function setUp(project: TestProject): Promise<() => Promise<void>> {
  const started = new Map<string, Promise<Cluster>>()
  const get = (name: string): Promise<Cluster> => {
    const cluster = started.get(name) ?? startNamed(name)
    started.set(name, cluster)
    return cluster
  }
  const http = createServer((request, response) => {
    get(request.url?.slice(1) ?? '').then(
      (cluster) => response.end(cluster.conninfo()),
      (error: unknown) => response.writeHead(500).end(String(error)),
    )
  })
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  http.unref()
  project.provide('serversUrl', `http://127.0.0.1:${(http.address() as AddressInfo).port}`)

  return async () => {
    http.close()
    for (const cluster of started.values()) await cluster.then((it) => it.destroy()).catch(() => {})
  }
}

async function startNamed(name: string): Promise<Cluster> {
  const major = majors.find((each) => name === `${each}-upstream` || name === `${each}-downstream`)
  const binDir = major && serverBinDir(major)
  if (!binDir) throw new Error(`no server ${name} on this machine`)
  const cluster = await startCluster({ binDir, settings: streamed })
  await trustWal2json(cluster.conninfo())
  return cluster
}

/** Recent minor releases load only output plugins that this setting names; older ones do not know it. */
async function trustWal2json(conninfo: string): Promise<void> {
  const client = new pg.Client({ connectionString: conninfo })
  await client.connect()
  const found = await client.query("SELECT FROM pg_settings WHERE name = 'output_plugin_libraries'")
  if (found.rowCount === 1) {
    await client.query("ALTER SYSTEM SET output_plugin_libraries = 'pgoutput', 'test_decoding', 'wal2json'")
    await client.query('SELECT pg_reload_conf()')
  }
  await client.end()
}

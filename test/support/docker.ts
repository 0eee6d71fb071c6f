import { execFile, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { type AddressInfo, createServer } from 'node:net'
import { promisify } from 'node:util'
import { cleanUp } from './cleanup.ts'
import { runs } from './notify-socket.ts'

const run = promisify(execFile)

/** The images that the tests build upon; test/docker/run.sh makes such as need no registry. */
export const images = {
  base: process.env.BASE_IMAGE ?? 'debian:12',
  node: process.env.NODE_IMAGE ?? 'node:24-bookworm-slim',
  postgres: process.env.POSTGRES_IMAGE ?? 'postgres:18',
  prometheus: process.env.PROMETHEUS_IMAGE ?? 'prom/prometheus:v3.5.0',
}

/** Whether tests in containers are asked for (FOLLOWER_DOCKER=1) and an engine answers; skips loudly where none does. */
export function engine(): boolean {
  return process.env.FOLLOWER_DOCKER === '1' && runs('docker', 'version')
}

/** Runs docker to its end and returns what it prints. */
export async function docker(...args: readonly string[]): Promise<string> {
  const { stdout } = await run('docker', [...args], { maxBuffer: 64 * 1024 * 1024 })
  return stdout.trim()
}

/** Builds the image of this project and returns its name. */
export async function buildImage(): Promise<string> {
  const name = 'pg-follower:test'
  // The network of the host: names that only this machine knows lead to packages, too.
  await docker(
    ...['build', '--network', 'host', '--build-arg', `NODE_IMAGE=${images.node}`],
    ...['--build-arg', 'REVISION=test', '-f', 'docker/Dockerfile', '-t', name, '.'],
  )
  return name
}

/**
 * A machine whose process 1 is systemd, with PostgreSQL, the program of `image` and its unit; gone at the end of the test.
 * Returns what runs a script of bash in it.
 */
export async function systemdMachine(image: string): Promise<(script: string) => Promise<string>> {
  const name = 'pg-follower-systemd:test'
  await docker(
    ...[
      'build',
      '--network',
      'host',
      '--build-arg',
      `BASE=${images.base}`,
      '--build-arg',
      `FOLLOWER=${image}`,
    ],
    ...['-f', 'test/docker/systemd/Dockerfile', '-t', name, '.'],
  )
  const container = await docker(
    // Mounts and control groups are systemd's work; not --privileged, which an engine in a container can't give.
    ...['run', '-d', '--cgroupns', 'host'],
    ...['SYS_ADMIN', 'NET_ADMIN', 'SYS_PTRACE'].flatMap((capability) => ['--cap-add', capability]),
    ...['--security-opt', 'seccomp=unconfined', '--security-opt', 'apparmor=unconfined'],
    ...['--tmpfs', '/run', '--tmpfs', '/tmp', '-v', '/sys/fs/cgroup:/sys/fs/cgroup:rw', name],
  )
  cleanUp(() => docker('rm', '-f', '-v', container))
  return (script) => docker('exec', container, 'bash', '-c', script)
}

/** docker/compose.yaml under a project name of its own; down, volumes included, at the end of the test. */
export async function composed(image: string) {
  const project = `follower-test-${randomBytes(4).toString('hex')}`
  const [port, prometheusPort] = [await freePort(), await freePort()]
  const env = {
    ...process.env,
    POSTGRES_IMAGE: images.postgres,
    PROMETHEUS_IMAGE: images.prometheus,
    FOLLOWER_IMAGE: image,
    FOLLOWER_PORT: String(port),
    PROMETHEUS_PORT: String(prometheusPort),
  }
  // Version 2 is a plugin of docker, version 1 a program.
  const v2 = spawnSync('docker', ['compose', 'version']).status === 0
  const [file, ...before] = v2 ? ['docker', 'compose'] : ['docker-compose']
  const compose = async (...args: readonly string[]): Promise<string> => {
    const all = [...before, '-f', 'docker/compose.yaml', '-p', project, ...args]
    const { stdout } = await run(file!, all, { env, maxBuffer: 64 * 1024 * 1024 })
    return stdout.trim()
  }
  cleanUp(() => compose('down', '--volumes', '--timeout', '1'))
  return {
    compose,
    web: `http://127.0.0.1:${port}`,
    prometheus: `http://127.0.0.1:${prometheusPort}`,
    /** A Go template on what `docker inspect` knows of a service's container, also of one that has ended. */
    inspect: async (service: string, template: string) =>
      docker('inspect', '-f', template, (await compose('ps', '-a', '-q', service)) || 'none'),
    psql: (service: string, text: string) =>
      compose('exec', '-T', service, 'psql', '-U', 'postgres', '-At', '-c', text, 'shop'),
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

import { existsSync } from 'node:fs'
import { conninfoError } from './conninfo-keywords.ts'

/** Where one server is. */
export interface Place {
  readonly host: string
  readonly hostaddr?: string
  readonly port: number
}

/** Debian's place of the Unix socket. */
const socketDirectory = '/var/run/postgresql'

/**
 * The places that `host`, `hostaddr` and `port` name: lists with commas, as libpq has them. One port is for all hosts; an
 * empty item is the default. Throws FollowerError exit 3.
 * https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-MULTIPLE-HOSTS
 */
export function readPlaces(values: ReadonlyMap<string, string>): readonly Place[] {
  const list = (keyword: string): readonly string[] => (values.get(keyword) ?? '').split(',')
  const hostaddrs = list('hostaddr')
  const hosts = values.has('host') ? list('host') : hostaddrs.map(() => '')
  const ports = list('port')
  if (values.has('hostaddr') && hostaddrs.length !== hosts.length)
    throw wrongCount('hostaddr', hostaddrs.length, hosts.length)
  if (ports.length > 1 && ports.length !== hosts.length) throw wrongCount('port', ports.length, hosts.length)
  return hosts.map((host, index) => {
    const hostaddr = hostaddrs[index] || undefined
    return {
      host: readHost(host || hostaddr || defaultHost()),
      ...(hostaddr === undefined || host === '' ? {} : { hostaddr }),
      port: readPort(ports[ports.length === 1 ? 0 : index] ?? ''),
    }
  })
}

/** An integer as libpq reads it. Throws FollowerError exit 3. */
export function readInteger(keyword: string, text: string): number {
  if (/^\s*[+-]?\d{1,9}\s*$/.test(text)) return Number(text)
  throw conninfoError('FLW-023', `conninfo: ${keyword} is not an integer: ${JSON.stringify(text)}`)
}

function readHost(host: string): string {
  // libpq's third kind of host, an abstract socket.
  if (host.startsWith('@'))
    throw conninfoError('FLW-022', 'conninfo: follower does not support abstract Unix sockets')
  return host
}

function readPort(text: string): number {
  const port = text === '' ? 5432 : readInteger('port', text)
  if (port < 1 || port > 65535)
    throw conninfoError('FLW-023', `conninfo: port ${text} is not between 1 and 65535`)
  return port
}

function defaultHost(): string {
  return existsSync(socketDirectory) ? socketDirectory : 'localhost'
}

function wrongCount(keyword: string, count: number, hosts: number): Error {
  return conninfoError('FLW-023', `conninfo: ${keyword} has ${count} items, and there are ${hosts} hosts`, {
    fix: [`give one ${keyword} for each host${keyword === 'port' ? ', or one for all' : ''}`],
  })
}

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { ExitCode, FollowerError } from '../errors.ts'
import type { Check, Health } from './health.ts'
import type { Logger } from './log.ts'
import type { Metrics } from './metrics.ts'

/** Where to serve. `chosen`: the user named it, so that failing to listen there is an error. */
export interface WebAddress {
  readonly host: string
  readonly port: number
  readonly chosen: boolean
}

export interface WebSources {
  readonly metrics: Metrics
  readonly health: Health
  readonly log: Logger
}

export interface Web {
  readonly url: string
  close(): Promise<void>
}

/**
 * Serves GET /metrics, /livez and /readyz; never keeps the process alive. Where the address can't be had:
 * undefined and a warning, or FollowerError exit 3 if the user chose it.
 */
export async function listenWeb(address: WebAddress, sources: WebSources): Promise<Web | undefined> {
  const server = createServer(
    {
      headersTimeout: 5_000,
      requestTimeout: 10_000,
      keepAliveTimeout: 5_000,
      connectionsCheckingInterval: 1_000,
      maxHeaderSize: 8_192,
    },
    (request, response) => {
      respond(request, response, sources).catch((error: unknown) => {
        sources.log.warn({ err: error }, 'web request failed')
        response.destroy()
      })
    },
  )
  server.maxConnections = 64
  server.setTimeout(15_000)
  try {
    await listening(server, address)
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    if (address.chosen) throw notListening(address, reason, error)
    sources.log.warn({ reason }, 'no metrics and no probes: choose an address with --web-listen')
    return undefined
  }
  server.unref()
  const { address: host, port } = server.address() as AddressInfo
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function listening(server: Server, { host, port }: WebAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port }, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

function notListening({ host, port }: WebAddress, reason: string, cause: unknown): FollowerError {
  return new FollowerError(`cannot listen on ${host}:${port} for metrics and probes`, {
    code: 'FLW-014',
    exit: ExitCode.config,
    detail: reason,
    effect: 'nothing was started',
    fix: ['choose another address: --web-listen 127.0.0.1:9578', 'or none: --web-listen off'],
    cause,
  })
}

async function respond(
  request: IncomingMessage,
  response: ServerResponse,
  { metrics, health }: WebSources,
): Promise<void> {
  request.resume()
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('allow', 'GET, HEAD')
    return send(response, 405, 'only GET and HEAD\n')
  }
  const [path, query] = (request.url ?? '/').split('?', 2)
  const verbose = new URLSearchParams(query).has('verbose')
  switch (path) {
    case '/metrics':
      return send(response, 200, await metrics.registry.metrics(), metrics.registry.contentType)
    case '/livez':
      return sendChecks(response, health.liveChecks(), verbose)
    case '/readyz':
      return sendChecks(response, health.ready(), verbose)
    default:
      return send(response, 404, 'not here; there are /metrics, /livez and /readyz\n')
  }
}

function sendChecks(response: ServerResponse, checks: readonly Check[], verbose: boolean): void {
  const ok = checks.every((check) => check.ok)
  const lines = checks.map((check) => {
    const verdict = check.ok ? `[+] ${check.name} ok` : `[-] ${check.name} failed`
    return verbose || !check.ok ? `${verdict}: ${check.detail}` : verdict
  })
  send(response, ok ? 200 : 503, `${lines.join('\n')}\n${ok ? 'ok' : 'not ok'}\n`)
}

function send(
  response: ServerResponse,
  status: number,
  body: string,
  type = 'text/plain; charset=utf-8',
): void {
  response.writeHead(status, {
    'content-type': type,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  })
  response.end(body)
}

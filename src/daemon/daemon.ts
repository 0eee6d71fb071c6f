import type { DaemonSettings } from '../config/settings.ts'
import { ExitCode, FollowerError, formatError } from '../errors.ts'
import { runFollow } from '../follower.ts'
import type { FollowSettings } from '../model/follow.ts'
import { readBuild } from '../telemetry/build.ts'
import { Health } from '../telemetry/health.ts'
import { createLogger, type Logger, logsForPeople } from '../telemetry/log.ts'
import { createMetrics, primeMetrics, showState } from '../telemetry/metrics.ts'
import { protectSecret, redact } from '../telemetry/redact.ts'
import { Screen } from '../telemetry/screen.ts'
import { listenWeb } from '../telemetry/web.ts'
import { ServiceManager } from './service-manager.ts'
import { endOnUncaught, stopOnSignal } from './signals.ts'

/**
 * Runs one follow in the foreground, with its log, metrics, probes and signals, until it is stopped or needs
 * a person. Resolves with the process's exit code.
 */
export async function runDaemon(
  follow: FollowSettings,
  daemon: DaemonSettings,
  warnings: readonly string[],
): Promise<ExitCode> {
  for (const end of [follow.upstream, follow.downstream]) protectSecret(await passwordOf(end.password))
  const logging = { level: daemon.logLevel, format: daemon.logFormat }
  const screen = Screen.ofProcess(logging)
  const log = createLogger({ ...logging, screen })
  endOnUncaught(log)
  const stop = stopOnSignal(log)
  for (const warning of warnings) log.warn(warning)
  const { name } = follow
  const metrics = createMetrics()
  const health = new Health()
  primeMetrics(metrics, name)
  showState(metrics, name, health.state)
  const serviceManager = ServiceManager.of(health, log, process.env)
  stop.signal.addEventListener('abort', () => serviceManager?.stop(), { once: true })
  health.onState = (state) => {
    showState(metrics, name, state)
    log.debug({ state }, 'state')
    serviceManager?.look()
  }
  try {
    const web = daemon.web === 'off' ? undefined : await listenWeb(daemon.web, { metrics, health, log })
    const { version } = readBuild()
    const { upstream, downstream } = follow
    log.info(
      { follow: name, version, upstream: upstream.display, downstream: downstream.display, web: web?.url },
      'follower starts',
    )
    try {
      await runFollow(follow, { log, metrics, health, stop: stop.signal, screen })
    } finally {
      await web?.close()
    }
    log.info({ follow: name }, 'follower ends')
    return ExitCode.ok
  } catch (error) {
    return report(error, log, logsForPeople(daemon.logFormat))
  } finally {
    await serviceManager?.close()
    stop.dispose()
  }
}

/** A passfile that can't be read is the connection's error to tell, not this one's. */
async function passwordOf(password: () => Promise<string | undefined>): Promise<string | undefined> {
  try {
    return await password()
  } catch {
    return undefined
  }
}

/** The last words: text for people on a terminal, else one line of the log. */
function report(error: unknown, log: Logger, forPeople: boolean): ExitCode {
  if (!(error instanceof FollowerError)) {
    log.fatal({ err: error, code: 'FLW-900' }, 'internal error; please report it')
    return ExitCode.internal
  }
  if (forPeople) process.stderr.write(`${redact(formatError(error))}\n`)
  else log.fatal({ err: error, code: error.code }, error.message)
  return error.exit
}

import type { Logger } from '../telemetry/log.ts'

/** Milliseconds that a graceful stop may take; systemd's TimeoutStopSec and Kubernetes' grace must be longer. */
const stopLimit = 10_000
/** By convention 128 + the signal's number. */
const forcedExit = { SIGINT: 130, SIGTERM: 143 } as const
type StopSignal = keyof typeof forcedExit

export interface StopRequest {
  /** Aborted by the first SIGTERM or SIGINT. */
  readonly signal: AbortSignal
  /** Takes the handlers away. */
  dispose(): void
}

/**
 * The first SIGTERM or SIGINT asks for a graceful stop; the second one, or 10 s, ends the process as it is
 * (exit 130 or 143, or 1). That loses nothing: the open transaction downstream rolls back and the slot
 * sends it again.
 */
export function stopOnSignal(log: Logger): StopRequest {
  const stop = new AbortController()
  let late: NodeJS.Timeout | undefined
  const onSignal = (signal: StopSignal): void => {
    if (stop.signal.aborted) {
      log.warn({ signal }, 'second signal: ending at once')
      process.exit(forcedExit[signal])
    }
    log.info({ signal }, 'stopping')
    late = setTimeout(() => {
      log.fatal(
        { seconds: stopLimit / 1000 },
        'the stop took too long: ending; what is not committed will be sent again',
      )
      process.exit(1)
    }, stopLimit)
    late.unref()
    stop.abort()
  }
  process.on('SIGTERM', onSignal)
  process.on('SIGINT', onSignal)
  return {
    signal: stop.signal,
    dispose: () => {
      clearTimeout(late)
      process.off('SIGTERM', onSignal)
      process.off('SIGINT', onSignal)
    },
  }
}

/** What nobody caught ends the process with exit 1: its state is unknown, and the databases' is not. */
export function endOnUncaught(log: Logger): void {
  const end = (error: unknown): void => {
    log.fatal({ err: error, code: 'FLW-901' }, 'an error that nobody caught; ending')
    process.exit(1)
  }
  process.on('uncaughtException', end)
  process.on('unhandledRejection', end)
}

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { Health } from '../telemetry/health.ts'
import type { Logger } from '../telemetry/log.ts'
import { redact } from '../telemetry/redact.ts'

const run = promisify(execFile)

/** Milliseconds between two looks at the health where the watchdog asks for none sooner. */
const seldomMs = 10_000
/** systemd-notify itself gives up after five seconds without an answer. */
const sendLimitMs = 10_000
/** Milliseconds that the end of the process waits for its last message. */
const farewellMs = 1_000

type Environment = Readonly<Record<string, string | undefined>>

/**
 * Milliseconds after which systemd wants to have heard a WATCHDOG=1 (WatchdogSec=); undefined where it does not watch
 * this process. https://www.freedesktop.org/software/systemd/man/latest/sd_watchdog_enabled.html
 */
export function watchdogMs(env: Environment, pid: number): number | undefined {
  const milliseconds = Number(env.WATCHDOG_USEC) / 1000
  const ours = env.WATCHDOG_PID === undefined || Number(env.WATCHDOG_PID) === pid
  return ours && milliseconds > 0 ? milliseconds : undefined
}

/**
 * Tells systemd of this process, as sd_notify(3) has it: READY=1 once it follows, STATUS= with state and lag, STOPPING=1,
 * and WATCHDOG=1 for as long as the pipeline is alive: the timer only asks, `health` decides.
 *
 * Node has no datagram sockets of the family AF_UNIX: a child process `systemd-notify` sends each message, which the unit
 * has to allow by NotifyAccess=all. Whatever goes wrong with it is a warning and no more.
 */
export class ServiceManager {
  private readonly health: Health
  private readonly log: Logger
  private readonly env: Record<string, string>
  private readonly everyMs: number
  private readonly watched: boolean
  private readonly timer: NodeJS.Timeout
  /** Variables to be sent, the latest value of each. */
  private readonly waiting = new Map<string, string>()
  private sending: Promise<void> | undefined
  private told = ''
  private ready = false
  private stopping = false
  private warned = false
  private missing = false

  /** Undefined where no service manager listens: NOTIFY_SOCKET is not set. */
  static of(health: Health, log: Logger, env: Environment): ServiceManager | undefined {
    return env.NOTIFY_SOCKET ? new ServiceManager(health, log, env.NOTIFY_SOCKET, env) : undefined
  }

  private constructor(health: Health, log: Logger, socket: string, env: Environment) {
    this.health = health
    this.log = log
    // Nothing else: the environment may hold passwords.
    this.env = { NOTIFY_SOCKET: socket, PATH: env.PATH ?? '/usr/bin:/bin' }
    const watchdog = watchdogMs(env, process.pid)
    this.watched = watchdog !== undefined
    this.everyMs = Math.min(seldomMs, (watchdog ?? seldomMs) / 3)
    this.timer = setInterval(() => this.look(), this.everyMs)
    this.timer.unref()
    this.look()
  }

  /** Says what has changed since the last look, and that we live, if we do. */
  look(): void {
    const { health } = this
    const status = this.stopping ? 'stopping' : redact(health.summary).replaceAll('\n', ' ')
    if (status !== this.told) this.waiting.set('STATUS', status)
    this.told = status
    if (!this.ready && health.following) this.waiting.set('READY', '1')
    this.ready ||= health.following
    if (health.live()) {
      if (this.watched) this.waiting.set('WATCHDOG', '1')
      // A slot may take hours to be made, and another follower's end longer: no reason to be killed, as long as we live.
      if (!this.ready && !this.stopping)
        this.waiting.set('EXTEND_TIMEOUT_USEC', String(Math.ceil(this.everyMs * 3000)))
    }
    this.send()
  }

  /** The stop has begun. */
  stop(): void {
    if (!this.stopping) this.waiting.set('STOPPING', '1')
    this.stopping = true
    this.look()
  }

  /** The process is about to end; resolves when that is said, or after a second. */
  async close(): Promise<void> {
    clearInterval(this.timer)
    // Why it ends stays in `systemctl status`.
    if (!this.stopping) this.waiting.set('STOPPING', '1')
    this.send()
    const late = new Promise<void>((resolve) => setTimeout(resolve, farewellMs).unref())
    await Promise.race([this.sending, late])
  }

  private send(): void {
    if (this.waiting.size > 0 && !this.missing) this.sending ??= this.sendAll()
  }

  /** One message at a time: they must not overtake one another. */
  private async sendAll(): Promise<void> {
    while (this.waiting.size > 0 && !this.missing) {
      const variables = [...this.waiting].map(([name, value]) => `${name}=${value}`)
      this.waiting.clear()
      try {
        await run('systemd-notify', [`--pid=${process.pid}`, ...variables], {
          env: this.env,
          timeout: sendLimitMs,
        })
      } catch (error) {
        this.warn(error as Error & { code?: unknown; stderr?: string })
      }
    }
    this.sending = undefined
  }

  /** Once: a service manager that does not hear us notices that itself. */
  private warn(error: Error & { code?: unknown; stderr?: string }): void {
    this.missing = error.code === 'ENOENT'
    if (this.warned) return
    this.warned = true
    if (this.missing)
      this.log.warn('systemd-notify is not installed: the service manager hears nothing of this process')
    else
      this.log.warn(
        { reason: error.stderr?.trim() || error.message },
        'systemd-notify failed: the service manager may hear nothing of this process',
      )
  }
}

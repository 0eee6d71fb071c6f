import { createRequire } from 'node:module'
import { Writable } from 'node:stream'
import pino from 'pino'
import { FollowerError } from '../errors.ts'
import { printable, printableLines } from '../model/printable.ts'
import type { LogFormat, LogLevel } from './log-level.ts'
import { redact } from './redact.ts'

export type Logger = pino.Logger

export interface LogOptions {
  readonly level: LogLevel
  readonly format: LogFormat
  /** Takes the text for people in place of stderr, which it draws on, too. */
  readonly screen?: { write(text: string): void } | undefined
}

/** True where the log is text for people, not JSON. */
export function logsForPeople(format: LogFormat): boolean {
  return format === 'pretty' || (format === 'auto' && !underSystemd() && process.stderr.isTTY === true)
}

/** systemd sets JOURNAL_STREAM where stdout or stderr goes to the journal. */
function underSystemd(): boolean {
  return process.env.JOURNAL_STREAM !== undefined
}

/**
 * The log: stderr, one line an event. `auto`: JSON on stdout under systemd, text for
 * people where stderr is a terminal, JSON elsewhere. Written synchronously: the last line before a death counts.
 */
export function createLogger(options: LogOptions): Logger {
  const forPeople = logsForPeople(options.format)
  const fd = underSystemd() && !forPeople ? 1 : 2
  return pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: serializeError, error: serializeError },
    },
    guarded(
      forPeople ? prettyStream(fd, options.screen) : pino.destination({ dest: fd, sync: true }),
      forPeople,
    ),
  )
}

function prettyStream(fd: number, screen: LogOptions['screen']): pino.DestinationStream {
  // Only people need it, and loading it takes longer than a connection.
  const pretty = createRequire(import.meta.url)('pino-pretty') as typeof import('pino-pretty')
  return pretty({
    destination: screen ? writable(screen) : fd,
    sync: true,
    colorize: process.stderr.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb',
    translateTime: 'SYS:HH:MM:ss.l',
    singleLine: true,
  })
}

function writable(screen: NonNullable<LogOptions['screen']>): Writable {
  return new Writable({
    decodeStrings: false,
    write: (text: string, _encoding, done) => {
      screen.write(text)
      done()
    },
  })
}

function guarded(stream: pino.DestinationStream, forPeople: boolean): pino.DestinationStream {
  return {
    write: (line) => {
      const guarded = redact(line)
      stream.write(forPeople ? printableLine(guarded) : guarded)
    },
  }
}

/** Names of tables may hold what a terminal obeys, which would only be taken out of strings that JSON quotes. */
function printableLine(json: string): string {
  const mend = (key: string, it: unknown): unknown =>
    typeof it !== 'string' ? it : key === 'msg' ? printable(it) : printableLines(it)
  return `${JSON.stringify(JSON.parse(json, mend))}\n`
}

/**
 * An error as the log shows it: chosen fields only, since errors of libraries carry connections, and
 * PostgreSQL's DETAIL and CONTEXT carry rows. A stack only for what nobody foresaw.
 */
export function serializeError(error: unknown): unknown {
  if (!(error instanceof Error)) return typeof error === 'object' ? String(error) : error
  const cause = error.cause === undefined ? {} : { cause: serializeError(error.cause) }
  if (error instanceof FollowerError) return { ...error.toJSON(), exit: error.exit, ...cause }
  const fields = { type: error.name, message: messageOf(error) }
  const { code } = error as { code?: unknown }
  if (typeof code !== 'string') return { ...fields, stack: error.stack, ...cause }
  const known = ['severity', 'schema', 'table', 'column', 'constraint', 'hint', 'routine', 'syscall'] as const
  const server = error as Partial<Record<(typeof known)[number], unknown>>
  const more = known.flatMap((key) => (typeof server[key] === 'string' ? [[key, server[key]] as const] : []))
  return { ...fields, code, ...Object.fromEntries(more), ...cause }
}

/** Node's AggregateError (several addresses of one host) has an empty message of its own. */
function messageOf(error: Error): string {
  if (error.message !== '' || !(error instanceof AggregateError)) return error.message
  return error.errors.map((each) => (each instanceof Error ? each.message : String(each))).join('; ')
}

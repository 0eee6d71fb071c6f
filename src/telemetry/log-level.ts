/** Apart from what logs, so that commands that don't need not load that. */
export type LogFormat = 'auto' | 'json' | 'pretty'
export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export type LogLevel = (typeof logLevels)[number]

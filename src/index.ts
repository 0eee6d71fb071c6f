/**
 * follower as a library: the same daemon without the command line. Read the settings, bring a log, metrics,
 * health and a signal to stop, and run.
 *
 *     const { follow } = readStartSettings({ upstream, downstream, name: 'shop' }, process.env)
 *     await runFollow(follow, { log, metrics: createMetrics(), health: new Health(), stop })
 */
export { readStartSettings } from './config/settings.ts'
export { ExitCode, FollowerError, formatError } from './errors.ts'
export { type FollowDependencies, runFollow } from './follower.ts'
export type { FollowSettings } from './model/follow.ts'
export { Health } from './telemetry/health.ts'
export { createLogger } from './telemetry/log.ts'
export { createMetrics } from './telemetry/metrics.ts'

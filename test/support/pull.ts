import { type Line, log } from './failure.ts'
import type { Following } from './follow.ts'
import type { Follower } from './follower.ts'
import { query, statements } from './sql.ts'
import { waitUntil } from './wait.ts'

/** Every session begins by pulling, in windows of about so many messages. */
export const pulling = (window = 20): Record<string, string> => ({
  FOLLOWER_PULL_FROM: '1',
  FOLLOWER_PULL_WINDOW: String(window),
})

export const json = ['--log-format', 'json', '--log-level', 'debug']

/** Stops the follower, lets a backlog grow, and drains it by pulling up to its end. */
export async function drain(
  f: Following,
  backlog: readonly string[],
  args: readonly string[] = [],
  env: Record<string, string> = pulling(),
): Promise<void> {
  await f.stop()
  await statements(f.upstream, backlog)
  f.start(['--until', 'now', ...json, ...args], env)
  const { code } = await f.follower.exit
  if (code !== 0) throw new Error(`exit ${code}:\n${f.follower.output}`)
}

/** The line about what was pulled; undefined: nothing was. */
export function pulled(follower: Follower): (Line & { windows: number; messages: number }) | undefined {
  return log(follower).find(({ msg }) => msg.startsWith('pulled ')) as never
}

/** Why it streams a backlog. */
export function streamedBecause(follower: Follower): string | undefined {
  const line = log(follower).find(({ msg }) => msg.startsWith('the backlog is streamed'))
  return line === undefined ? undefined : String(line.reason)
}

/** Waits until the upstream has no slot of the follow but its own, and no session of it. */
export async function nothingLeft(f: { upstream: string; name: string }): Promise<void> {
  await waitUntil(
    async () => {
      const rows = await query(
        f.upstream,
        `SELECT slot_name FROM pg_replication_slots WHERE slot_name LIKE $1 || '%' AND (temporary OR active)
          UNION ALL SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'follower/' || $1 || '%'`,
        [f.name],
      )
      return rows.length === 0
    },
    { what: 'nothing of the follow to be left upstream' },
  )
}

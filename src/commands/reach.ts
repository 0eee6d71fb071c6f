import type pg from 'pg'
import type { FollowEnds } from '../config/settings.ts'
import { FollowerError } from '../errors.ts'
import { connect } from '../postgres/connect.ts'
import type { End } from '../postgres/end.ts'
import type { ReachableEnds } from '../provision/cleanup.ts'
import { protectSecret } from '../telemetry/redact.ts'

export interface Reached {
  readonly ends: ReachableEnds
  /** Why an end is missing: its error is what the command exits with. */
  readonly failures: readonly FollowerError[]
}

/** Connects to the downstream alone, runs `work` and disconnects. Throws FollowerError exit 5 where it can't be reached. */
export async function withDownstream(
  { name, downstream: conninfo }: Pick<FollowEnds, 'name' | 'downstream'>,
  command: string,
  work: (client: pg.Client) => Promise<void>,
): Promise<void> {
  protectSecret(await conninfo.password().catch(() => undefined))
  const client = await connect({
    end: 'downstream',
    conninfo,
    applicationName: `follower/${name} ${command}`,
  })
  try {
    await work(client)
  } finally {
    await client.end().catch(() => {})
  }
}

/** Connects to what can be reached, runs `work` and disconnects. Throws where neither end can be reached. */
export async function withReachable<T>(
  follow: FollowEnds,
  command: string,
  work: (reached: Reached) => Promise<T>,
): Promise<T> {
  const reach = async (end: End) => {
    const conninfo = follow[end]
    // A passfile that can't be read fails the connection, with a better message.
    protectSecret(await conninfo.password().catch(() => undefined))
    try {
      return await connect({ end, conninfo, applicationName: `follower/${follow.name} ${command}` })
    } catch (error) {
      if (error instanceof FollowerError) return error
      throw error
    }
  }
  const [upstream, downstream] = await Promise.all([reach('upstream'), reach('downstream')])
  const failures = [upstream, downstream].filter((each) => each instanceof FollowerError)
  const ends = {
    upstream: upstream instanceof FollowerError ? undefined : upstream,
    downstream: downstream instanceof FollowerError ? undefined : downstream,
  }
  const [first, second] = failures
  if (first && second) throw first
  try {
    return await work({ ends, failures })
  } finally {
    for (const client of [ends.upstream, ends.downstream]) await client?.end().catch(() => {})
  }
}

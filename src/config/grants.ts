import { z } from 'zod'
import type { TablePattern } from '../model/follow.ts'
import type { End } from '../postgres/end.ts'
import { parseTables } from './names.ts'
import { choice, parseOptions } from './schema.ts'
import { type Environment, type FollowEnds, list, readFollowEnds } from './settings.ts'

/** What `follower print grants` was told. */
export interface GrantsSettings {
  readonly follow: FollowEnds
  readonly tables: readonly TablePattern[]
  /** Roles that the follow will use. */
  readonly roles: Readonly<Record<End, string>>
  readonly ends: readonly End[]
}

const schema = z.strictObject({
  tables: list(parseTables),
  upstreamRole: z.string().min(1, 'an empty name').optional(),
  downstreamRole: z.string().min(1, 'an empty name').optional(),
  end: choice('end', ['upstream', 'downstream']).optional(),
})

/** Throws as readStartSettings. The roles are the users of the conninfos unless told otherwise. */
export function readGrantsSettings(
  { name, upstream, downstream, ...options }: Readonly<Record<string, unknown>>,
  env: Environment,
): GrantsSettings {
  const follow = readFollowEnds({ name, upstream, downstream } as Parameters<typeof readFollowEnds>[0], env)
  const { tables, upstreamRole, downstreamRole, end } = parseOptions(schema, options)
  return {
    follow,
    tables,
    roles: {
      upstream: upstreamRole ?? follow.upstream.user,
      downstream: downstreamRole ?? follow.downstream.user,
    },
    ends: end === undefined ? ['upstream', 'downstream'] : [end],
  }
}

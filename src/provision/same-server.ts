import type pg from 'pg'
import { ExitCode, FollowerError } from '../errors.ts'
import type { End } from '../postgres/end.ts'
import { sql } from '../postgres/sql.ts'
import { askOne, column } from './query.ts'

/**
 * Throws, transient, unless both sessions are of one running server. While a name, an address or a list of hosts moves to
 * another server, two connections made one after the other may reach both: what was checked on one says nothing of the other.
 */
export async function requireSameServer(end: End, first: pg.Client, second: pg.Client): Promise<void> {
  const [one, other] = [await instance(end, first), await instance(end, second)]
  if (one === other) return
  const upstream = end === 'upstream'
  throw new FollowerError(`two connections to the ${end} have reached different servers`, {
    code: upstream ? 'FLW-416' : 'FLW-516',
    exit: upstream ? ExitCode.upstream : ExitCode.downstream,
    detail: `one is system ${one}, the other ${other}: it restarts, or its name or address moves to another server`,
    effect: 'nothing was changed; all connections are made again',
    transient: true,
  })
}

/** Tells servers apart, and a server from itself after a restart. */
export async function instance(end: End, client: pg.Client): Promise<string> {
  return column((await askOne(client, end, sql('query/instance'))) ?? {}, 'instance')
}

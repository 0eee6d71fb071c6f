import type pg from 'pg'
import type { DdlMessage, DdlObject, ObjectState } from '../model/ddl-message.ts'
import { type Author, standIn } from './author.ts'
import { type DdlContext, isFollowed } from './context.ts'
import { compareState } from './state.ts'

/** An object of a message whose state upstream is known: what the downstream must hold after the replay. */
export interface Truth {
  readonly object: DdlObject
  readonly state: ObjectState
  /** As Author has it. */
  readonly standsInFor: readonly string[]
}

/**
 * What of a message can be checked: followed objects of known classes.
 */
export function truthOf(message: DdlMessage, context: DdlContext, author: Author): readonly Truth[] {
  const standsInFor = 'role' in author ? author.standsInFor : []
  return message.objects.flatMap((object) =>
    object.state === null || Object.hasOwn(object.state, '?') || !isFollowed(object, context.publications)
      ? []
      : [{ object, state: object.state, standsInFor }],
  )
}

/** One line per difference, `<object>: <aspect>: …`; empty where the downstream holds all that the upstream holds. */
export async function differences(
  truths: readonly Truth[],
  context: DdlContext,
  strict = false,
): Promise<string[]> {
  const sameMajor = context.upstreamMajor === context.downstreamMajor
  const lines: string[] = []
  for (const { object, state: there, standsInFor } of truths) {
    const here = await readState(context.client, object)
    const state = standIn(there, standsInFor, context.daemonRole, here?.owner)
    const found = [...compareState(state, here, sameMajor)]
    if (strict && here !== null && found.length === 0)
      found.push(...compareState(here, state, sameMajor).map(() => 'the downstream has more'))
    lines.push(...found.map((line) => `${object.identity}: ${line}`))
  }
  return lines
}

/** The downstream's own `follower.object_state`; null where the object does not exist. */
export async function readState(
  client: pg.Client,
  object: Pick<DdlObject, 'type' | 'names' | 'args'>,
): Promise<ObjectState | null> {
  const { rows } = await client.query<{ state: string | null }>(
    'SELECT follower.object_state($1, $2::text[], $3::text[]) AS state',
    [object.type, object.names, object.args],
  )
  const text = rows[0]?.state
  return text === null || text === undefined ? null : (JSON.parse(text) as ObjectState)
}

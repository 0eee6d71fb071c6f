import type pg from 'pg'
import { ExitCode, FollowerError } from '../errors.ts'
import { type Relation, relationName } from '../model/relation.ts'
import { quoteIdentifier } from '../postgres/identifier.ts'
import {
  describeTriggers,
  type OrdinaryTrigger,
  ordinaryTriggers,
  triggerRemedies,
} from '../postgres/ordinary-triggers.ts'

/**
 * Throws where triggers or rules of a relation's downstream table would act, or fail to act, only since the session's
 * session_replication_role is origin: what they did upstream is in the stream.
 */
export async function refuseTriggers(client: pg.Client, relations: readonly Relation[]): Promise<void> {
  const query = async (text: string, values: string[][]) => (await client.query(text, values)).rows
  // Mostly there are none: one query for all of them, else one for each until the first that has some.
  if ((await ordinaryTriggers(query, relations)).length === 0) return
  for (const relation of relations) refuse(client, relation, await ordinaryTriggers(query, [relation]))
}

function refuse(client: pg.Client, relation: Relation, found: readonly OrdinaryTrigger[]): void {
  if (found.length === 0) return
  throw new FollowerError(
    `table ${relationName(relation)} has triggers or rules downstream that would act on what the follow brings`,
    {
      code: 'FLW-314',
      exit: ExitCode.apply,
      detail: `${describeTriggers(found)}\nThe downstream role may not set session_replication_role.`,
      fix: [
        `GRANT SET ON PARAMETER session_replication_role TO ${quoteIdentifier(client.user ?? '')};   -- downstream, by a superuser, from PostgreSQL 15 on`,
        ...triggerRemedies(found),
      ],
      context: { relation: relationName(relation) },
    },
  )
}

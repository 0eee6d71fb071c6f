import type pg from 'pg'
import { ExitCode, FollowerError } from '../errors.ts'
import { type Relation, relationName } from '../model/relation.ts'
import { quoteIdentifier } from '../postgres/identifier.ts'
import { describeTriggers, ordinaryTriggers, triggerRemedies } from '../postgres/ordinary-triggers.ts'

/**
 * Throws where triggers or rules of the relation's downstream table would act, or fail to act, only since the session's
 * session_replication_role is origin: what they did upstream is in the stream.
 */
export async function refuseTriggers(client: pg.Client, relation: Relation): Promise<void> {
  const query = async (text: string, values: string[][]) => (await client.query(text, values)).rows
  const found = await ordinaryTriggers(query, [relation])
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

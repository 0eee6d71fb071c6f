import type { FollowerError } from '../errors.ts'
import type { DdlMessage, ObjectState, RoleAttributes } from '../model/ddl-message.ts'
import { quoteIdentifier } from '../postgres/identifier.ts'
import { sql } from '../postgres/sql.ts'
import type { DdlContext } from './context.ts'
import { ddlError } from './errors.ts'

/** The downstream role that a statement is replayed as, or why there is none. */
export type Author =
  | {
      readonly role: string
      /** Upstream roles, quoted, that this role stands in for: what they own upstream belongs to others here. */
      readonly standsInFor: readonly string[]
    }
  | { readonly problem: FollowerError }

/** Code of the error that asks for the right to act for an author. */
export const mayNotAct = 'FLW-328'

/**
 * The downstream role of the same name, provided that it may do no more than upstream's: a message is worth what
 * its author may do, and any role can forge one with its own name. For a superuser that is missing downstream, or that
 * the daemon's role may not act for, that role stands in: it may do less.
 */
export async function findAuthor(message: DdlMessage, context: DdlContext): Promise<Author> {
  const { rows } = await context.client.query<Record<string, string>>(sql('query/role_rights'), [
    message.role,
  ])
  const [row] = rows
  const { role, attributes } = message
  if (attributes.superuser && row?.may_act !== 't') return standInFor(message, context)
  if (!row) {
    return {
      problem: ddlError(324, `role ${role} does not exist downstream`, message, context, {
        detail: 'A statement is replayed with the rights of the role that ran it upstream.',
        fix: [`CREATE ROLE ${quoteIdentifier(role)};  -- downstream`, 'start the follow again'],
      }),
    }
  }
  const extra = extraRights(attributes, {
    superuser: row.superuser === 't',
    createrole: row.createrole === 't',
    createdb: row.createdb === 't',
    replication: row.replication === 't',
    bypassrls: row.bypassrls === 't',
    member_of: JSON.parse(row.member_of ?? '[]') as string[],
  })
  if (extra.length > 0)
    return {
      problem: ddlError(325, `role ${role} may do more downstream than upstream`, message, context, {
        detail: `Only downstream: ${extra.map((right) => right.name).join(', ')}. Whoever can act as ${role} upstream could use these rights here.`,
        fix: [
          ...extra.map((right) => `${right.revoke(quoteIdentifier(role))};  -- downstream`),
          'start the follow again',
        ],
      }),
    }
  const problem = cannotAct(message, row, context)
  return problem ? { problem } : { role, standsInFor: [] }
}

/** What the daemon's role lacks to run a statement as its author. */
function cannotAct(
  message: DdlMessage,
  row: Readonly<Record<string, string>>,
  context: DdlContext,
): FollowerError | undefined {
  const author = quoteIdentifier(message.role)
  const daemon = quoteIdentifier(context.daemonRole)
  const fix = [
    ...(row.may_act === 't'
      ? []
      : [
          `GRANT ${author} TO ${daemon}${context.downstreamMajor >= 16 ? ' WITH SET TRUE, INHERIT TRUE' : ''};  -- downstream`,
        ]),
    ...(row.may_use_temporary === 't'
      ? []
      : [
          `GRANT TEMPORARY ON DATABASE ${quoteIdentifier(row.database ?? '')} TO ${author}, ${daemon};  -- downstream`,
        ]),
  ]
  if (fix.length === 0) return undefined
  const who = `role ${context.daemonRole} may not act for role ${message.role} downstream`
  return ddlError(328, who, message, context, {
    detail:
      'A statement is replayed in a temporary function that belongs to the role that ran it upstream, so with its rights.',
    fix: [...fix, 'start the follow again'],
  })
}

/** The daemon's role, for the author and for those superusers whom it may not act for either. */
async function standInFor(message: DdlMessage, context: DdlContext): Promise<Author> {
  const owners = message.objects.flatMap(({ state }) => state?.owner ?? [])
  const { rows } = await context.client.query<{ owner: string }>(sql('query/superusers'), [owners])
  return {
    role: context.daemonRole,
    standsInFor: [quoteIdentifier(message.role), ...rows.map(({ owner }) => owner)],
  }
}

interface Right {
  readonly name: string
  /** SQL that takes it from the role. */
  revoke(role: string): string
}

/** What a role may do downstream only. Pure. */
export function extraRights(upstream: RoleAttributes, downstream: RoleAttributes): readonly Right[] {
  if (upstream.superuser) return []
  const flags = ['superuser', 'createrole', 'createdb', 'replication', 'bypassrls'] as const
  return [
    ...flags
      .filter((flag) => downstream[flag] && !upstream[flag])
      .map((flag) => ({
        name: flag.toUpperCase(),
        revoke: (role: string) => `ALTER ROLE ${role} NO${flag.toUpperCase()}`,
      })),
    ...downstream.member_of
      .filter((group) => !upstream.member_of.includes(group))
      .map((group) => ({
        name: `member of ${group}`,
        revoke: (role: string) => `REVOKE ${quoteIdentifier(group)} FROM ${role}`,
      })),
  ]
}

/**
 * The state that is to be expected where `role` stands in for others (`standsInFor`, quoted): what these own upstream
 * belongs to whom it belongs here (`owner`, quoted), and what is granted to them is granted to `role`. Pure.
 */
export function standIn(
  state: ObjectState,
  standsInFor: readonly string[],
  role: string,
  owner: string | undefined,
): ObjectState {
  if (standsInFor.length === 0) return state
  const to = quoteIdentifier(role)
  return Object.fromEntries(
    Object.entries(state).map(([aspect, value]) => [
      aspect.replace(/(^|\.)acl (.+)$/s, (all, dot: string, grantee: string) =>
        standsInFor.includes(grantee) ? `${dot}acl ${to}` : all,
      ),
      aspect === 'owner' && standsInFor.includes(value) ? (owner ?? to) : value,
    ]),
  )
}

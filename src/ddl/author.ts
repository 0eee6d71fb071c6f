import type { FollowerError } from '../errors.ts'
import type { DdlMessage, ObjectState, RoleAttributes } from '../model/ddl-message.ts'
import { quoteIdentifier } from '../postgres/identifier.ts'
import { sql } from '../postgres/sql.ts'
import type { DdlContext } from './context.ts'
import { ddlError } from './errors.ts'

/** The downstream role that a statement is replayed as, or why there is none. */
export type Author = { readonly role: string } | { readonly problem: FollowerError }

/**
 * The downstream role of the same name, provided that it may do no more than upstream's: a message is worth what
 * its author may do, and any role can forge one with its own name. A superuser that is missing downstream is the
 * daemon's role.
 */
export async function findAuthor(message: DdlMessage, context: DdlContext): Promise<Author> {
  const { rows } = await context.client.query<Record<string, string>>(sql('query/role_rights'), [
    message.role,
  ])
  const [row] = rows
  const { role, attributes } = message
  if (!row) {
    if (attributes.superuser) return { role: context.daemonRole }
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
  if (extra.length === 0) return { role }
  return {
    problem: ddlError(325, `role ${role} may do more downstream than upstream`, message, context, {
      detail: `Only downstream: ${extra.map((right) => right.name).join(', ')}. Whoever can act as ${role} upstream could use these rights here.`,
      fix: [
        ...extra.map((right) => `${right.revoke(quoteIdentifier(role))};  -- downstream`),
        'start the follow again',
      ],
    }),
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

/** The state that is to be expected where another role stands in for the author: owner and grants go with it. */
export function standIn(state: ObjectState, author: string, role: string): ObjectState {
  if (author === role) return state
  const from = quoteIdentifier(author)
  const to = quoteIdentifier(role)
  return Object.fromEntries(
    Object.entries(state).map(([aspect, value]) => [
      aspect.replace(/(^|\.)acl (.+)$/s, (all, dot: string, grantee: string) =>
        grantee === from ? `${dot}acl ${to}` : all,
      ),
      aspect === 'owner' && value === from ? to : value,
    ]),
  )
}

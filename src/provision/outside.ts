import type pg from 'pg'
import type { Address } from '../copy/schema-order.ts'
import type { FollowerError } from '../errors.ts'
import { quoteIdentifier } from '../postgres/identifier.ts'
import { sql } from '../postgres/sql.ts'
import { finding } from './findings.ts'
import { ask, column, inTransaction } from './query.ts'

/** What objects need that no schema holds, or what a grant is on that the server made (then `kind` is its catalog). */
export interface Outside {
  readonly kind: string
  readonly name: string
}

/** The same, with the object of the upstream's that needs it. */
export interface Need extends Outside, Address {
  /** Only for what is granted. */
  readonly granted: boolean
}

/** Needs of the objects of the upstream's snapshot: roles in grants and policies, tablespaces. */
export async function readNeeds(upstream: pg.Client): Promise<Need[]> {
  const found = await ask(upstream, 'upstream', sql('query/schema/outside'))
  return found.map((row) => ({
    kind: column(row, 'kind'),
    name: column(row, 'name'),
    catalog: column(row, 'catalog'),
    object: column(row, 'object'),
    granted: row.granted === 't',
  }))
}

/** What the downstream's server has of roles, tablespaces, extensions, and objects of its own. */
export async function readThere(downstream: pg.Client): Promise<(wanted: Outside) => boolean> {
  const found = await inTransaction(downstream, 'downstream', async () => {
    await ask(downstream, 'downstream', 'SET LOCAL quote_all_identifiers = on')
    return ask(downstream, 'downstream', sql('query/schema/there'))
  })
  const there = new Set(found.map((row) => `${row.kind} ${row.name}`))
  return ({ kind, name }) => there.has(`${kind} ${name}`)
}

/** Pure: what is missing for the objects that are to be made, all of it at once; undefined where nothing is. */
export function checkThere(
  needed: readonly Outside[],
  there: (wanted: Outside) => boolean,
): FollowerError | undefined {
  const names = (kind: string): string[] =>
    [...new Set(needed.filter((it) => it.kind === kind && !there(it)).map((it) => it.name))].toSorted()
  const [roles, tablespaces, extensions] = [names('role'), names('tablespace'), names('extension')]
  const all = [
    ...roles.map((name) => `role ${name}`),
    ...tablespaces.map((name) => `tablespace ${name}`),
    ...extensions.map((name) => `extension ${name}`),
  ]
  if (all.length === 0) return undefined
  return finding({
    code: 'FLW-126',
    message: `the schema could not be made downstream: ${all.length === 1 ? `${all[0]} is` : `${all.length} roles, tablespaces or extensions are`} missing there`,
    detail: all.join('\n'),
    effect: 'nothing of it was made',
    fix: [
      ...roles.map((name) => `CREATE ROLE ${quoteIdentifier(name)};   -- downstream`),
      ...tablespaces.map((name) => `CREATE TABLESPACE ${quoteIdentifier(name)} LOCATION …;   -- downstream`),
      ...(extensions.length > 0
        ? [`install on the downstream’s server: ${extensions.join(', ')}; then start again`]
        : []),
      ...(roles.length > 0
        ? ['or leave owners and rights away:  follower start --copy all --no-owner --no-privileges …']
        : []),
    ],
  })
}

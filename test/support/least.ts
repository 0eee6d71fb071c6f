import { cleanUp } from './cleanup.ts'
import { asUser, type Databases } from './servers.ts'
import { script, statements } from './sql.ts'

/** What the downstream role may do: set session_replication_role (`replica`), or not even that (`origin`). */
export type Least = 'replica' | 'origin'

/** Conninfos of a follow whose roles may do no more than they need. */
export interface LeastRoles {
  /** For the follower: no superuser, and a member of the role that owns the tables. */
  readonly downstream: string
  readonly role: string
  /** For the tests: the superuser as the role that owns the tables. */
  readonly owned: string
}

/** Makes `owner_…` and, as its member, `least_…` in the downstream of the databases. */
export async function leastRoles(made: Databases, least: Least): Promise<LeastRoles> {
  const owner = `owner_${made.name}`
  const role = `least_${made.name}`
  await statements(made.downstream, [
    `CREATE ROLE ${owner}`,
    `CREATE ROLE ${role} LOGIN IN ROLE ${owner}`,
    `GRANT CREATE ON DATABASE ${made.name} TO ${owner}, ${role}`,
    `GRANT ALL ON SCHEMA public TO ${owner}`,
    ...(least === 'replica' ? [replicationRole(role)] : []),
  ])
  const server = new URL(made.downstream)
  server.pathname = '/postgres'
  cleanUp(async () => {
    // The roles own what is in it.
    await script(server.href, `DROP DATABASE IF EXISTS ${made.name} WITH (FORCE)`)
    await statements(server.href, [
      `DROP OWNED BY ${role}, ${owner}`,
      `DROP ROLE ${role}`,
      `DROP ROLE ${owner}`,
    ])
  })
  const owned = new URL(made.downstream)
  owned.searchParams.set('options', `-c role=${owner}`)
  return { downstream: asUser(made.downstream, role), role, owned: owned.href }
}

/** Before 15 nobody can GRANT it; a superuser can still give the role the setting. */
function replicationRole(role: string): string {
  return `DO $$ BEGIN
    IF current_setting('server_version_num')::int >= 150000 THEN EXECUTE 'GRANT SET ON PARAMETER session_replication_role TO ${role}';
    ELSE ALTER ROLE ${role} SET session_replication_role = replica; END IF; END $$`
}

/** Makes `least_…` upstream, which may replicate from publications that are there. */
export async function leastUpstream(made: Databases): Promise<string> {
  const role = `least_${made.name}`
  await statements(made.upstream, [
    `CREATE ROLE ${role} LOGIN REPLICATION`,
    `GRANT CREATE ON DATABASE ${made.name} TO ${role}`,
  ])
  const server = new URL(made.upstream)
  server.pathname = '/postgres'
  cleanUp(async () => {
    await script(made.upstream, `DROP OWNED BY ${role}`)
    await script(server.href, `DROP ROLE ${role}`)
  })
  return asUser(made.upstream, role)
}

import { randomBytes } from 'node:crypto'
import { expect } from 'vitest'
import { cleanUp } from './cleanup.ts'
import { type Follower, followerCommand, runFollower } from './follower.ts'
import { asUser, type Databases, databases, type Pair } from './servers.ts'
import { query, script, statements } from './sql.ts'
import { waitUntil } from './wait.ts'

export interface Poor extends Databases {
  /** The role that follows, and roles that own tables; the same at both ends. */
  readonly role: string
  readonly alice: string
  readonly bob: string
  /** The upstream as that role. */
  as(role: string): string
  readonly args: readonly string[]
  /** Starts it as the poor role, and waits for the stream. */
  start(...more: string[]): Promise<Follower>
  /** Waits until the query says the same at both ends, and returns it. */
  alike(text: string): Promise<string>
}

/** Two databases with tables of alice, at both ends, and a role that may nothing but log in and replicate. */
export async function poor(pair: Pair, setUp = ''): Promise<Poor> {
  let server: readonly string[] = []
  const tag = randomBytes(4).toString('hex')
  const [role, alice, bob] = [`Follower-${tag}`, `alice_${tag}`, `bob_${tag}`]
  let capture = ''
  cleanUp(async () => {
    // The databases are gone by then; settings that a role may set are the server's.
    for (const uri of server)
      await script(uri, `DROP OWNED BY "${role}"; DROP ROLE IF EXISTS "${role}", ${alice}, ${bob}`)
    const made = await query(server[0]!, 'SELECT FROM pg_roles WHERE rolname = $1', [capture])
    if (made.length > 0) await script(server[0]!, `DROP OWNED BY ${capture}; DROP ROLE ${capture}`)
  })
  const db = await databases(pair)
  capture = `follower_capture_${db.name}`
  server = [db.upstream, db.downstream].map((uri) => new URL('/postgres', uri).href)
  for (const uri of [db.upstream, db.downstream])
    await statements(uri, [
      `CREATE ROLE "${role}" LOGIN`,
      `CREATE ROLE ${alice} LOGIN`,
      `CREATE ROLE ${bob} LOGIN`,
      `GRANT CREATE ON DATABASE ${db.name} TO ${alice}, ${bob}`,
      `SET ROLE ${alice}`,
      `CREATE SCHEMA a`,
      `CREATE TABLE a.t (id int PRIMARY KEY, v text)`,
      ...(setUp ? [setUp.replaceAll('ALICE', alice).replaceAll('BOB', bob)] : []),
    ])
  const as = (name: string): string => asUser(db.upstream, name)
  const args = ['start', '--upstream', as(role), '--downstream', db.downstream, '--name', db.name]
  return {
    ...db,
    role,
    alice,
    bob,
    as,
    args,
    async start(...more) {
      const follower = runFollower([...args, ...more])
      await follower.ready({ upstream: db.upstream })
      return follower
    },
    alike: (text) =>
      waitUntil(
        async () => {
          const [up, down] = await Promise.all([query(db.upstream, text), query(db.downstream, text)])
          if (JSON.stringify(up) !== JSON.stringify(down))
            throw new Error(`${JSON.stringify(up)} upstream, ${JSON.stringify(down)} downstream`)
          return JSON.stringify(up)
        },
        { what: `the same at both ends: ${text}` },
      ),
  }
}

/** What a `follower print` command prints; it must succeed. */
export async function printed(...args: string[]): Promise<string> {
  const it = await followerCommand(['print', ...args])
  expect(it).toMatchObject({ code: 0, stderr: '' })
  return it.stdout
}

/** Runs what is printed, as a superuser: first the grants, then the capture. */
export async function grant(db: Poor): Promise<void> {
  const ends = ['--upstream', db.as(db.role), '--downstream', db.downstream]
  await script(db.upstream, await printed('grants', ...ends, '--end', 'upstream'))
  await script(db.upstream, await printed('capture', '--role', db.role))
}

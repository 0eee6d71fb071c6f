import type { Incident, Skip } from '../../src/provision/incidents.ts'
import type { FollowStatus } from '../../src/provision/state.ts'
import type { Following } from './follow.ts'
import { type Exit, followerCommand } from './follower.ts'
import { value } from './sql.ts'
import { waitUntil } from './wait.ts'

/** `follower …` about the follow, with only its downstream. */
export function command(f: Following, ...args: string[]): Promise<Exit & { stdout: string; stderr: string }> {
  return followerCommand([...args, '--name', f.name, '--downstream', downstreamOf(f)])
}

/** The conninfo that the follower itself has. */
function downstreamOf(f: Following): string {
  return f.args[f.args.indexOf('--downstream') + 1]!
}

/** `follower status --json`, and its exit code. */
export async function status(f: Following): Promise<FollowStatus & { readonly exit: number | null }> {
  const result = await followerCommand([
    ...['status', '--json', '--name', f.name, '--upstream', f.upstream],
    ...['--downstream', downstreamOf(f)],
  ])
  return { ...(JSON.parse(result.stdout) as FollowStatus), exit: result.code }
}

/** Waits until the follow is stopped by another incident than the one given, and returns that. */
export async function halted(f: Following, before?: Incident): Promise<Incident & { readonly lsn: string }> {
  await waitUntil(
    async () => {
      if (!f.follower.running) throw new Error(`the follower has ended:\n${f.follower.output}`)
      return value(
        f.superuser,
        `SELECT count(*) = 1 AND bool_and(id > ${before?.id ?? 0}) FROM follower.incident WHERE resolved_at IS NULL`,
      ).then((found) => found === 't')
    },
    { what: 'an open incident' },
  )
  const { incidents } = await list(f)
  return incidents[0] as Incident & { readonly lsn: string }
}

/** `follower incidents list --json`. */
export async function list(f: Following): Promise<{ incidents: Incident[]; skips: Skip[] }> {
  const { stdout } = await command(f, 'incidents', 'list', '--json')
  return JSON.parse(stdout) as { incidents: Incident[]; skips: Skip[] }
}

/** A metric's samples, by their labels as they are written. */
export async function metric(f: Following, name: string): Promise<ReadonlyMap<string, number>> {
  const { web } = JSON.parse(await f.follower.line(/follower starts/)) as { web: string }
  const text = await (await fetch(`${web}/metrics`)).text()
  return new Map(
    text.split('\n').flatMap((line) => {
      const [, labels, sample] = new RegExp(`^${name}(\\{.*\\})? (\\S+)$`).exec(line) ?? []
      return sample === undefined ? [] : [[labels ?? '', Number(sample)] as const]
    }),
  )
}

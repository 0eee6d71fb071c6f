import { type Follower, type RunOptions, runFollower } from './follower.ts'
import { type Least, type LeastRoles, leastRoles, leastUpstream } from './least.ts'
import { type Databases, databases, type Pair } from './servers.ts'
import { Poll, query, script, statements } from './sql.ts'
import { waitUntil } from './wait.ts'

export interface Following extends Databases {
  follower: Follower
  /** Waits until everything committed upstream so far is applied; fails at once where the follower has ended. */
  settle(): Promise<void>
  /** Runs the script upstream (one simple query), then settles. */
  run(text: string): Promise<void>
  /** Rows of one query at both ends, as text. */
  both(text: string): Promise<[upstream: string, downstream: string]>
  /** Stops it with SIGTERM and returns its exit code. */
  stop(): Promise<number | null>
  /** Starts it again, with the same or other arguments; the first start's environment does not count. */
  start(args?: readonly string[], env?: Record<string, string | undefined>): void
  readonly args: readonly string[]
  /** The downstream for its superuser; `downstream` is for the owner of the tables where the follow has the least rights and follows no DDL. */
  readonly superuser: string
  readonly least: LeastRoles | undefined
}

/** Two fresh databases, `before` run at both ends, and a follower between them. */
export async function follow(
  options: {
    pair?: Pair
    args?: readonly string[]
    before?: readonly string[]
    upstreamOnly?: readonly string[]
    downstreamOnly?: readonly string[]
    /** Run downstream before everything else: what is made later has other OIDs there. */
    downstreamFirst?: readonly string[]
    encodings?: readonly [upstream: string, downstream: string]
    env?: Record<string, string | undefined>
    /** Connect as roles that may do no more than needed; upstream only where the arguments name a publication. */
    least?: Least | undefined
    /** As of RunOptions. */
    program?: NonNullable<RunOptions['program']>
  } = {},
): Promise<Following> {
  const all = await databases(options.pair, options.encodings)
  const least = options.least && (await leastRoles(all, options.least))
  // What is made by DDL that is followed belongs to the follower's role: only the superuser has rights on all.
  const named = options.args?.includes('--publication') === true
  const made = least && named ? { ...all, downstream: least.owned } : all
  const prepare = ['CREATE TABLE settled(n int PRIMARY KEY)', ...(options.before ?? [])]
  await statements(made.upstream, [...prepare, ...(options.upstreamOnly ?? [])])
  await statements(least?.owned ?? made.downstream, [
    ...(options.downstreamFirst ?? []),
    ...prepare,
    ...(options.downstreamOnly ?? []),
  ])
  // The servers are shared by all tests: slots need names of their own.
  const ends = {
    upstream: least && named ? await leastUpstream(all) : all.upstream,
    downstream: least?.downstream ?? all.downstream,
  }
  const base = ['start', '--upstream', ends.upstream, '--downstream', ends.downstream, '--name', made.name]
  let marks = 0
  const start = (
    args: readonly string[] = options.args ?? [],
    env: Record<string, string | undefined> = {},
  ): void => {
    following.follower = runFollower([...base, ...args], {
      env,
      ...(options.program && { program: options.program }),
    })
  }
  const following: Following = {
    ...made,
    superuser: all.downstream,
    least,
    args: base,
    follower: undefined as unknown as Follower,
    start,
    async settle() {
      const mark = ++marks
      await script(made.upstream, `INSERT INTO settled VALUES (${mark})`)
      const poll = new Poll(made.downstream)
      await waitUntil(
        async () => {
          if (!following.follower.running) return 'ended'
          return (await poll.value(`SELECT count(*) FROM settled WHERE n = ${mark}`)) === '1'
        },
        { what: `transaction ${mark} downstream`, timeout: 45_000 },
      )
        .then((result) => {
          if (result === 'ended') throw new Error(`the follower has ended:\n${following.follower.output}`)
        })
        .finally(() => poll.end())
    },
    async run(text) {
      await script(made.upstream, text)
      await following.settle()
    },
    async both(text) {
      const [up, down] = await Promise.all([query(made.upstream, text), query(made.downstream, text)])
      return [JSON.stringify(up), JSON.stringify(down)]
    },
    async stop() {
      return (await following.follower.stop()).code
    },
  }
  start(options.args, options.env)
  // Not before it streams: while the slot is made it is active, too, and rows that come then are refused.
  await following.follower.ready({ upstream: made.upstream })
  return following
}

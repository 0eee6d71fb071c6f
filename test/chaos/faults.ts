import { execFileSync } from 'node:child_process'
import { closeSync, openSync, rmSync, writeSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { StopMode } from '../../src/demo/cluster.ts'
import { type FailpointName, failpointNames } from '../../src/failpoints.ts'
import { runFollower } from '../support/follower.ts'
import { client, query, script } from '../support/sql.ts'
import { waitUntil } from '../support/wait.ts'
import type { Direction, TcpProxy } from './proxy.ts'
import type { World } from './world.ts'

export type Group = 'process' | 'network' | 'server' | 'session'

/** One kind of accident. When `strike` resolves nothing of it goes on, but for what the follower makes of it. */
export interface Fault {
  readonly kind: string
  readonly group: Group
  /** How often beside the others; 1 unless given. */
  readonly weight?: number
  /** Whether it can happen in this world. */
  readonly possible?: (world: World) => boolean
  /** Resolves to another kind where it became that. */
  readonly strike: (world: World) => Promise<unknown>
}

/** Those of the first start can't be reached any more; the others by load alone. */
const failpoints = failpointNames.filter(
  (name) =>
    !/^start\.|^copy\.|^shutdown/.test(name) &&
    // Without these no backlog here is large enough to be pulled, and no transaction to be applied while it arrives.
    (process.env.FOLLOWER_PULL_FROM !== undefined || !name.startsWith('pull.')) &&
    (process.env.FOLLOWER_ARRIVING_FROM !== undefined || !name.startsWith('arriving.')),
)
const rare: Partial<Record<FailpointName, number>> = {
  'progress.keepalive': 1,
  'connect.upstream': 2,
  'connect.downstream': 2,
  'ddl.before': 2,
  'ddl.replayed': 2,
  'ddl.checked': 2,
}

const while_ = async (milliseconds: number, end: () => Promise<unknown> | unknown): Promise<void> => {
  try {
    await sleep(milliseconds)
  } finally {
    await end()
  }
}

const killedAt = (name: FailpointName): Fault => ({
  kind: `kill at ${name}`,
  group: 'process',
  weight: 2,
  async strike({ daemon, chance, load }) {
    // It moves while nothing is unapplied.
    if (name === 'progress.keepalive') await load.hold()
    try {
      daemon.arm(name, 'kill9', 1 + chance.below(rare[name] ?? 8))
      await daemon.ended()
      const armed = daemon.ended()
      const { current } = daemon
      // A failpoint that is not met in time is as good as a kill at another place.
      const timer = setTimeout(() => current.child.kill('SIGKILL'), 20_000)
      await armed
      clearTimeout(timer)
      return current.output.includes(`failpoint ${name} kill9`) ? undefined : 'SIGKILL'
    } finally {
      load.release()
    }
  },
})

const process_: readonly Fault[] = [
  ...failpoints.map(killedAt),
  {
    kind: 'SIGKILL',
    group: 'process',
    weight: 3,
    async strike({ daemon }) {
      const ended = daemon.ended()
      daemon.current.child.kill('SIGKILL')
      await ended
    },
  },
  {
    kind: 'SIGTERM',
    group: 'process',
    weight: 2,
    async strike({ daemon }) {
      const ended = daemon.ended()
      daemon.current.child.kill('SIGTERM')
      await ended
    },
  },
  {
    kind: 'SIGSTOP and SIGCONT',
    group: 'process',
    weight: 2,
    strike: async ({ daemon, chance }) => {
      const { child } = daemon.current
      child.kill('SIGSTOP')
      await while_(200 + chance.below(4000), () => child.kill('SIGCONT'))
    },
  },
  {
    kind: 'a second follower',
    group: 'process',
    weight: 2,
    async strike({ daemon, chance, follow }) {
      // While the first one stands still, the second takes over; or it waits in vain.
      const { child } = daemon.current
      const stopped = chance.below(2) === 0
      if (stopped) child.kill('SIGSTOP')
      const second = runFollower([
        ...['start', '--upstream', follow.upstream, '--downstream', follow.downstream, '--name', follow.name],
        ...(follow.args ?? []),
      ])
      await while_(1000 + chance.below(3000), async () => {
        child.kill('SIGCONT')
        await second.kill9()
      })
    },
  },
  {
    kind: "a second follower while the first one's sessions hang",
    group: 'process',
    weight: 2,
    async strike({ downProxy, upstream, downstream, chance, follow }) {
      // What the first one has sent lies in the proxy, COMMIT and all, when the second one takes the follow.
      downProxy.stall('both')
      await sleep(200 + chance.below(300))
      const lock = `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted`
      const walsender = `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '${follow.name}' AND active`
      await query(downstream, lock).catch(() => {})
      await query(upstream, walsender).catch(() => {})
      const second = runFollower([
        ...['start', '--upstream', withoutPassword(upstream), '--downstream', withoutPassword(downstream)],
        ...['--name', follow.name, ...(follow.args ?? [])],
      ])
      await while_(2500 + chance.below(2500), async () => {
        downProxy.pass()
        await sleep(300)
        await second.kill9()
      })
    },
  },
]

function withoutPassword(conninfo: string): string {
  const url = new URL(conninfo)
  url.password = ''
  return url.href
}

const ofServer = (end: 'up' | 'down', mode: StopMode): Fault => ({
  kind: `${end}stream ${mode === 'fast' ? 'restarted' : mode === 'kill' ? 'killed' : 'crashed'}`,
  group: 'server',
  strike: async (world) => {
    const server = world[end]
    await server.stop(mode)
    await while_(world.chance.below(1500), () => server.start())
  },
})

const server: readonly Fault[] = [
  ...(['up', 'down'] as const).flatMap((end) =>
    (['fast', 'immediate', 'kill'] as const).map((mode) => ofServer(end, mode)),
  ),
  {
    kind: 'a full disk downstream',
    group: 'server',
    weight: 2,
    possible: ({ smallDisk }) => smallDisk,
    async strike({ down, downstream, chance }) {
      const file = path.join(down.dataDir, 'filler')
      fill(file)
      await while_(500 + chance.below(2500), () => rmSync(file))
      // Without room for its WAL the server may have ended.
      await waitUntil(() => query(downstream, 'SELECT 1'), { timeout: 3000 }).catch(() =>
        down.restart('kill'),
      )
    },
  },
  {
    kind: 'a short wal_sender_timeout',
    group: 'server',
    async strike({ up, chance }) {
      const set = (text: string) =>
        script(up.conninfo(), text).then(() => script(up.conninfo(), 'SELECT pg_reload_conf()'))
      await set(`ALTER SYSTEM SET wal_sender_timeout = '${1 + chance.below(2)}s'`)
      await while_(4000, () => set('ALTER SYSTEM RESET wal_sender_timeout'))
    },
  },
]

function fill(file: string): void {
  const fd = openSync(file, 'w')
  const block = Buffer.alloc(1024 * 1024)
  try {
    for (;;) writeSync(fd, block)
  } catch {
    // It is full.
  } finally {
    closeSync(fd)
  }
}

const ends = ['upProxy', 'downProxy'] as const
const nameOf = { upProxy: 'upstream', downProxy: 'downstream' } as const

const lasting = (what: string, longest: number, start: (proxy: TcpProxy) => void): Fault[] =>
  ends.map((end) => ({
    kind: `${what}, ${nameOf[end]}`,
    group: 'network',
    strike: async (world) => {
      start(world[end])
      await while_(300 + world.chance.below(longest), () => world[end].pass())
    },
  }))

const network: readonly Fault[] = [
  ...ends.flatMap((end): Fault[] => [
    { kind: `connections cut, ${nameOf[end]}`, group: 'network', strike: async (world) => world[end].cut() },
    {
      kind: `connections reset, ${nameOf[end]}`,
      group: 'network',
      strike: async (world) => world[end].reset(),
    },
    {
      kind: `cut and refused, ${nameOf[end]}`,
      group: 'network',
      strike: async (world) => {
        world[end].refuse()
        world[end].cut()
        await while_(500 + world.chance.below(2000), () => world[end].pass())
      },
    },
    {
      kind: `packets dropped, ${nameOf[end]}`,
      group: 'network',
      possible: () => process.env.FOLLOWER_CHAOS_NAMESPACE === '1',
      strike: async (world) => {
        const { port } = world[end]
        const side = world.chance.one(['--dport', '--sport'])
        const rule = ['INPUT', '-i', 'lo', '-p', 'tcp', side, String(port), '-j', 'DROP']
        execFileSync('iptables', ['-I', ...rule])
        await while_(500 + world.chance.below(4000), () => execFileSync('iptables', ['-D', ...rule]))
      },
    },
  ]),
  ...(['up', 'down', 'both'] as const satisfies readonly Direction[]).flatMap((direction) =>
    lasting(`stalled ${direction === 'both' ? 'both ways' : `one way (${direction})`}`, 4000, (proxy) =>
      proxy.stall(direction),
    ),
  ),
  ...lasting('slow', 3000, (proxy) => proxy.slow(50_000)),
  ...lasting('dribbling', 2000, (proxy) => proxy.dribble()),
]

const terminated = (end: 'upstream' | 'downstream', pattern: string, what: string): Fault => ({
  kind: `terminated: ${what}`,
  group: 'session',
  strike: async (world) => {
    await query(
      world[end],
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'follower/%' AND (${pattern})`,
    )
  },
})

const session: readonly Fault[] = [
  terminated('upstream', `backend_type = 'walsender'`, 'the walsender'),
  terminated('upstream', `backend_type = 'client backend'`, 'the question upstream'),
  terminated('downstream', 'true', 'sessions downstream'),
  {
    kind: 'a statement cancelled downstream',
    group: 'session',
    async strike({ downstream }) {
      await query(
        downstream,
        `SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'follower/%' AND state <> 'idle'`,
      )
    },
  },
  {
    kind: 'a table locked downstream',
    group: 'session',
    weight: 2,
    async strike({ downstream, chance }) {
      const it = await client(downstream)
      const table = chance.one(['account', 'ledger', 'hot', 'cold', 'scratch'])
      await it.query(`BEGIN; LOCK TABLE ${table}`).catch(() => {})
      await while_(500 + chance.below(4500), () => it.query('ROLLBACK').catch(() => {}))
      await it.end()
    },
  },
  {
    kind: 'rows locked in the other order: deadlocks',
    group: 'session',
    weight: 2,
    async strike({ downstream, chance }) {
      const it = await client(downstream)
      for (let i = 0; i < 5; i++) {
        await it.query('BEGIN').catch(() => {})
        for (const id of chance.shuffled([0, 1, 2])) {
          await it.query(`SELECT FROM hot WHERE id = ${id} FOR UPDATE`).catch(() => {})
          await sleep(chance.below(60))
        }
        await it.query('ROLLBACK').catch(() => {})
      }
      await it.end()
    },
  },
  {
    kind: 'a slow server process downstream',
    group: 'session',
    async strike({ downstream, chance }) {
      const rows = await query(
        downstream,
        `SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'follower/%' AND backend_type = 'client backend'`,
      )
      const pids = rows.map((row) => Number(row.pid))
      const signal = (name: NodeJS.Signals): void => {
        for (const pid of pids)
          try {
            process.kill(pid, name)
          } catch {
            // It has ended.
          }
      }
      signal('SIGSTOP')
      await while_(300 + chance.below(2500), () => signal('SIGCONT'))
    },
  },
  {
    kind: 'an open transaction upstream over many others',
    group: 'session',
    async strike({ upstream, chance }) {
      const it = await client(upstream)
      await it.query('BEGIN; UPDATE cold SET a = a + 1 WHERE id <= 3').catch(() => {})
      await while_(500 + chance.below(2000), () => it.query('ROLLBACK').catch(() => {}))
      await it.end()
    },
  },
  {
    kind: 'a large transaction upstream',
    group: 'session',
    async strike({ upstream }) {
      await script(
        upstream,
        `BEGIN; INSERT INTO document SELECT 500000000 + extract(epoch FROM clock_timestamp())::int8 * 1000 + i, repeat(md5(i::text), 1000) FROM generate_series(1, 300) i;
         DELETE FROM document WHERE id > 500000000; COMMIT`,
      )
    },
  },
]

export const faults: readonly Fault[] = [...process_, ...server, ...network, ...session]

import { expect, test } from 'vitest'
import { follow } from './support/follow.ts'
import { notifySocket, runs } from './support/notify-socket.ts'
import { available } from './support/servers.ts'
import { script } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

const heard = runs('systemd-notify', '--version') && runs('perl', '-MSocket', '-e', '1')

test.skipIf(!heard || !available('18'))(
  'a wedged pipeline stops the pings, and /livez with them; the event loop alone keeps nothing alive',
  { timeout: 180_000 },
  async () => {
    const { path: socket, messages } = await notifySocket()
    const it = await follow({
      args: ['--web-listen', '127.0.0.1:0'],
      env: {
        NOTIFY_SOCKET: socket,
        WATCHDOG_USEC: '1500000',
        FOLLOWER_FAILPOINT: 'apply.before-commit:hang',
      },
    })
    const { web } = JSON.parse(await it.follower.line(/follower starts/)) as { web: string }
    const pings = () => messages.filter((message) => message.WATCHDOG === '1').length
    await waitUntil(() => pings() > 3)
    // An idle pipeline is alive, though nothing moves; this makes it work, and hang.
    await script(it.upstream, 'INSERT INTO settled VALUES (0)')
    await it.follower.line(/failpoint apply.before-commit hang/)
    const livez = async () => (await fetch(`${web}/livez`)).status
    expect(await livez()).toBe(200)
    await waitUntil(async () => (await livez()) === 503, { timeout: 100_000, what: 'a /livez that fails' })
    // A ping may have been under way; the status tells that it looks, still, and that the lag grows.
    const lags = () => new Set(messages.map((message) => message.STATUS)).size
    const grow = async () => {
      const before = lags()
      await waitUntil(() => lags() > before + 2)
    }
    await grow()
    const before = pings()
    await grow()
    expect(pings()).toBe(before)
    expect(it.follower.running).toBe(true)
    expect(messages.at(-1)!.STATUS).toMatch(/^streaming, lag [67]\d\.\d s$/)
  },
)

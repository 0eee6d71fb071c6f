import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import pino from 'pino'
import { describe, expect, test } from 'vitest'
import { ServiceManager, watchdogMs } from '../src/daemon/service-manager.ts'
import { ExitCode } from '../src/errors.ts'
import { Health } from '../src/telemetry/health.ts'
import { cleanUp } from './support/cleanup.ts'
import { follow } from './support/follow.ts'
import { runFollower } from './support/follower.ts'
import { notifySocket, runs } from './support/notify-socket.ts'
import { temporaryDirectory } from './support/package.ts'
import { available, databases } from './support/servers.ts'
import { waitUntil } from './support/wait.ts'

const unit = readFileSync('docker/systemd/follower.service', 'utf8')

describe('the unit', () => {
  const analyze = runs('systemd-analyze', '--version')

  /** The unit with a program that is there. */
  function copy(): string {
    const file = path.join(temporaryDirectory(), 'follower.service')
    writeFileSync(file, unit.replace(/^ExecStart=follower /m, `ExecStart=${process.execPath} `))
    return file
  }

  test.skipIf(!analyze)('is valid', () => {
    const { status, stdout, stderr } = spawnSync('systemd-analyze', ['verify', copy()], { encoding: 'utf8' })
    expect([status, stdout, stderr]).toEqual([0, '', ''])
  })

  test.skipIf(!analyze)('is hardly exposed', () => {
    const output = execFileSync('systemd-analyze', ['security', '--offline=true', '--no-pager', copy()], {
      encoding: 'utf8',
    })
    const exposure = /Overall exposure level for \S+: (\d+\.\d)/.exec(output)?.[1]
    expect(Number(exposure)).toBeLessThanOrEqual(1.5)
  })

  test('restarts, but for what needs a person; and gives the drain its time', () => {
    const { usage, config, preflight, slot, apply } = ExitCode
    const prevented = /^RestartPreventExitStatus=(.*)$/m.exec(unit)?.[1]?.split(' ').map(Number)
    expect(prevented).toEqual([usage, config, preflight, slot, apply])
    expect(unit).toMatch(/^Restart=on-failure$/m)
    expect(unit).toMatch(/^NotifyAccess=all$/m)
    expect(Number(/^TimeoutStopSec=(\d+)$/m.exec(unit)?.[1])).toBeGreaterThan(10)
  })
})

test('the watchdog is for one process', () => {
  expect(watchdogMs({}, 7)).toBeUndefined()
  expect(watchdogMs({ WATCHDOG_USEC: '60000000' }, 7)).toBe(60_000)
  expect(watchdogMs({ WATCHDOG_USEC: '60000000', WATCHDOG_PID: '7' }, 7)).toBe(60_000)
  expect(watchdogMs({ WATCHDOG_USEC: '60000000', WATCHDOG_PID: '8' }, 7)).toBeUndefined()
  expect(watchdogMs({ WATCHDOG_USEC: '0' }, 7)).toBeUndefined()
})

describe('what systemd hears', () => {
  const heard = runs('systemd-notify', '--version') && runs('perl', '-MSocket', '-e', '1')

  test.skipIf(!heard || !available('18'))('state and lag, READY, WATCHDOG, STOPPING', async () => {
    const { path: socket, messages } = await notifySocket()
    const it = await follow({ env: { NOTIFY_SOCKET: socket, WATCHDOG_USEC: '600000' } })
    const said = (name: string, value: string) =>
      waitUntil(() => messages.find((message) => message[name] === value), { what: `${name}=${value}` })
    await said('READY', '1')
    await said('STATUS', 'streaming, lag 0.0 s')
    await waitUntil(() => messages.filter((message) => message.WATCHDOG === '1').length > 3)
    expect(await it.stop()).toBe(0)

    const first = (name: string) => messages.findIndex((message) => message[name] !== undefined)
    expect(messages[0]).toMatchObject({ MAINPID: String(it.follower.pid), STATUS: 'starting' })
    expect(messages[0]!.EXTEND_TIMEOUT_USEC).toBe('600000')
    expect(messages.filter((message) => message.READY === '1')).toHaveLength(1)
    expect(messages[first('READY')]!.STATUS).toMatch(/^(streaming|catchup)/)
    expect(messages.slice(first('READY')).filter((message) => message.EXTEND_TIMEOUT_USEC)).toEqual([])
    expect(messages[first('STOPPING')]!.STATUS).toBe('stopping')
    expect(first('STOPPING')).toBeGreaterThan(first('READY'))
    expect(it.follower.output).not.toContain('systemd-notify')
  })

  test.skipIf(!heard || !available('18'))('why it ended', async () => {
    const { path: socket, messages } = await notifySocket()
    const { upstream } = await databases()
    const ends = ['--upstream', upstream, '--downstream', 'postgres://app:hunter2@127.0.0.1:1/shop']
    const it = runFollower(['start', ...ends], { env: { NOTIFY_SOCKET: socket } })
    expect((await it.exit).code).toBe(5)
    await waitUntil(() => messages.some((message) => message.STOPPING === '1'))
    const status = messages.findLast((message) => message.STATUS)?.STATUS
    expect(status).toMatch(/^halted: cannot connect to downstream .*127\.0\.0\.1/)
    expect(JSON.stringify(messages)).not.toContain('hunter2')
    expect(JSON.stringify(messages)).not.toContain('READY')
  })

  test.skipIf(!heard)('no WATCHDOG, and no more time to start, while the health says wedged', async () => {
    const { path: socket, messages } = await notifySocket()
    const health = new Health()
    let live = true
    health.live = () => live
    const env = { NOTIFY_SOCKET: socket, WATCHDOG_USEC: '90000', PATH: process.env.PATH }
    const manager = ServiceManager.of(health, pino({ level: 'silent' }), env)!
    cleanUp(() => manager.close())
    const alive = () => messages.filter((message) => message.WATCHDOG ?? message.EXTEND_TIMEOUT_USEC).length
    await waitUntil(() => alive() > 2)
    live = false
    // The status shows that it still looks: of what it said before, nothing is under way any more.
    const looked = async (lag: number) => {
      health.lagSeconds = lag
      await waitUntil(() => messages.some((message) => message.STATUS?.includes(`lag ${lag}.0 s`)))
    }
    await looked(1)
    const before = alive()
    await looked(2)
    await looked(3)
    expect(alive()).toBe(before)
    live = true
    await waitUntil(() => alive() > before)
  })

  test.skipIf(!available('18'))(
    'nothing where systemd-notify is missing, but the log says so once',
    async () => {
      const bin = temporaryDirectory()
      const it = await follow({ env: { NOTIFY_SOCKET: '/nowhere', WATCHDOG_USEC: '90000', PATH: bin } })
      await it.follower.line(/systemd-notify is not installed/)
      await it.run('CREATE TABLE t (id int PRIMARY KEY)')
      expect(await it.stop()).toBe(0)
      expect(it.follower.output.match(/systemd-notify/g)).toHaveLength(1)
    },
  )

  test.skipIf(!heard || !available('18'))(
    'nothing where nobody listens, but the log says so once',
    async () => {
      const it = await follow({ env: { NOTIFY_SOCKET: '/nowhere', WATCHDOG_USEC: '90000' } })
      await it.follower.line(/systemd-notify failed/)
      await it.run('CREATE TABLE t (id int PRIMARY KEY)')
      expect(await it.stop()).toBe(0)
      expect(it.follower.output.match(/systemd-notify failed/g)).toHaveLength(1)
    },
  )
})

import { execFileSync, spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { cleanUp } from './support/cleanup.ts'
import { available } from './support/servers.ts'
import { value } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

const main = fileURLToPath(new URL('../dist/demo/main.js', import.meta.url))

/** Runs the demo with a directory for temporary files of its own, where everything that it leaves over shows. */
function demo(args: readonly string[], env: Record<string, string> = {}) {
  const dir = mkdtempSync('/tmp/follower-test-')
  chmodSync(dir, 0o755)
  cleanUp(() => rmSync(dir, { recursive: true, force: true, maxRetries: 10 }))
  const child = spawn(process.execPath, [main, ...args], {
    env: { ...process.env, TMPDIR: dir, FOLLOWER_DEMO_SECONDS: '6', NO_COLOR: '1', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  cleanUp(() => child.kill('SIGTERM'))
  const it = {
    child,
    output: '',
    exit: new Promise<number | null>((resolve) => child.once('close', resolve)),
    /** Its directories, and its processes: the directory is in the command line of servers and the environment of the rest. */
    leftOver: () => [
      ...readdirSync(dir).filter((name) => !name.startsWith('follower-postgres-')),
      ...processesOf(dir),
    ],
  }
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (it.output += String(data)))
  return it
}

function processesOf(dir: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        const [command, environment] = ['cmdline', 'environ'].map((file) =>
          readFileSync(path.join('/proc', pid, file), 'utf8').replaceAll('\0', ' '),
        )
        return environment!.includes(`TMPDIR=${dir} `) ? `${command} ${dir}` : command!
      } catch {
        return ''
      }
    })
    .filter((command) => command.includes(dir))
}

test.skipIf(!available('18'))('the demo proves both ends equal and leaves nothing over', async () => {
  const it = demo([])
  expect(await it.exit, it.output).toBe(0)
  expect(it.output).toMatch(
    /follower start --copy all: 4 tables with \d\d \d\d\d rows copied in [\d.]+ s \([\d ]+ rows a second\)/,
  )
  expect(it.output).toContain('SIGKILL to the follower')
  expect(it.output).toMatch(/✓ both ends are equal: \d+ objects/)
  expect(it.leftOver()).toEqual([])
})

test.skipIf(!available('18'))('a planted difference fails it', async () => {
  const it = demo([], { FOLLOWER_DEMO_PLANT: '1' })
  expect(await it.exit, it.output).toBe(1)
  expect(it.output).toContain('✗ rows public.accounts: only at one end')
  expect(it.output).toContain('✗ downstream, the balances are not the sum of the movements')
  expect(it.output).not.toContain('both ends are equal')
  expect(it.leftOver()).toEqual([])
})

test.skipIf(!available('18')).each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('a demo that %s ends leaves nothing over', async (signal, code) => {
  const it = demo([])
  await waitUntil(() => it.output.includes('streaming'), { timeout: 60_000 })
  it.child.kill(signal)
  expect(await it.exit).toBe(code)
  await waitUntil(() => it.leftOver().length === 0, { what: 'servers and directories to be gone' })
})

test.skipIf(!available('18'))(
  '--keep leaves it running, and says how to connect and how to stop',
  async () => {
    const it = demo(['--keep'])
    cleanUp(() => {
      const stop = /^ {2}(kill .*)$/m.exec(it.output)?.[1]
      if (stop && it.leftOver().length > 0) execFileSync('sh', ['-c', stop])
    })
    expect(await it.exit, it.output).toBe(0)
    const [upstream, downstream] = ['upstream', 'downstream'].map(
      (end) => new RegExp(`^ {2}${end} +(postgresql:\\S+)$`, 'm').exec(it.output)![1]!,
    )
    await value(upstream!, "INSERT INTO branches VALUES (999, 5) RETURNING 'done'")
    await waitUntil(
      async () => (await value(downstream!, 'SELECT count(*) FROM branches WHERE id = 999')) === '1',
    )
    execFileSync('sh', ['-c', /^ {2}(kill .*)$/m.exec(it.output)![1]!])
    expect(it.leftOver()).toEqual([])
  },
)

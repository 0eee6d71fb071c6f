import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { follow } from './support/follow.ts'
import { install, outOfReach, type Packed, pack } from './support/package.ts'
import { absent, available } from './support/servers.ts'

let packed: Packed
/** The node_modules it was installed into; undefined where npm reached nothing. */
let modules: string | undefined

beforeAll(async () => {
  packed = await pack()
  try {
    modules = await install(packed.tarball)
  } catch (error) {
    if (!outOfReach(error)) throw error
    absent('what npm install needs')
  }
}, 180_000)

test('the package is small and holds what is needed, and nothing else', () => {
  expect(packed.name).toBe('pg-follower')
  const other = packed.files.filter(
    (file) =>
      !/^(package\.json|(sql\/)?README\.md|LICENSE|CHANGELOG\.md|docs\/[a-z0-9-]+\.md|docker\/systemd\/\S+)$/.test(
        file,
      ) &&
      !/^dist\/(?!demo\/)\S+\.(js|d\.ts)$/.test(file) &&
      !/^sql\/(both|downstream|query|query\/schema|teardown|upstream)\/\w+\.sql$/.test(file),
  )
  expect(other).toEqual([])
  const statements = readdirSync('sql', { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.sql') && !file.startsWith('compare/'))
    .map((file) => `sql/${file}`)
  expect(packed.files.filter((file) => file.endsWith('.sql')).toSorted()).toEqual(statements.toSorted())
  const needed = [
    ...['dist/cli.js', 'dist/index.js', 'dist/index.d.ts', 'LICENSE', 'README.md', 'CHANGELOG.md'],
    ...['docs/cli.md', 'docs/deploy.md', 'docker/systemd/follower.service'],
  ]
  expect(needed.filter((file) => !packed.files.includes(file))).toEqual([])
  expect(packed.size).toBeLessThan(500_000)
})

test('the lock file has the same name', () => {
  const lock = JSON.parse(readFileSync('package-lock.json', 'utf8'))
  expect([lock.name, lock.packages[''].name]).toEqual([packed.name, packed.name])
  expect(lock.packages[''].version).toBe(packed.version)
})

test('installed, it says its version and its help', (context) => {
  if (!modules) return context.skip()
  const run = (...args: string[]) =>
    spawnSync(path.join(modules!, '.bin', 'follower'), args, { encoding: 'utf8' })
  const version = run('--version')
  expect([version.status, version.stderr]).toEqual([0, ''])
  expect(version.stdout).toMatch(new RegExp(`^follower ${packed.version.replaceAll('.', '\\.')} \\(`))
  expect(run('version').stdout).toBe(version.stdout)
  const help = run('--help')
  expect([help.status, help.stderr]).toEqual([0, ''])
  expect(help.stdout).toContain('Usage: follower')
})

test('the library loads from it', (context) => {
  if (!modules) return context.skip()
  const code = 'import("pg-follower").then((it) => console.log(Object.keys(it).join()))'
  const { stdout, stderr } = spawnSync(process.execPath, ['-e', code], {
    cwd: path.dirname(modules),
    encoding: 'utf8',
  })
  expect(stderr).toBe('')
  expect(stdout.trim().split(',')).toEqual(expect.arrayContaining(['readStartSettings', 'runFollow']))
})

test.skipIf(!available('18'))('installed, it follows: rows and a schema change', async (context) => {
  if (!modules) return context.skip()
  const it = await follow({ program: [path.join(modules, '.bin', 'follower')] })
  await it.run('CREATE TABLE t (id int PRIMARY KEY, v text)')
  await it.run("INSERT INTO t VALUES (1, 'one'), (2, NULL)")
  await it.run('ALTER TABLE t ADD COLUMN w int; UPDATE t SET w = id')
  const [upstream, downstream] = await it.both('SELECT * FROM t ORDER BY id')
  expect(downstream).toBe(upstream)
  expect(downstream).toContain('"w":"2"')
  expect(await it.stop()).toBe(0)
})

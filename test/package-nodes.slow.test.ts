import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { follow } from './support/follow.ts'
import { install, outOfReach, pack } from './support/package.ts'
import { absent, available } from './support/servers.ts'

/** The packed program runs under each Node that package.json's `engines` allows and somebody still keeps up. */
let modules: string | undefined

beforeAll(async () => {
  const { tarball } = await pack()
  modules = await orAbsent('what npm install needs', () => install(tarball))
}, 180_000)

async function orAbsent(what: string, get: () => Promise<string>): Promise<string | undefined> {
  try {
    return await get()
  } catch (error) {
    if (!outOfReach(error)) throw error
    absent(what)
    return undefined
  }
}

describe.skipIf(!available('18'))('the packed program', () => {
  test.for([20, 22, 24])('runs and follows under Node %i', { timeout: 300_000 }, async (major, context) => {
    const node = await nodeOf(major)
    if (!node || !modules) return context.skip()
    const cli = path.join(modules, 'pg-follower', 'dist', 'cli.js')
    const version = execFileSync(node, [cli, '--version'], { encoding: 'utf8' })
    expect(version).toContain(`, node ${major}.`)

    const it = await follow({ program: [node, cli] })
    await it.run('CREATE TABLE t (id int PRIMARY KEY, v text)')
    await it.run("INSERT INTO t SELECT n, repeat('x', n) FROM generate_series(1, 1000) n")
    await it.run('ALTER TABLE t ADD COLUMN w int; UPDATE t SET w = id; DELETE FROM t WHERE id % 7 = 0')
    const [upstream, downstream] = await it.both('SELECT * FROM t ORDER BY id')
    expect(downstream).toBe(upstream)
    expect(await it.stop()).toBe(0)
  })
})

/** The Node of this process where it is of that major, else one that npm brings. */
async function nodeOf(major: number): Promise<string | undefined> {
  if (process.versions.node.startsWith(`${major}.`)) return process.execPath
  const platform = `${process.platform}-${process.arch}`
  return orAbsent(`Node ${major} for ${platform}`, async () =>
    path.join(await install(`node-${platform}@${major}`), `node-${platform}`, 'bin', 'node'),
  )
}

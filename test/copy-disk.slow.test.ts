import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { chownSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { cleanUp } from './support/cleanup.ts'
import { compareDatabases } from './support/comparator.ts'
import { followerCommand, runFollower } from './support/follower.ts'
import { available, cluster } from './support/servers.ts'
import { query, script, value } from './support/sql.ts'

const MB = 1024 * 1024
const inside = process.env.FOLLOWER_DISK_NAMESPACE === '1'
const namespace = ['--mount', '--propagation', 'private', '--pid', '--fork', '--mount-proc']
const possible = process.getuid?.() === 0 && spawnSync('unshare', [...namespace, 'true']).status === 0

if (inside)
  test('a disk that is full in the middle of the copy: it waits for room, and goes on', async () => {
    const [up, down] = await Promise.all([cluster(), cluster()])
    const place = path.join(down.dir, 'small')
    mkdirSync(place)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=80m,mode=0700', 'tmpfs', place])
    cleanUp(() => execFileSync('umount', ['-l', place]))
    const { uid, gid } = statSync(down.dataDir)
    chownSync(place, uid, gid)
    // Leaves room for the beginning of it.
    const filler = path.join(place, 'filler')
    const [upstream, downstream] = [up.conninfo(), down.conninfo()]
    await script(downstream, `CREATE TABLESPACE small LOCATION '${place}'`)
    writeFileSync(filler, Buffer.alloc(65 * MB))
    const big = 'CREATE TABLE big (id int PRIMARY KEY, t text)'
    const first = 'CREATE TABLE first (id int PRIMARY KEY)'
    await script(upstream, `${big}; ${first}; INSERT INTO first VALUES (1)`)
    await script(downstream, `${big} TABLESPACE small; ${first}`)
    await script(upstream, `INSERT INTO big SELECT i, repeat('x', 900) FROM generate_series(1, 40000) i`)
    const ends = ['--upstream', upstream, '--downstream', downstream]
    const it = runFollower(['start', ...ends, '--copy', 'data', '--copy-split', '4MB', '--copy-jobs', '2'])
    const copied = () =>
      query(downstream, `SELECT name FROM follower.copied_table WHERE state = 'copied' ORDER BY name`)
    // It begins, fails, takes its rows away and begins again, however often.
    for (let times = 1; times <= 3; times++) {
      await it.until(
        () => it.stderr.filter((line) => line.includes('FLW-350')).length >= times,
        `the error, time ${times}`,
        60_000,
      )
      expect(await copied()).not.toContainEqual({ name: 'big' })
    }
    const line = it.stderr.find((text) => text.includes('FLW-350'))
    expect(line).toMatch(/the copy of public\.big stopped downstream: could not .*No space left on device/)
    expect(line).toContain('make room downstream; the copy goes on by itself')
    expect(line).not.toContain('xxxx')
    // Between two attempts nobody is there.
    await it.until(
      async () => {
        const { stdout, code } = await followerCommand(['status', ...ends, '--json'])
        return code === 0 && JSON.parse(stdout).state === 'copying'
      },
      'status to say that it copies',
      60_000,
    )
    await script(upstream, `UPDATE big SET t = 'later' WHERE id % 100 = 0; INSERT INTO first VALUES (2)`)
    rmSync(filler)
    await it.until(async () => (await copied()).length === 2, 'room', 60_000)
    await it.until(
      async () => (await value(downstream, `SELECT count(*) FROM big WHERE t = 'later'`)) === '400',
      'the stream',
    )
    expect(await compareDatabases(upstream, downstream)).toEqual([])
    expect(await query(upstream, 'SELECT slot_name FROM pg_replication_slots')).toEqual([
      { slot_name: 'follower' },
    ])
    expect(await it.stop()).toMatchObject({ code: 0 })
  })
// What is mounted there is seen nowhere else, and ends with it.
else
  test.skipIf(!possible || !available('18'))(
    'a full disk downstream, in a mount namespace (needs root and unshare)',
    { timeout: 240_000 },
    async () => {
      const root = fileURLToPath(new URL('..', import.meta.url))
      const vitest = path.join(root, 'node_modules/vitest/vitest.mjs')
      // Not synchronously: this test's own time would not end it. With it everything in the namespace ends.
      const child = spawn(
        'unshare',
        [
          ...[...namespace, '--kill-child'],
          ...[process.execPath, vitest, 'run', '--root', root, 'test/copy-disk.slow.test.ts'],
        ],
        {
          stdio: ['ignore', 'pipe', 'pipe'],
          env: { ...process.env, FOLLOWER_DISK_NAMESPACE: '1', FOLLOWER_SLOW: '1', VITEST: undefined },
        },
      )
      cleanUp(() => child.kill('SIGKILL'))
      let output = ''
      for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (output += String(data)))
      const status = await new Promise((resolve, reject) =>
        child.once('error', reject).once('close', resolve),
      )
      expect(status, output).toBe(0)
      expect(output).toMatch(/1 passed/)
    },
  )

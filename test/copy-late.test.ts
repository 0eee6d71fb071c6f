import { expect, test } from 'vitest'
import { compareDatabases } from './support/comparator.ts'
import { followerCommand } from './support/follower.ts'
import { type Follow, start } from './support/kill.ts'
import { databases } from './support/servers.ts'
import { query, statements, value } from './support/sql.ts'

const schema = ['first', 'second', 'third', 'outside', 'away'].map(
  (name) => `CREATE TABLE ${name} (id int PRIMARY KEY, t text)`,
)

test('a table that a publication takes up is copied; so is what is asked for', {
  timeout: 120_000,
}, async () => {
  const all = await databases('18')
  await statements(all.upstream, [
    ...schema,
    "INSERT INTO first SELECT i, 'first' FROM generate_series(1, 10) i",
    "INSERT INTO second SELECT i, 'second' FROM generate_series(1, 1000) i",
    "INSERT INTO third SELECT i, 'third' FROM generate_series(1, 1000) i",
    'CREATE PUBLICATION p FOR TABLE first, away',
  ])
  await statements(all.downstream, schema)
  const follow: Follow = { ...all, args: ['--copy', 'data', '--publication', 'p'] }
  const ends = ['--upstream', all.upstream, '--downstream', all.downstream, '--name', all.name]
  const copy = (...args: string[]) => followerCommand(['copy', ...ends, ...args])
  const follower = start(follow)
  await follower.ready({ slot: all.name })
  const copied = (name: string) =>
    follower.until(
      async () =>
        (await value(all.downstream, 'SELECT state FROM follower.copied_table WHERE name = $1', [name])) ===
        'copied',
      `${name} to be copied`,
      40_000,
    )

  // One is seen by its first change, which without its row would be an error; the other one by a look at the publication.
  await statements(all.upstream, [
    'ALTER PUBLICATION p ADD TABLE second, third',
    "UPDATE second SET t = 'changed' WHERE id = 500",
    "INSERT INTO first VALUES (11, 'goes on')",
  ])
  await copied('second')
  await copied('third')

  const wrong = await copy('--tables', 'public.first,public.outside,public.nowhere')
  expect(wrong.code).toBe(2)
  expect(wrong.stderr).toMatch(/FLW-344.*public\.outside, public\.nowhere/)
  await statements(all.downstream, ["UPDATE second SET t = 'astray'; DELETE FROM second WHERE id > 900"])
  const asked = await copy('--tables', 'public.second', '--overwrite', '--json')
  expect(JSON.parse(asked.stdout)).toEqual({
    ...{ schema: 'follower.copy/1', name: all.name, tables: ['public.second'] },
    ...{ overwrite: true, running: true },
  })
  await copied('second')
  expect((await follower.stop()).code).toBe(0)

  // Without a daemon: by the next start. One is empty, and needs no leave.
  await statements(all.upstream, ["INSERT INTO away VALUES (1, 'later')"])
  await statements(all.downstream, ['DELETE FROM third'])
  expect(await copy('--tables', 'public.third,public.away')).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('by the next start'),
  })
  await statements(all.upstream, ['UPDATE third SET t = upper(t) WHERE id < 10'])
  const last = start(follow, undefined, ['--until', 'now'])
  expect(await last.exit, last.output).toMatchObject({ code: 0 })
  expect(await compareDatabases(all.upstream, all.downstream)).toEqual([])
  expect(
    await query(all.downstream, "SELECT name FROM follower.copied_table WHERE state <> 'copied'"),
  ).toEqual([])
})

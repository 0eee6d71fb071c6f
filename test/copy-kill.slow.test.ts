import { describe, expect, test } from 'vitest'
import { expectEqual, type Follow, killed, start } from './support/kill.ts'
import { startLoad } from './support/load.ts'
import { seed } from './support/random.ts'
import { available, databases, type Pair } from './support/servers.ts'
import { client, query, script, value } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

const pairs: readonly Pair[] = ['18', '15-18']

/** Its rows take several parts. */
const big = 'CREATE TABLE big (id int PRIMARY KEY, t text)'
const load = { ddl: false, writers: 3 }

describe.each(pairs.filter(available))('a copy under load, %s', (pair) => {
  /** The tables of the load at both ends, with rows upstream only. */
  async function prepare(): Promise<Follow> {
    const all = await databases(pair)
    await (await startLoad(all.downstream, { ...load, seed: 1 })).stop()
    await script(
      all.downstream,
      `${big}; TRUNCATE account, ledger, hot, cold, scratch, document; ALTER TABLE hot ADD FOREIGN KEY (id) REFERENCES big`,
    )
    await script(
      all.upstream,
      `${big}; INSERT INTO big SELECT i, repeat(md5(i::text), 4) FROM generate_series(0, 9999) i`,
    )
    return { ...all, args: ['--copy', 'data', '--copy-jobs', '2', '--copy-split', '256kB'] }
  }

  test('killed in every phase, it ends in equal databases', { timeout: 180_000 }, async () => {
    const follow = await prepare()
    const running = await startLoad(follow.upstream, { ...load, seed: seed(`copy, ${pair}`) })
    await script(follow.upstream, 'ALTER TABLE hot ADD FOREIGN KEY (id) REFERENCES big')
    const parts = "SELECT parts_left || ' of ' || rows FROM follower.copied_table WHERE name = 'big'"
    for (const [name, n] of [
      ['start.slot', 1],
      ['copy.table', 1],
      ['copy.begun', 1],
      ['copy.committed', 1],
      ['copy.before-commit', 3],
      ['copy.table', 4],
      ['copy.committed', 9],
      ['copy.done', 1],
    ] as const) {
      await killed(start(follow, `${name}:kill9:${n}`), name, follow)
      // Something to leave out of the stream, and something to apply.
      await script(
        follow.upstream,
        "UPDATE big SET t = 'changed' WHERE id % 100 = 7; DELETE FROM big WHERE id % 100 = 9 AND random() < 0.1",
      )
      if (name === 'copy.committed' && n === 1)
        expect(await value(follow.downstream, parts)).toMatch(/^[1-9]/)
    }
    await expectEqual(follow, running)
    const left = await query(
      follow.upstream,
      "SELECT slot_name FROM pg_replication_slots WHERE database = current_database() AND slot_name LIKE '%copy'",
    )
    expect(left).toEqual([])
    expect(
      await query(follow.downstream, "SELECT name FROM follower.copied_table WHERE state <> 'copied'"),
    ).toEqual([])
  })

  test('stopped, or cut from either end, it goes on', { timeout: 120_000 }, async () => {
    const follow = await prepare()
    const running = await startLoad(follow.upstream, { ...load, seed: seed(`copy stopped, ${pair}`) })
    await script(follow.upstream, 'ALTER TABLE hot ADD FOREIGN KEY (id) REFERENCES big')
    const gate = await client(follow.downstream)
    await gate.query('BEGIN; LOCK TABLE big IN EXCLUSIVE MODE')
    const stopped = start(follow)
    await waitUntil(
      async () =>
        (await value(
          follow.downstream,
          'SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = $1::regclass',
          ['big'],
        )) !== '0',
      { what: 'the copy to wait' },
    )
    expect(await stopped.stop(), stopped.output).toMatchObject({ code: 0 })
    await gate.query('COMMIT')
    for (const failpoint of ['copy.table', 'copy.before-commit', 'copy.committed']) {
      const it = start(follow, `${failpoint}:drop:2`)
      await it.line(new RegExp(`failpoint ${failpoint} drop`))
      await it.until(
        async () =>
          (await value(follow.downstream, "SELECT bool_and(state = 'copied') FROM follower.copied_table")) ===
          't',
        'all tables to be copied',
        60_000,
      )
      expect(await it.stop()).toMatchObject({ code: 0 })
      await script(
        follow.downstream,
        "UPDATE follower.copied_table SET state = 'copying' WHERE name <> 'big'",
      )
    }
    await expectEqual(follow, running)
  })
})

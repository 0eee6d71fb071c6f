import { describe, expect, it } from 'vitest'
import { log } from './support/failure.ts'
import { type Following, follow } from './support/follow.ts'
import { query, script } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

/** Small transactions go with their COMMIT in one exchange: the statements themselves say whether they met one row. */
describe('a small transaction', () => {
  it('is sent with its COMMIT, whatever it changes, and not done again', async () => {
    const f = await follow({
      args: ['--web-listen', '127.0.0.1:0'],
      before: [
        'CREATE TABLE met(a int PRIMARY KEY, b text, c text)',
        'ALTER TABLE met ALTER c SET STORAGE EXTERNAL',
        'CREATE TABLE always(a int PRIMARY KEY, i int GENERATED ALWAYS AS IDENTITY, b text)',
        'CREATE TABLE made(a int PRIMARY KEY, b int GENERATED ALWAYS AS (a * 2) STORED)',
        'CREATE TABLE only_always(i int GENERATED ALWAYS AS IDENTITY PRIMARY KEY)',
        'CREATE TABLE loose(a int, b text)',
        'ALTER TABLE loose REPLICA IDENTITY FULL',
        'CREATE TABLE parted(a int PRIMARY KEY, b text) PARTITION BY RANGE (a)',
        'CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10)',
        'CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20)',
      ],
    })
    await f.run(`INSERT INTO met SELECT g, 'b', repeat('c', 9000) FROM generate_series(1, 9) g;
      INSERT INTO always(a, b) SELECT g, 'b' FROM generate_series(1, 9) g;
      INSERT INTO made SELECT generate_series(1, 9); INSERT INTO only_always OVERRIDING SYSTEM VALUE VALUES (1), (2), (3);
      INSERT INTO loose VALUES (1, 'x'), (1, 'x'), (NULL, NULL); INSERT INTO parted SELECT g, 'b' FROM generate_series(1, 9) g`)
    await f.run(`UPDATE met SET b = 'unchanged' WHERE a < 4; UPDATE met SET a = a + 100 WHERE a = 5; DELETE FROM met WHERE a = 6;
      UPDATE always SET i = DEFAULT, b = 'replaced' WHERE a = 2; UPDATE always SET a = 50 WHERE a = 3;
      UPDATE made SET a = 40 WHERE a = 4; DELETE FROM only_always WHERE i = 2;
      DELETE FROM loose WHERE ctid = (SELECT min(ctid) FROM loose); UPDATE loose SET b = 'y' WHERE a IS NULL;
      UPDATE parted SET a = 15 WHERE a = 5; DELETE FROM parted WHERE a = 6`)
    for (const table of ['met', 'always', 'made', 'only_always', 'loose', 'parted']) {
      const [up, down] = await f.both(`SELECT t::text FROM ${table} t ORDER BY 1`)
      expect(down, table).toBe(up)
    }
    expect(await redone(f)).toEqual([])
    expect(await f.stop()).toBe(0)
  })

  it.each([
    ['UPDATE', "UPDATE t SET b = 'new' WHERE a = 2"],
    ['UPDATE of an identity ALWAYS column', 'UPDATE always SET i = DEFAULT WHERE a = 2'],
    ['DELETE', 'DELETE FROM t WHERE a = 2'],
  ])('leaves nothing downstream where its %s meets no row', { timeout: 60_000 }, async (_name, text) => {
    const f = await follow({
      args: ['--on-error', 'exit', '--on-conflict', 'delete_missing=halt'],
      before: [
        'CREATE TABLE t(a int PRIMARY KEY, b text)',
        'CREATE TABLE always(a int PRIMARY KEY, i int GENERATED ALWAYS AS IDENTITY)',
        "INSERT INTO t VALUES (1, 'old'), (2, 'old')",
        'INSERT INTO always VALUES (1), (2)',
      ],
      downstreamOnly: ['DELETE FROM t WHERE a = 2', 'DELETE FROM always WHERE a = 2'],
    })
    await script(
      f.upstream,
      `BEGIN; INSERT INTO t VALUES (3, 'with it'); UPDATE t SET b = 'with it' WHERE a = 1; ${text}; COMMIT`,
    )
    await waitUntil(async () => !f.follower.running, { what: 'the end of the follower' })
    expect(await f.stop()).toBe(8)
    expect(await query(f.downstream, 'SELECT a, b FROM t ORDER BY a')).toEqual([{ a: '1', b: 'old' }])
  })
})

async function redone(f: Following): Promise<string[]> {
  const url = log(f.follower).find((line) => line.msg === 'follower starts')?.web
  const text = await (await fetch(new URL('/metrics', String(url)))).text()
  return text.split('\n').filter((line) => /^follower_apply_batches_redone_total.* [1-9]/.test(line))
}

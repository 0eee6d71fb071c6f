import { expect, it } from 'vitest'
import { follow } from './support/follow.ts'
import { client, query } from './support/sql.ts'

it('replays DDL before the rows of the next savepoint', async () => {
  // Decoding merges subtransactions by LSN, where a message has its record's end and a row its record's start:
  // with nothing in between, the row came first.
  const f = await follow()
  const writer = await client(f.upstream)
  for (let i = 0; i < 5; i++) {
    await writer.query('BEGIN; SAVEPOINT a')
    await writer.query(`CREATE TABLE t${i}(id int PRIMARY KEY)`)
    await writer.query('SAVEPOINT b')
    await writer.query(`INSERT INTO t${i} VALUES (1), (2)`)
    await writer.query('SAVEPOINT c')
    await writer.query(`ALTER TABLE t${i} ADD v text`)
    await writer.query('SAVEPOINT d')
    await writer.query(`UPDATE t${i} SET v = 'x'`)
    await writer.query('COMMIT')
  }
  await f.settle()
  expect(await query(f.downstream, 'SELECT * FROM t4 ORDER BY 1')).toEqual([
    { id: '1', v: 'x' },
    { id: '2', v: 'x' },
  ])
})

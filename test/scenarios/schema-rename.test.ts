import { describe, expect, it } from 'vitest'
import { follow } from '../support/follow.ts'
import { rights } from '../support/rights.ts'
import { query } from '../support/sql.ts'

describe.each(rights)('a schema that is renamed, of %s', (_, pair, least) => {
  const followed = [
    { publication: 'all tables', args: [] },
    { publication: 'a list of tables', args: ['--tables', 'sch1.*,public.*'] },
  ]

  it.each(followed)(
    'scenario 11: rows go by the name of their time, and both ends are equal in the end ($publication)',
    async ({ args }) => {
      const f = await follow({
        pair,
        least,
        args,
        before: ['CREATE SCHEMA sch1', 'CREATE TABLE sch1.t1(a int PRIMARY KEY)'],
      })
      await f.run('INSERT INTO sch1.t1 VALUES (0)')
      await f.run('ALTER SCHEMA sch1 RENAME TO sch2; INSERT INTO sch2.t1 VALUES (1)')
      await f.run('ALTER SCHEMA sch2 RENAME TO sch1')
      await f.run(
        `BEGIN; INSERT INTO sch1.t1 VALUES (2); ALTER SCHEMA sch1 RENAME TO sch2; CREATE SCHEMA sch1; CREATE TABLE sch1.t1(a int PRIMARY KEY);
       INSERT INTO sch1.t1 VALUES (3); INSERT INTO sch2.t1 VALUES (4); COMMIT`,
      )
      const text =
        'SELECT array(SELECT a FROM sch1.t1 ORDER BY a) AS sch1, array(SELECT a FROM sch2.t1 ORDER BY a) AS sch2'
      expect(await query(f.downstream, text)).toEqual([{ sch1: '{3}', sch2: '{0,1,2,4}' }])
    },
  )
})

import { expect, test } from 'vitest'
import { compareDatabases } from './support/comparator.ts'
import { follow } from './support/follow.ts'
import { available, type Pair } from './support/servers.ts'
import { script, statements, value } from './support/sql.ts'
import { waitUntil } from './support/wait.ts'

const cases: readonly [name: string, columns: string, what: string, pair: Pair][] = [
  ['one column', 'a int, b text, n int, PRIMARY KEY (a)', 'UPDATE', '18'],
  ['text', 'a varchar(20), b text, n int, PRIMARY KEY (a)', 'UPDATE', '18'],
  ['two columns', 'a int, b text, n int, PRIMARY KEY (b, a)', 'UPDATE', '18'],
  ['two columns, deleted', 'a int, b text, n int, PRIMARY KEY (a, b)', 'DELETE', '18'],
  // Before 17 the server treats the second column otherwise.
  ['two columns, 14', 'a int, b text, n int, PRIMARY KEY (b, a)', 'UPDATE', '14'],
]

test.each(cases.filter(([, , , pair]) => available(pair)))(
  'rows of a table that looks empty to the planner are found by its index: %s',
  async (_, columns, what, pair) => {
    const f = await follow({ pair, before: [`CREATE TABLE t(${columns}) WITH (autovacuum_enabled = false)`] })
    const rows = 'INSERT INTO t SELECT i, md5(i::text), 0 FROM generate_series(1, 10000) i'
    await statements(f.downstream, ['BEGIN', rows, 'ROLLBACK', 'ANALYZE t'])
    expect(
      await value(
        f.downstream,
        "SELECT reltuples = 0 AND relpages > 0 FROM pg_class WHERE oid = 't'::regclass",
      ),
    ).toBe('t')
    await script(
      f.upstream,
      `BEGIN; ${rows}; ${what === 'UPDATE' ? 'UPDATE t SET n = 1' : 'DELETE FROM t'}; COMMIT`,
    )
    await script(f.upstream, rows.replace('SELECT i', 'SELECT 10000 + i'))
    await script(f.upstream, what === 'UPDATE' ? 'UPDATE t SET n = 2' : 'DELETE FROM t')
    await f.settle()
    expect(await compareDatabases(f.upstream, f.downstream)).toEqual([])
    // The other way round it would be one scan for each statement.
    const scans = "SELECT idx_scan > 10000 FROM pg_stat_user_indexes WHERE indexrelname = 't_pkey'"
    await waitUntil(async () => (await value(f.downstream, scans)) === 't', { what: 'a scan for each row' })
  },
)

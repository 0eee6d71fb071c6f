import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import type pg from 'pg'
import { describe, expect, it } from 'vitest'
import { compareDatabases } from './support/comparator.ts'
import { followerCommand, runFollower } from './support/follower.ts'
import { pulling } from './support/pull.ts'
import { available, databases, hasWal2json, type Pair } from './support/servers.ts'
import { client, script, value } from './support/sql.ts'

const slow = process.env.FOLLOWER_SLOW === '1'

/** The seed and the number of cases: FOLLOWER_SEED, FOLLOWER_PROPERTY_RUNS. */
const seed = Number(process.env.FOLLOWER_SEED ?? Date.now() % 2 ** 31)
const runs = Number(process.env.FOLLOWER_PROPERTY_RUNS ?? (slow ? 25 : 4))

const table = fc.constantFrom('t0', 't1', 't2')
const column = fc.constantFrom('a', 'b', 'c', 'd')
const number = fc.integer({ min: 0, max: 40 })

/** Statements of which some fail upstream, depending on what came before: that is the point. */
const statement: fc.Arbitrary<string> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc
      .tuple(table, number, number)
      .map(
        ([t, from, n]) =>
          `INSERT INTO ${t}(id, a) SELECT g, g * 3 FROM generate_series(${from}, ${from + n}) g`,
      ),
  },
  {
    weight: 3,
    arbitrary: fc
      .tuple(table, number)
      .map(([t, n]) => `INSERT INTO ${t}(id, b) VALUES (${n}, repeat('b${n}', 3000)) ON CONFLICT DO NOTHING`),
  },
  {
    weight: 6,
    arbitrary: fc
      .tuple(table, column, number)
      .map(([t, c, n]) => `UPDATE ${t} SET ${c} = ${c === 'b' ? `'u${n}'` : n} WHERE id % 3 = ${n % 3}`),
  },
  {
    weight: 3,
    arbitrary: fc
      .tuple(table, number)
      .map(([t, n]) => `UPDATE ${t} SET id = id + ${100 + n} WHERE id % 5 = ${n % 5}`),
  },
  {
    weight: 4,
    arbitrary: fc.tuple(table, number).map(([t, n]) => `DELETE FROM ${t} WHERE id % 7 = ${n % 7}`),
  },
  { weight: 1, arbitrary: table.map((t) => `TRUNCATE ${t}`) },
  {
    weight: 4,
    arbitrary: fc
      .tuple(table, fc.boolean())
      .map(([t, key]) => `CREATE TABLE ${t}(id int ${key ? 'PRIMARY KEY' : ''}, a int DEFAULT 1, b text)`),
  },
  { weight: 1, arbitrary: table.map((t) => `DROP TABLE ${t}`) },
  {
    weight: 3,
    arbitrary: fc.tuple(table, number).map(([t, n]) => `ALTER TABLE ${t} ADD c int DEFAULT ${n}`),
  },
  { weight: 2, arbitrary: table.map((t) => `ALTER TABLE ${t} ADD d timestamptz DEFAULT now()`) },
  { weight: 1, arbitrary: fc.tuple(table, column).map(([t, c]) => `ALTER TABLE ${t} DROP COLUMN ${c}`) },
  { weight: 1, arbitrary: table.map((t) => `ALTER TABLE ${t} RENAME c TO d`) },
  { weight: 1, arbitrary: table.map((t) => `ALTER TABLE ${t} ALTER a TYPE bigint`) },
  { weight: 1, arbitrary: fc.tuple(table, column).map(([t, c]) => `CREATE INDEX ON ${t}(${c})`) },
  { weight: 1, arbitrary: table.map((t) => `ALTER TABLE ${t} REPLICA IDENTITY FULL`) },
  { weight: 1, arbitrary: table.map((t) => `ALTER TABLE ${t} ADD PRIMARY KEY (id)`) },
  {
    weight: 1,
    arbitrary: fc.tuple(table, table).map(([t, u]) => `CREATE TABLE ${t} AS SELECT id, a, b FROM ${u}`),
  },
  { weight: 1, arbitrary: fc.tuple(table, table).map(([t, u]) => `ALTER TABLE ${t} RENAME TO ${u}`) },
  {
    weight: 1,
    arbitrary: table.map(
      (t) => `DO $$ BEGIN EXECUTE 'ALTER TABLE ${t} ADD e int'; UPDATE ${t} SET e = id; END $$`,
    ),
  },
)

type Step =
  | { readonly kind: 'transaction'; readonly statements: readonly string[]; readonly commit: boolean }
  | { readonly kind: 'kill'; readonly afterMs: number }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('transaction' as const),
      statements: fc.array(statement, { minLength: 1, maxLength: 6 }),
      commit: fc.integer({ min: 0, max: 5 }).map((n) => n > 0),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('kill' as const), afterMs: fc.integer({ min: 0, max: 60 }) }),
  },
)

interface Way {
  readonly name: string
  readonly pair: Pair
  readonly args?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** A setting of the upstream's database. */
  readonly setting?: string
  readonly skip?: boolean
  readonly runs?: number
}

const ways: Way[] = [{ name: '18', pair: '18' }]
if (slow) {
  const less = Math.ceil(runs / 4)
  ways.push(
    {
      ...{ name: '15-18 by wal2json', pair: '15-18', args: ['--plugin', 'wal2json', '--nan-as-null'] },
      skip: !(available('15-18') && hasWal2json()),
    },
    { name: '18 as text', pair: '18', args: ['--binary', 'off'], runs: less },
    { name: '18, pulled', pair: '18', env: pulling(), runs: less },
    { name: '18, applied while it arrives', pair: '18', env: { FOLLOWER_ARRIVING_FROM: '1' }, runs: less },
    {
      ...{ name: '18, each change sent before its commit', pair: '18', runs: less },
      ...{ args: ['--streaming', 'on'], env: { FOLLOWER_ARRIVING_FROM: '1' } },
      setting: 'debug_logical_replication_streaming = immediate',
    },
  )
}

describe.each(ways)(
  'any history of $name',
  ({ pair, args: plugin = [], env = {}, setting, skip, runs: times = runs }) => {
    it.skipIf(skip)(
      `ends equal at both ends, whatever is killed (seed ${seed}, ${times} runs)`,
      {
        timeout: 600_000,
      },
      async () => {
        await fc.assert(
          fc.asyncProperty(fc.array(step, { minLength: 15, maxLength: 45 }), async (steps) => {
            const { upstream, downstream, name } = await databases(pair)
            if (setting) await script(upstream, `ALTER DATABASE ${name} SET ${setting}`)
            const args = [
              'start',
              '--upstream',
              upstream,
              '--downstream',
              downstream,
              '--name',
              name,
              ...plugin,
            ]
            const writer = await client(upstream)
            let follower = runFollower(args, { env })
            await follower.ready({ upstream, slot: name })
            for (const each of steps) {
              if (each.kind === 'transaction') await runTransaction(writer, each)
              else {
                await sleep(each.afterMs)
                await follower.kill9()
                follower = runFollower(args, { env })
              }
            }
            // It must not have ended by itself: a halt would be a defect.
            if (!follower.running) expect(follower.output).toBe('')
            await follower.kill9()
            const last = await followerCommand([...args, '--until', 'now'], { env })
            expect(last.code, last.stderr).toBe(0)
            expect(await compareDatabases(upstream, downstream), steps.map(describeStep).join('\n')).toEqual(
              [],
            )
            expect(
              await value(
                downstream,
                `SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace`,
              ),
            ).not.toBe(null)
          }),
          { seed, numRuns: times, endOnFailure: true },
        )
      },
    )
  },
)

async function runTransaction(writer: pg.Client, step: Step & { kind: 'transaction' }): Promise<void> {
  await writer.query('BEGIN')
  for (const text of step.statements) {
    await writer.query('SAVEPOINT s')
    try {
      await writer.query(text)
    } catch {
      await writer.query('ROLLBACK TO s')
    }
  }
  await writer.query(step.commit ? 'COMMIT' : 'ROLLBACK')
}

function describeStep(step: Step): string {
  return step.kind === 'kill'
    ? `-- kill after ${step.afterMs} ms`
    : `BEGIN; ${step.statements.join('; ')}; ${step.commit ? 'COMMIT' : 'ROLLBACK'};`
}

import type pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Cluster, startCluster } from '../src/demo/cluster.ts'
import { pins } from '../src/postgres/pins.ts'
import { catalog, catalogDifferences, catchUp, Downstream, follow, Upstream } from './ddl-support.ts'

let first: Cluster
let second: Cluster
let up: Upstream
let down: Downstream

beforeAll(async () => {
  ;[first, second] = await Promise.all([startCluster(), startCluster()])
  up = await Upstream.create(first)
  down = await Downstream.create(second)
}, 120_000)

afterAll(async () => {
  await first?.destroy()
  await second?.destroy()
})

async function same(query: string): Promise<void> {
  const text = `SET search_path = public; ${query}`
  const [here, there] = await Promise.all([up.client.query(text), down.client.query(text)])
  await down.client.query(pins('downstream'))
  expect(rowsOf(there)).toEqual(rowsOf(here))
}

const rowsOf = (result: unknown): unknown => (result as pg.QueryResult[])[1]?.rows

async function sameCatalog(): Promise<void> {
  expect(catalogDifferences(await catalog(up.client), await catalog(down.client))).toEqual([])
}

describe('tables that are made with their rows', () => {
  it.each([
    [`create table a1 as select i, 'x' || i as t, random() as r from generate_series(1, 3) i`, 'a1'],
    [`create table "A 2" with (fillfactor = 50) as (select 1 as "Q", now() as n) with data -- ;`, '"A 2"'],
    [`create table a3 as select 1 as z, 2 as aa, 3 as b with no data`, 'a3'],
    [`select gen_random_uuid() as u, 'ü' as "é" into public.a4 from generate_series(1, 2)`, 'a4'],
    [`with q as (select 1 as i) select i, clock_timestamp() into table a5 from q`, 'a5'],
    [
      `create temp table source as select 5 as zz, 'k'::varchar(7) as k, array[1] as a; create table a6 as select * from source`,
      'a6',
    ],
    [`prepare p(int) as select $1 as zz, random() as a; create table a7 as execute p(3)`, 'a7'],
    [`create table if not exists a7 as select 9; create table a8 (i, j) as values (1, 2)`, 'a8'],
    [
      `create function inner_ctas() returns int language plpgsql as $$ begin create table a9 as select random() as inside; return 7; end $$; create table a10 as select inner_ctas() as outside`,
      'a10 cross join a9',
    ],
    [
      `begin; savepoint s; create table gone as select 1 as i; rollback to s; create table a11 as select 2 as i; alter table a11 add j int default 3; insert into a11 values (4, 5); commit`,
      'a11',
    ],
    [
      `do $$ begin begin create table a12 as select 1/0; exception when others then null; end; create table a12 as select 1 as i; end $$`,
      'a12',
    ],
    [`create table a13 as select 1 as i; drop table a13; create table a13 as select 2 as k`, 'a13'],
  ])('%s', async (text, table) => {
    await follow(up, down, text)
    await same(`select * from ${table} order by 1`)
    await sameCatalog()
  })

  it('takes parameters of the extended protocol', async () => {
    await up.client.query('create table a20 as select $1::int as i, $2::text as t', [5, 'x'])
    await catchUp(up, down)
    await same('select * from a20')
  })

  it('fills materialized views', async () => {
    await follow(up, down, 'create materialized view m1 as select i, t from a1')
    await same('select * from m1 order by 1')
    await follow(up, down, 'insert into a1 values (77); refresh materialized view m1')
    await same('select * from m1 order by 1')
    await follow(up, down, 'create materialized view m2 as select 1 as i with no data')
    await expect(down.one('select * from public.m2')).rejects.toThrow('has not been populated')
  })
})

describe('rewrites', () => {
  beforeAll(() =>
    follow(
      up,
      down,
      'create table r (i int primary key); insert into r values (1), (2); create table e (i int)',
    ),
  )

  it('gives old rows the value that one statement gave them', async () => {
    await follow(
      up,
      down,
      `alter table r add t timestamptz default now(), add u text default current_date::text, add c int default 7; insert into r values (3)`,
    )
    await same('select * from r order by 1')
    await sameCatalog()
  })

  it('does so for partitions', async () => {
    await follow(
      up,
      down,
      `create table pt (i int) partition by range (i); create table pt1 partition of pt for values from (0) to (9); insert into pt values (1)`,
    )
    await follow(up, down, `alter table pt add t timestamptz default now()`)
    await same('select * from pt')
  })

  it.each([
    'alter table r add v uuid default gen_random_uuid()',
    'alter table r add w bigserial',
    'alter table r add x int generated always as identity',
    'alter table r alter c type text using random()::text',
    'alter table r add y float default random() * 2, add z int',
    'alter table r alter t type date using now()::date',
  ])('halts where values cannot be had again: %s', async (text) => {
    await up.run(`begin; ${text}; commit`)
    await expect(catchUp(up, down, {}, true)).rejects.toMatchObject({ code: 'FLW-326', exit: 8 })
    expect(await down.one('select count(*) from public.r')).toBe('3')
    if (text.includes(' add ')) {
      // What a person did on the downstream is found.
      await down.client.query(`set search_path = public; ${text}; ${pins('downstream')}`)
      expect((await catchUp(up, down)).map(({ outcome }) => outcome.result)).toEqual(['noop'])
    } else await catchUp(up, down, { onRewrite: 'replay' })
    await sameCatalog()
  })

  it('halts where rows were never streamed', async () => {
    await follow(up, down, 'create unlogged table un (i int); insert into un values (1)')
    await up.run('alter table un set logged')
    await expect(catchUp(up, down, {}, true)).rejects.toMatchObject({ code: 'FLW-326' })
    await catchUp(up, down, { onRewrite: 'replay' })
    await up.run('create table late as select 1 as i')
    const late = { newTablesUnpublished: true }
    await expect(catchUp(up, down, late, true)).rejects.toMatchObject({ code: 'FLW-327' })
    await up.changes()
    await down.client.query('create table public.late (i int)')
    await follow(up, down, 'create table later as select 1 as i with no data', { context: late })
    await sameCatalog()
  })

  it.each([
    ['alter table e add v uuid default gen_random_uuid(), add w serial', 'no rows'],
    ['alter table r add g int generated always as (i * 2) stored', 'generated'],
    ['alter table r add k text default upper($$a$$)', 'immutable'],
    ['alter table r alter k type varchar(5) using lower(k)', 'immutable'],
  ])('goes on: %s (%s)', async (text) => {
    await follow(up, down, text)
    await same('select * from e')
    await sameCatalog()
  })

  it('computes generated columns itself', () => same('select i, g from r order by 1'))

  it('replays them where told to', async () => {
    await follow(up, down, 'alter table r add rnd float default random()', {
      context: { onRewrite: 'replay' },
    })
    expect(await down.one('select count(rnd) from public.r')).toBe('3')
  })
})

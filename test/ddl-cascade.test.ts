import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Cluster, startCluster } from '../src/demo/cluster.ts'
import { catalog, catalogDifferences, catchUp, Downstream, follow, Upstream } from './ddl-support.ts'

let cluster: Cluster
let first: Upstream
let middle: Upstream
let middleDown: Downstream
let last: Downstream

beforeAll(async () => {
  cluster = await startCluster()
  first = await Upstream.create(cluster)
  middle = await Upstream.create(cluster)
  middleDown = await Downstream.over(middle)
  last = await Downstream.create(cluster)
  await first.client.query('CREATE ROLE alice LOGIN; GRANT CREATE ON SCHEMA public TO alice')
  await catchUp(first, middleDown)
  await catchUp(middle, last)
}, 120_000)

afterAll(() => cluster?.destroy())

it.each([
  [
    'alice',
    `create table t (i serial primary key, "q""x" text); alter table t add j int default 3; create index on t (j); comment on table t is 'x'`,
  ],
  [
    'alice',
    `create table u as select 1 as i, random() as r; do $$ begin execute 'alter table u add k int; alter table u add l int'; end $$`,
  ],
  [
    'postgres',
    `create function f() returns int language sql as 'select 1'; create view v as select f(); drop view v; alter table t alter j type bigint; grant select on t to public`,
  ],
  [
    'postgres',
    `alter table u add s timestamptz default now(); drop table t; create schema s create table x (i int)`,
  ],
])('is captured again where it is replayed (%s)', async (user, text) => {
  await follow(first, middleDown, text, { user })
  const replayed = await catchUp(middle, last)
  expect(replayed.map(({ outcome }) => outcome.result)).not.toContain('rejected')
  // The wall that is built for each statement shows, and is nothing.
  const done = replayed.filter(({ outcome }) => outcome.result !== 'skipped')
  expect(new Set(done.map(({ message }) => message.role))).toEqual(new Set([user]))
  const state = await catalog(first.client)
  expect(catalogDifferences(state, await catalog(middle.client))).toEqual([])
  expect(catalogDifferences(state, await catalog(last.client))).toEqual([])
})

it('brings the rows along', async () => {
  const rows = async (client: typeof first.client) =>
    (await client.query('select i::text, r::text from public.u')).rows
  expect(await rows(last.client)).toEqual(await rows(first.client))
})

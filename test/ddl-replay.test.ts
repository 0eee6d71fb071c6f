import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Cluster, startCluster } from '../src/demo/cluster.ts'
import { catchUp, Downstream, follow, Upstream } from './ddl-support.ts'

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

const results = (replayed: Awaited<ReturnType<typeof follow>>): string[] =>
  replayed.map(({ message, outcome }) => `${message.kind} ${message.tag}: ${outcome.result}`)

describe('statements', () => {
  it('replays one statement of a string each', async () => {
    const replayed = await follow(
      up,
      down,
      `create table "a""b" (i int primary key, t text); insert into "a""b" values (1, 'x');
       alter table "a""b" add column u int unique; create index on "a""b" (t) -- "
      ;`,
    )
    expect(results(replayed)).toEqual(['end CREATE TABLE: applied', 'end ALTER TABLE: applied', 'end CREATE INDEX: applied'])
    expect(await down.one('select count(*) from public."a""b"')).toBe('1')
  })
})

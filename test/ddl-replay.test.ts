import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Cluster, startCluster } from '../src/demo/cluster.ts'
import { catalog, catalogDifferences, Downstream, follow, Upstream } from './ddl-support.ts'

let first: Cluster
let second: Cluster
let up: Upstream
let down: Downstream

const major = process.env.DDL_UPSTREAM_BIN ? { binDir: process.env.DDL_UPSTREAM_BIN } : {}
const other = process.env.DDL_DOWNSTREAM_BIN ? { binDir: process.env.DDL_DOWNSTREAM_BIN } : {}

beforeAll(async () => {
  ;[first, second] = await Promise.all([startCluster(major), startCluster(other)])
  up = await Upstream.create(first)
  down = await Downstream.create(second)
}, 120_000)

afterAll(async () => {
  await first?.destroy()
  await second?.destroy()
})

const results = (replayed: Awaited<ReturnType<typeof follow>>): string[] =>
  replayed.map(({ message, outcome }) => `${message.kind} ${message.tag}: ${outcome.result}`)

/** Strings that a user may send, each one simple query. */
const strings: readonly string[] = [
  `create schema s; create table s.t (id bigserial primary key, a int check (a > 0), "Mixed ""q""" text default 'x;y'); comment on table s.t is 'it''s'`,
  `set search_path = s; create index on t (a) where a > 3; alter table t add b text collate "C" not null default 'k', add unique (b, a)`,
  `create type s.mood as enum ('sad', 'ok'); create domain s.pos as int check (value > 0); create type s.pair as (a int, b text); create type s.fr as range (subtype = float8)`,
  `alter type s.mood add value 'happy' after 'ok'; alter type s.mood rename value 'sad' to 'blue'; alter domain s.pos set default 3; alter type s.pair add attribute c date`,
  `create function s.f(i int, t text default 'a;b') returns int language plpgsql as $$ begin create table if not exists s.made (i int); return i; end $$; select s.f(1); select s.f(2)`,
  `do $$ begin for n in 1..3 loop execute format('create table s.%I (i int); create index on s.%1$I (i)', 'N ' || n); end loop; end $$`,
  `do $$ begin execute 'alter table s."N 1" add a int; alter table s."N 1" add b int'; alter table s."N 1" add c int; end $$`,
  `create function s.g() returns void language sql as 'create table if not exists s.g1 (i int); create table if not exists s.g2 (i int)'; select s.g()`,
  `create procedure s.p() language plpgsql as $$ begin create table s.p1 (i int); commit; create table s.p2 (i int); end $$`,
  `call s.p()`,
  `create table s.c (i int); commit; begin; alter table s.c add w int; rollback; alter table s.c add x int; alter table s.c add y int`,
  `begin; alter table s.c add one int; savepoint x; alter table s.c add two int; rollback to x; alter table s.c add three int; commit`,
  `create table s.d (i int); drop table s.d; create table s.d (j text)`,
  `create view s.v as select id, a from s.t; create or replace view s.v with (security_barrier) as select id, a, b from s.t; alter view s.v rename column b to bb`,
  `create materialized view s.m as select count(*) as n from s.t; create unique index on s.m (n); refresh materialized view concurrently s.m; refresh materialized view s.m with no data`,
  `create function s.tf() returns trigger language plpgsql as 'begin return new; end'; create trigger tr before insert on s.t for each row execute function s.tf(); alter table s.t disable trigger tr`,
  `alter table s.t enable row level security; create policy p on s.t for select to public using (a > 0); create rule r as on delete to s.c do instead nothing`,
  `create sequence s.q start 5 increment 2; alter sequence s.q maxvalue 99 cycle; alter sequence s.q owned by s.c.i`,
  `create table s.part (i int, t text) partition by range (i); create table s.part1 partition of s.part for values from (0) to (10); create table s.part2 (t text, i int); alter table s.part attach partition s.part2 for values from (10) to (20)`,
  `alter table s.part detach partition s.part1; create index part_i on s.part (i)`,
  `create table s.parent (i int); create table s.child (j int) inherits (s.parent); alter table s.parent add k int; alter table s.child no inherit s.parent`,
  `create table s.fk (i int primary key, t bigint references s.t on delete cascade); alter table s.fk drop constraint fk_t_fkey`,
  `alter table s.fk rename to fk2; alter table s.fk2 rename i to "I"; alter index s.fk_pkey rename to fk2_key; alter table s.fk2 rename constraint fk2_key to k3`,
  `create table s."n${'é'.repeat(30)}" (i int); alter table s."n${'é'.repeat(30)}" add "ü🎉" int`,
  `create table s."line\nbreak" (i int); do $$ begin execute 'alter table s."line' || chr(10) || 'break" add j int'; end $$`,
  `create table s."x"""\n(i int); do $q$ begin execute $e$create table s."y""
PL/pgSQL function inline_code_block line 1 at EXECUTE" (i int)$e$; end $q$`,
  `create extension pg_trgm with schema s; create index on s.t using gin (b s.gin_trgm_ops)`,
  `create temp table tt (i int); create table s.real (i int); alter table tt add j int; alter table s.real add j int; drop table tt`,
  `create table if not exists s.real (i int, z int); create table if not exists s.real2 (i int); drop table if exists s.nothing`,
  `alter table s.real owner to plain; grant select, insert on s.real to plain with grant option; grant usage on schema s to public; alter default privileges in schema s grant select on tables to plain; revoke insert on s.real from plain`,
  `create statistics s.st on i, j from s.real; alter table s.real alter i set statistics 5, alter j type numeric(10, 2), set (fillfactor = 70), replica identity full`,
  `create operator s.=== (leftarg = int, rightarg = int, function = int4eq); create aggregate s.total (int) (sfunc = int4pl, stype = int); create cast (text as s.pair) with inout; create collation s.co from "C"`,
  `create text search dictionary s.dict (template = simple); create text search configuration s.conf (copy = simple); alter text search configuration s.conf alter mapping for word with s.dict`,
  `create table s.like1 (like s.t including all); create table s.gen (i int, d int generated always as (i * 2) stored, id int generated always as identity)`,
  `create function s.atomic() returns int begin atomic select count(*)::int from s.real; end`,
  `alter function s.atomic() rename to atomic2; alter function s.atomic2() cost 7; alter schema s owner to plain; comment on column s.t.a is 'c'`,
  `create index concurrently cc on s.t (a)`,
  `drop index concurrently s.cc`,
  `reindex table s.t`,
  `create index concurrently concurrently_named on s.t (a, b) -- concurrently`,
  `alter table s.part detach partition s.part2 concurrently`,
  `create table s.x1 (i int primary key); create table s.x2 (i int references s.x1); create view s.xv as select * from s.x1; drop table s.x1, s.x2 cascade`,
  `create table s.dropcol (i int, j int, unique (i, j)); alter table s.dropcol drop j; alter table s.dropcol add constraint ch check (i > 1) not valid; alter table s.dropcol validate constraint ch`,
  `drop function s.f(int, text), s.g(); drop trigger tr on s.t; drop policy p on s.t; drop rule r on s.c; drop type s.fr; drop domain s.pos; drop aggregate s.total(int); drop operator s.===(int, int); drop cast (text as s.pair); drop statistics s.st; drop materialized view s.m; drop view s.v; drop sequence s.q; drop procedure s.p(); drop text search configuration s.conf; drop text search dictionary s.dict; drop collation s.co`,
  `create table s.trig (i int); create function s.ddl_in_trigger() returns trigger language plpgsql as $$ begin execute format('create table s.%I (i int)', 'made by ' || new.i); return new; end $$; create trigger t before insert on s.trig for each row execute function s.ddl_in_trigger(); insert into s.trig values (1), (2)`,
  `create event trigger et on ddl_command_end execute function follower.capture_ddl(); drop event trigger et; create table s.after_et (i int)`,
  `drop extension pg_trgm cascade`,
  `create schema s2 create table in_schema (i int primary key) create view in_view as select * from in_schema`,
  `alter table s.real set schema s2; drop schema s2 cascade`,
  `create schema s3; create table s3.x (i int); create view s3.v as select * from s3.x; drop schema s3 cascade; create schema s3`,
  `create table s.owned (i int); alter table s.owned owner to leaving; drop owned by leaving`,
  `prepare x as select 1; create table s.after_prepare (i int); create table s.after_prepare2 (i int)`,
  `create table s.types (a int[], b timestamptz(3) default '2026-01-02 03:04:05+00', c interval hour to minute, d bit varying(5), e s.mood default 'ok', f varchar(3)[] default '{a,b}', g jsonb default '{"a":1}')`,
  `set datestyle = 'sql, dmy'; create table s.dates (d date default '03/04/2026', check (d > '01/02/2020'))`,
]

describe('a string of statements', () => {
  beforeAll(async () => {
    for (const cluster of [up, down]) await cluster.client.query(`create role plain; create role leaving`)
  })

  it.each(strings)('%s', async (text) => {
    const replayed = await follow(up, down, text)
    expect(results(replayed).filter((line) => /rejected|noop/.test(line))).toEqual([])
    expect(
      catalogDifferences(
        await catalog(up.client),
        await catalog(down.client),
        first.version === second.version,
      ),
    ).toEqual([])
  })
})

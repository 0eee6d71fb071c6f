import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { replayDdl } from '../src/ddl/replay.ts'
import { beginDdlTransaction } from '../src/ddl/transaction.ts'
import { readState } from '../src/ddl/truth.ts'
import { type Cluster, startCluster } from '../src/demo/cluster.ts'
import type { DdlMessage, DdlObject } from '../src/model/ddl-message.ts'
import { catchUp, Downstream, follow, message, open, Upstream } from './ddl-support.ts'

// Before 18, deferred triggers ran with the rights of whoever committed.
const older = process.env.DDL_DOWNSTREAM_BIN ? { binDir: process.env.DDL_DOWNSTREAM_BIN } : {}

let first: Cluster
let second: Cluster
let up: Upstream
let down: Downstream

const plain = {
  superuser: false,
  createrole: false,
  createdb: false,
  replication: false,
  bypassrls: false,
  member_of: [],
}

beforeAll(async () => {
  ;[first, second] = await Promise.all([startCluster(), startCluster(older)])
  up = await Upstream.create(first)
  down = await Downstream.create(second)
  for (const end of [up, down]) await end.client.query('CREATE ROLE mallory LOGIN; CREATE ROLE alice LOGIN')
  await follow(
    up,
    down,
    'create schema m authorization mallory; create table public.secret (i int); create schema al authorization alice',
  )
}, 120_000)

afterAll(async () => {
  await first?.destroy()
  await second?.destroy()
})

/** What mallory must never change, whatever a test did. */
async function unharmed(): Promise<void> {
  expect(await down.one("select rolsuper from pg_catalog.pg_roles where rolname = 'mallory'")).toBe('f')
  expect(
    await down.one("select count(*) from pg_catalog.pg_proc where proname like 'follower\\_replay\\_%'"),
  ).toBe('0')
  expect(await down.one("select current_user || ' ' || current_setting('search_path')")).toBe(
    'postgres pg_catalog, pg_temp',
  )
  expect(await down.one('select count(*) from public.secret')).toBe('0')
  expect(await down.one("select has_table_privilege('mallory', 'public.secret', 'select')")).toBe('f')
}

/** A function that does its evil downstream only, and does not let an error show. */
function evil(name: string, body: string): string {
  return `create or replace function m.${name}(i int) returns boolean language plpgsql as $evil$
    begin
      if current_database() <> '${up.name}' then ${body} end if;
      return true;
    end $evil$`
}

describe('code of an author', () => {
  it('gets no more out of a string than its first statement', async () => {
    await expect(
      up.run('create table m.t (i int); commit; alter role mallory superuser', 'mallory'),
    ).rejects.toThrow('permission denied')
    const replayed = await catchUp(up, down)
    expect(replayed.map(({ outcome }) => outcome.result)).toEqual(['applied'])
    expect(await down.one("select tableowner from pg_catalog.pg_tables where tablename = 't'")).toBe(
      'mallory',
    )
    await unharmed()
  })

  it.each([
    [
      'resets the role',
      `begin execute 'reset role'; alter role mallory superuser; exception when others then null; end;`,
    ],
    [
      'sets another role',
      `begin set role postgres; alter role mallory superuser; exception when others then null; end;`,
    ],
    [
      'sets the session authorization',
      `begin set session authorization postgres; alter role mallory superuser; exception when others then null; end;`,
    ],
    [
      'takes the wall down',
      `declare f text; begin
        select p.oid::regprocedure into f from pg_proc p where proname like 'follower_replay_%';
        execute 'alter function ' || f || ' security invoker';
        execute 'grant execute on function ' || f || ' to public';
        execute 'alter function ' || f || ' rename to innocent';
      exception when others then raise exception 'the wall could not be found: %', sqlerrm; end;`,
    ],
    [
      'leaves settings behind',
      `perform set_config('search_path', 'm', false), set_config('DateStyle', 'German', false), set_config('row_security', 'on', false), set_config('statement_timeout', '1', false);`,
    ],
    [
      'leaves a temporary catalog behind',
      `create temp table pg_roles as select 'x'::text as rolname; set search_path = pg_temp, pg_catalog;`,
    ],
    [
      'leaves a cursor behind that would run at commit',
      `execute $c$declare c cursor with hold for select m.grab()$c$;`,
    ],
    [
      'prepares a statement under the name of ours',
      `execute 'deallocate all'; execute 'prepare ours as select m.grab()';`,
    ],
    ['queues a deferred trigger', `insert into m.queue values (1);`],
  ])('%s', async (_what, body) => {
    await follow(
      up,
      down,
      `create or replace function m.grab() returns int language plpgsql as $$ begin alter role mallory superuser; return 1; exception when insufficient_privilege then return 0; end $$;
       create table if not exists m.queue (i int);
       create or replace function m.at_commit() returns trigger language plpgsql as $$ begin perform m.grab(); return new; end $$;
       create or replace function m.drop_trigger() returns void language sql as 'select';
       create constraint trigger deferred_${Math.random().toString(36).slice(2)} after insert on m.queue deferrable initially deferred for each row execute function m.at_commit()`,
      { user: 'mallory' },
    )
    const { rows } = await up.client.query(
      `select tgname from pg_trigger where tgrelid = 'm.queue'::regclass and tgenabled = 'O'`,
    )
    for (const { tgname } of rows)
      await follow(up, down, `alter table m.queue enable always trigger ${tgname}`, { user: 'mallory' })
    await follow(
      up,
      down,
      'drop table if exists m.victim; create table m.victim (i int); insert into m.victim values (1)',
      { user: 'mallory' },
    )
    await follow(up, down, evil('act', body), { user: 'mallory' })
    await down.client.query('PREPARE ours AS SELECT 1')
    const replayed = await follow(up, down, 'alter table m.victim add constraint acts check (m.act(i))', {
      user: 'mallory',
    })
    expect(replayed.map(({ outcome }) => outcome.result)).toEqual(['applied'])
    await unharmed()
    expect(await down.one('select count(*) from pg_catalog.pg_prepared_statements')).toBe('0')
    expect(await down.one('select count(*) from pg_catalog.pg_cursors')).toBe('0')
    expect(
      await down.one('select count(*) from pg_catalog.pg_class where relnamespace = pg_my_temp_schema()'),
    ).toBe('0')
    expect(
      await down.one(
        "select current_setting('DateStyle') || current_setting('statement_timeout') || current_setting('row_security') || current_setting('lock_timeout')",
      ),
    ).toBe('ISO, YMD0off0')
    // The stream is alive.
    expect((await follow(up, down, 'alter table m.victim add j int')).length).toBe(1)
  })

  it('is not fooled by operators and functions of its own', async () => {
    const replayed = await follow(
      up,
      down,
      `create function m.no(text, text) returns boolean language sql as 'select false';
       create operator m.= (leftarg = text, rightarg = text, function = m.no);
       create function m.set_config(text, text, boolean) returns text language sql as $$ select 'x' $$;
       create function m.format(text, text) returns text language sql as $$ select 'alter role mallory superuser' $$;
       set search_path = m, pg_catalog; create table shadowed (i int); alter table shadowed add j int`,
      { user: 'mallory' },
    )
    expect(replayed.map(({ outcome }) => outcome.result)).toEqual(Array(6).fill('applied'))
    await unharmed()
  })

  it('is one statement for the server, too', async () => {
    await follow(up, down, 'create table m.twice (i int)', { user: 'mallory' })
    // One string for a parser that knows no backslash; with it, a comment and an INSERT.
    await up.run(
      String.raw`set standard_conforming_strings = off; begin; comment on table m.twice is 'x\''; insert into m.twice values (1); --'
        ; commit`,
      'mallory',
    )
    await up.run('select 1')
    await expect(catchUp(up, down)).rejects.toMatchObject({ code: 'FLW-322', sqlstate: '42601' })
    expect(await down.one('select count(*) from m.twice')).toBe('0')
  })

  it('runs as the definer where a definer function ran it', async () => {
    await follow(
      up,
      down,
      `create function al.make(n text) returns void language plpgsql security definer as $$ begin execute format('create table al.%I (i int)', n); end $$`,
      { user: 'alice' },
    )
    await follow(up, down, `grant usage on schema al to mallory`)
    await follow(
      up,
      down,
      `select al.make(e'x" (i int); alter role mallory superuser; --\nSQL statement "drop table public.secret"')`,
      { user: 'mallory' },
    )
    expect(await down.one(`select tableowner from pg_catalog.pg_tables where schemaname = 'al'`)).toBe(
      'alice',
    )
    await unharmed()
  })

  it('can not sign what it says', async () => {
    await up.run(
      `select pg_logical_emit_message(true, 'follower.ddl', 'FLW1 x ${'0'.repeat(64)} {}')`,
      'mallory',
    )
    await expect(catchUp(up, down)).rejects.toThrow('rejected: key')
  })
})

describe('messages that claim too much', () => {
  const replay = async (more: Partial<DdlMessage>, text: string) => {
    await down.client.query('BEGIN')
    try {
      return await replayDdl(
        message({ query: text, role: 'mallory', attributes: plain, ...more }),
        beginDdlTransaction(),
        down.context(second.version),
      )
    } finally {
      await down.client.query('COMMIT')
    }
  }
  const object = async (name: string, more: Partial<DdlObject> = {}): Promise<DdlObject> => {
    const address = { type: 'table', names: ['public', name], args: [] }
    return {
      ...address,
      tag: 'ALTER TABLE',
      schema: 'public',
      identity: `public.${name}`,
      oid: '1',
      state: await readState(down.client, address),
      publications: ['pub'],
      ...more,
    }
  }

  beforeEach(async () => {
    await down.client.query('create table if not exists public.known (i int)')
  })

  it.each([
    ['ALTER TABLE', 'alter table secret add k int', 'rejected'],
    ['ALTER TABLE', 'alter table nothing add k int', 'noop'],
    ['ALTER TABLE', 'alter table secret owner to mallory', 'rejected'],
    ['ALTER TABLE', 'this is no SQL', 'noop'],
    ['ALTER TABLE', 'select 1', 'noop'],
    ['GRANT', 'grant all on secret to mallory', 'rejected'],
    ['CREATE TABLE AS', 'create table secret as select 1', 'rejected'],
  ])('%s: %s', async (tag, text, result) => {
    const outcome = await replay({ tag, objects: [await object('secret')] }, text)
    expect(outcome.result).toBe(result)
    await unharmed()
  })

  it('GRANT without an object', async () => {
    const objects = [await object('x', { type: 'TABLE', names: [], schema: null, identity: '', state: null })]
    expect((await replay({ tag: 'GRANT', objects }, 'grant all on secret to mallory')).result).toBe(
      'rejected',
    )
    await unharmed()
    await expect(replay({ tag: 'GRANT', objects }, 'grant postgres to mallory')).rejects.toMatchObject({
      code: 'FLW-321',
    })
    expect((await replay({ tag: 'GRANT', objects }, 'grant all on nothing to mallory')).result).toBe(
      'skipped',
    )
  })

  it('identities are no SQL of ours', async () => {
    const forged = await object('secret', {
      identity: '(select public.secret) x; alter role mallory superuser',
    })
    const outcome = await replay(
      { tag: 'ALTER TABLE', objects: [forged] },
      'alter table secret add k float default random()',
    )
    expect(outcome.result).toBe('rejected')
    const dropped = {
      type: 'table',
      schema: 'public',
      name: 'secret',
      names: ['public', 'secret'],
      args: [],
      original: true,
      normal: false,
      temporary: false,
      publications: ['pub'],
    }
    await expect(
      replay(
        {
          kind: 'drop',
          tag: 'DROP TABLE',
          dropped: [{ ...dropped, identity: 'm.t; alter role mallory superuser' }],
        },
        '',
      ),
    ).rejects.toThrow()
    await unharmed()
  })

  it('a role that is missing downstream', async () => {
    const made = await object('new_one', { state: { relkind: 'table' } })
    await expect(
      replay({ role: 'bob', objects: [made] }, 'create table new_one (i int)'),
    ).rejects.toMatchObject({
      code: 'FLW-324',
      fix: ['CREATE ROLE "bob";  -- downstream', 'start the follow again'],
    })
    // Nothing is missing, so that nothing has to stop.
    expect(
      (await replay({ role: 'bob', objects: [await object('secret')] }, 'alter table secret add k int'))
        .result,
    ).toBe('rejected')
    // The daemon's role stands in for a superuser.
    const owned = await object('secret')
    const state = { ...owned.state, owner: '"root"' }
    const superuser = { ...plain, superuser: true }
    expect(
      (
        await replay(
          { role: 'root', attributes: superuser, tag: 'ALTER TABLE', objects: [{ ...owned, state }] },
          'alter table secret add if not exists i int',
        )
      ).result,
    ).toBe('applied')
  })

  it('a role that may do more downstream', async () => {
    await down.client.query(
      'create role strong createrole; create role carol; grant strong to carol; alter role carol createdb',
    )
    const made = await object('new_two', { state: { relkind: 'table' } })
    await expect(
      replay({ role: 'carol', objects: [made] }, 'create table new_two (i int)'),
    ).rejects.toMatchObject({
      code: 'FLW-325',
      fix: [
        'ALTER ROLE "carol" NOCREATEDB;  -- downstream',
        'REVOKE "strong" FROM "carol";  -- downstream',
        'start the follow again',
      ],
    })
  })

  it('a lock that is not had in time is left to the caller', async () => {
    const known = await object('known', { state: { 'column "k".type': 'integer' } })
    const other = await open(second, down.name)
    await other.query('begin; lock table public.known')
    await expect(
      replay(
        {
          role: 'postgres',
          attributes: { ...plain, superuser: true },
          tag: 'ALTER TABLE',
          objects: [known],
        },
        'alter table known add k int',
      ),
    ).rejects.toMatchObject({ code: '55P03' })
    await other.end()
  })

  it('a capture that failed stops the follow', async () => {
    await expect(replay({ kind: 'broken', error: '23505: x' }, '')).rejects.toMatchObject({ code: 'FLW-320' })
  })
})

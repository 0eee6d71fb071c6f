import { randomBytes } from 'node:crypto'
import { beforeAll, describe, expect, it } from 'vitest'
import { cleanUp } from '../support/cleanup.ts'
import { type Judged, judged } from '../support/judged.ts'
import { firing, rights } from '../support/rights.ts'
import { inDatabase } from '../support/servers.ts'
import { query, script } from '../support/sql.ts'

/** A trigger function that writes down by whom, when and for what it was called. */
const witness = `CREATE TABLE fired(n serial, what text);
  CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO public.fired(what) VALUES (concat_ws(' ', tg_table_name, tg_name, tg_when, tg_op, OLD::text, NEW::text)); RETURN coalesce(NEW, OLD); END $$;
  CREATE FUNCTION fire_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO public.fired(what) VALUES (concat_ws(' ', tg_table_name, tg_name, tg_when, tg_op)); RETURN NULL; END $$;`

describe.each(rights)('triggers and TRUNCATE of %s', (_, pair, least) => {
  let f: Judged
  const role = `owner_${randomBytes(4).toString('hex')}`
  beforeAll(async () => {
    let end: string | undefined
    // After the databases, so registered before them.
    cleanUp(() => end && script(inDatabase(end, 'postgres'), `DROP ROLE IF EXISTS ${role}`))
    f = await judged({ pair, least })
    // With the least rights the scripts run as a role that makes none.
    if (!least) end = f.downstream
    await f.below(witness)
  })
  /** A trigger that fires at local changes only. Without replica mode there is none such: it would stop the follow. */
  const ordinary = (table: string, what: string): string =>
    `CREATE TRIGGER origin ${what}; ${least === 'origin' ? `ALTER TABLE ${table} DISABLE TRIGGER origin;` : ''}`
  const fired = async (table: string): Promise<(string | null | undefined)[]> =>
    (await f.alike(`SELECT what FROM fired WHERE what LIKE '${table} %' ORDER BY n`)).map((row) => row.what)

  it('scenario 5: foreign keys are not checked, replica triggers fire and may suppress', async () => {
    await f.below(
      `CREATE TABLE tab_fk(bid int PRIMARY KEY, b text); CREATE TABLE tab_fk_ref(bid int REFERENCES tab_fk, id int PRIMARY KEY, junk text)`,
    )
    await f.upstreamOnly(
      `CREATE TABLE tab_fk(bid int PRIMARY KEY, b text); CREATE TABLE tab_fk_ref(id int PRIMARY KEY, junk text, bid int REFERENCES tab_fk)`,
    )
    await f.run(
      `INSERT INTO tab_fk VALUES (1); INSERT INTO tab_fk_ref VALUES (1, repeat(pi()::text, 20000), 1)`,
    )
    // Schema changes are not followed here: without replica mode the foreign key has to go as it went upstream.
    if (least === 'origin') await f.below('ALTER TABLE tab_fk_ref DROP CONSTRAINT tab_fk_ref_bid_fkey')
    await f.run('DROP TABLE tab_fk CASCADE; INSERT INTO tab_fk_ref VALUES (2, NULL, 2)')
    const seen = 'SELECT count(*), min(bid), max(bid) FROM tab_fk_ref'
    expect(await f.alike(seen)).toEqual([{ count: '2', min: '1', max: '2' }])
    await f.below(
      `CREATE FUNCTION suppress() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         IF TG_OP = 'INSERT' AND NEW.id < 10 THEN RETURN NEW; END IF; RETURN NULL; END $$;
       CREATE TRIGGER suppress BEFORE INSERT OR UPDATE OF bid ON tab_fk_ref FOR EACH ROW EXECUTE FUNCTION suppress();
       ALTER TABLE tab_fk_ref ENABLE ${firing(least)} TRIGGER suppress`,
    )
    await f.run('INSERT INTO tab_fk_ref VALUES (10, NULL, 10)')
    await f.run('UPDATE tab_fk_ref SET bid = 2 WHERE bid = 1; UPDATE tab_fk_ref SET id = 6 WHERE id = 1')
    expect(await f.alike(`${seen} WHERE id < 10`)).toEqual([{ count: '2', min: '1', max: '2' }])
    expect(await f.alike('SELECT id FROM tab_fk_ref ORDER BY id')).toEqual([{ id: '1' }, { id: '2' }])
  })

  it('row triggers fire as under a subscription: replica and always ones, also where they change the row', async () => {
    await f.everywhere('CREATE TABLE rowwise(a int PRIMARY KEY, b text, c text)')
    await f.below(
      `CREATE FUNCTION louder() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.c := NEW.b || '!'; RETURN NEW; END $$;
       ALTER TABLE rowwise ADD g text GENERATED ALWAYS AS (c || '?') STORED;
       ${ordinary('rowwise', 'BEFORE INSERT ON rowwise FOR EACH ROW EXECUTE FUNCTION fire()')}
       CREATE TRIGGER replica BEFORE INSERT OR UPDATE OR DELETE ON rowwise FOR EACH ROW EXECUTE FUNCTION fire(); ALTER TABLE rowwise ENABLE ${firing(least)} TRIGGER replica;
       CREATE TRIGGER always AFTER INSERT OR UPDATE OR DELETE ON rowwise FOR EACH ROW EXECUTE FUNCTION fire(); ALTER TABLE rowwise ENABLE ALWAYS TRIGGER always;
       CREATE TRIGGER of_c AFTER UPDATE OF c ON rowwise FOR EACH ROW WHEN (OLD.b IS DISTINCT FROM NEW.b) EXECUTE FUNCTION fire(); ALTER TABLE rowwise ENABLE ALWAYS TRIGGER of_c;
       CREATE TRIGGER a_change BEFORE INSERT OR UPDATE ON rowwise FOR EACH ROW EXECUTE FUNCTION louder(); ALTER TABLE rowwise ENABLE ${firing(least)} TRIGGER a_change`,
    )
    await f.run(`INSERT INTO rowwise VALUES (1, 'x'), (2, 'y')`)
    await f.run(
      `UPDATE rowwise SET b = 'z' WHERE a = 1; UPDATE rowwise SET a = 3 WHERE a = 2; DELETE FROM rowwise WHERE a = 1`,
    )
    expect(await f.alike('SELECT a, b, c, g FROM rowwise')).toEqual([{ a: '3', b: 'y', c: 'y!', g: 'y!?' }])
    expect(await fired('rowwise')).toHaveLength(2 + 2 + 2 + 3 + 2)
  })

  it('statement triggers of TRUNCATE fire, replica and always ones', async () => {
    await f.everywhere('CREATE TABLE emptied(a int PRIMARY KEY)')
    await f.below(
      `${ordinary('emptied', 'AFTER TRUNCATE ON emptied EXECUTE FUNCTION fire_once()')}
       CREATE TRIGGER replica BEFORE TRUNCATE ON emptied EXECUTE FUNCTION fire_once(); ALTER TABLE emptied ENABLE ${firing(least)} TRIGGER replica;
       CREATE TRIGGER always AFTER TRUNCATE ON emptied EXECUTE FUNCTION fire_once(); ALTER TABLE emptied ENABLE ALWAYS TRIGGER always`,
    )
    await f.run('INSERT INTO emptied VALUES (1); TRUNCATE emptied')
    expect(await fired('emptied')).toEqual([
      'emptied replica BEFORE TRUNCATE',
      'emptied always AFTER TRUNCATE',
    ])
  })

  it('differs: statement triggers of rows, which a subscription never fires, fire if enabled for replicas', async () => {
    await f.everywhere('CREATE TABLE once(a int PRIMARY KEY)')
    await f.below(
      `CREATE TRIGGER once AFTER INSERT ON once EXECUTE FUNCTION fire_once(); ALTER TABLE once ENABLE ${firing(least)} TRIGGER once`,
    )
    await f.run('INSERT INTO once VALUES (1)')
    await f.alike('SELECT a FROM once')
    const seen = `SELECT what FROM fired WHERE what LIKE 'once %'`
    expect(await query(f.judge, seen)).toEqual([])
    expect(await query(f.downstream, seen)).toEqual([{ what: 'once once AFTER INSERT' }])
  })

  it('scenario 6: TRUNCATE with RESTART IDENTITY, of several tables, with CASCADE, and of a table that is not followed', async () => {
    await f.below(
      `CREATE SEQUENCE seq1 START 101; CREATE TABLE tr1(a int PRIMARY KEY DEFAULT nextval('seq1')); ALTER SEQUENCE seq1 OWNED BY tr1.a;
       CREATE TABLE tr2(a int PRIMARY KEY); CREATE TABLE tr3(a int PRIMARY KEY); CREATE TABLE tr4(x int PRIMARY KEY, y int REFERENCES tr3);
       CREATE TABLE tr5(a int PRIMARY KEY); CREATE TABLE parent(a int PRIMARY KEY); CREATE TABLE child() INHERITS (parent); ALTER TABLE child ADD PRIMARY KEY (a)`,
    )
    await f.upstreamOnly(
      `CREATE SEQUENCE seq1 START 101; CREATE TABLE tr1(a int PRIMARY KEY DEFAULT nextval('seq1')); ALTER SEQUENCE seq1 OWNED BY tr1.a;
       CREATE TABLE tr2(a int PRIMARY KEY); CREATE TABLE tr3(a int PRIMARY KEY); CREATE TABLE tr4(x int PRIMARY KEY, y int REFERENCES tr3);
       CREATE TABLE parent(a int PRIMARY KEY); CREATE TABLE child() INHERITS (parent); ALTER TABLE child ADD PRIMARY KEY (a)`,
    )
    await script(f.upstream, 'CREATE TABLE tr5(a int PRIMARY KEY)')
    await f.run(
      `INSERT INTO tr1 VALUES (1), (2); INSERT INTO tr2 VALUES (1); INSERT INTO tr3 VALUES (1); INSERT INTO tr4 VALUES (1, 1);
       INSERT INTO tr5 VALUES (1); INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2)`,
    )
    await f.below('INSERT INTO tr5 VALUES (7)')
    await f.alike(`SELECT nextval('seq1')`)
    await f.run('TRUNCATE tr1')
    expect(await f.alike(`SELECT nextval('seq1'), (SELECT count(*) FROM tr1)`)).toEqual([
      { nextval: '102', count: '0' },
    ])
    await f.run('TRUNCATE tr1 RESTART IDENTITY')
    expect(await f.alike(`SELECT nextval('seq1')`)).toEqual([{ nextval: '101' }])
    await f.run('TRUNCATE tr3, tr4; INSERT INTO tr3 VALUES (2); INSERT INTO tr4 VALUES (2, 2)')
    await f.run('TRUNCATE tr3 CASCADE; TRUNCATE tr2, tr5')
    expect(
      await f.alike(
        'SELECT (SELECT count(*) FROM tr2) AS tr2, (SELECT count(*) FROM tr3) AS tr3, (SELECT count(*) FROM tr4) AS tr4, (SELECT count(*) FROM tr5) AS tr5',
      ),
    ).toEqual([{ tr2: '0', tr3: '0', tr4: '0', tr5: '1' }])
    await f.run('TRUNCATE ONLY parent')
    expect(await f.alike('SELECT a FROM parent')).toEqual([{ a: '2' }])
    await f.run('TRUNCATE parent')
    expect(await f.alike('SELECT a FROM parent')).toEqual([])
  })

  it.skipIf(least)('code of a table runs as its owner, whoever applies', async () => {
    await script(f.downstream, `CREATE ROLE ${role}`)
    await f.everywhere('CREATE TABLE theirs(a int PRIMARY KEY, who text, b int)')
    await f.below(
      `CREATE FUNCTION who() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.who := current_user; RETURN NEW; END $$;
       CREATE TRIGGER who BEFORE INSERT OR UPDATE ON theirs FOR EACH ROW EXECUTE FUNCTION who();
       ALTER TABLE theirs ENABLE ALWAYS TRIGGER who, OWNER TO ${role}`,
    )
    await f.run('INSERT INTO theirs VALUES (1), (2); UPDATE theirs SET b = 1 WHERE a = 2')
    // Before 16 a subscription applies as its own owner.
    const columns = Number(pair.split('-').at(-1)) < 16 ? 'a, b' : 'a, b, who'
    await f.alike(`SELECT ${columns} FROM theirs ORDER BY a`)
    expect(await query(f.downstream, 'SELECT a, who, b FROM theirs ORDER BY a')).toEqual([
      { a: '1', who: role, b: null },
      { a: '2', who: role, b: '1' },
    ])
  })

  // The last one: the follower that it starts ends with it.
  it('scenario 14: a trigger that swallows an exception does not hold up the position', async () => {
    await f.everywhere('CREATE TABLE swallowing(a int PRIMARY KEY, n int)')
    await f.below(
      `CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         BEGIN NEW.n := NEW.a / 0; EXCEPTION WHEN OTHERS THEN NEW.n := coalesce(NEW.n, 0) + 1; END; RETURN NEW; END $$;
       CREATE TRIGGER swallow BEFORE INSERT OR UPDATE ON swallowing FOR EACH ROW EXECUTE FUNCTION swallow();
       ALTER TABLE swallowing ENABLE ALWAYS TRIGGER swallow`,
    )
    await f.run('INSERT INTO swallowing VALUES (1), (2); UPDATE swallowing SET n = 5 WHERE a = 2')
    expect(await f.stop()).toBe(0)
    f.start()
    await f.run('INSERT INTO swallowing VALUES (3)')
    expect(await f.alike('SELECT * FROM swallowing ORDER BY a')).toEqual([
      { a: '1', n: '1' },
      { a: '2', n: '6' },
      { a: '3', n: '1' },
    ])
  })
})

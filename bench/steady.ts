/** SQL of the steady load. Each writer is a session of its own, with numbers of its own: those become visible in their order. */
export interface Steady {
  readonly name: string
  readonly perSecond: number
  readonly writers: number
}

/** A session sleeps whole milliseconds, so one can't write much more evenly than this. */
const perWriter = 500

export function steady(perSecond: number): Steady {
  return { name: `L${perSecond}`, perSecond, writers: Math.ceil(perSecond / perWriter) }
}

export const steadyTables = `CREATE TABLE item (
  writer int, n int, b text, sent timestamptz DEFAULT clock_timestamp(), PRIMARY KEY (writer, n))`

/** Transactions of one row, each at its time; a late one doesn't move those after it. */
export const steadyLoad = `CREATE PROCEDURE steady(writer int, rows int, period float8, phase float8) LANGUAGE plpgsql AS $$
  DECLARE due timestamptz := clock_timestamp() + make_interval(secs => phase);
  BEGIN
    FOR i IN 1..rows LOOP
      IF due > clock_timestamp() THEN
        PERFORM pg_sleep(extract(epoch FROM due - clock_timestamp()));
      END IF;
      INSERT INTO item VALUES (writer, i, md5(i::text));
      COMMIT;
      due := due + make_interval(secs => period);
    END LOOP;
  END $$`

export function load(writer: number, writers: number, rows: number, perSecond: number): string {
  const period = writers / perSecond
  return `CALL steady(${writer}, ${rows}, ${period}, ${((writer - 1) * period) / writers})`
}

/**
 * Looks once a millisecond, as a reader downstream sees it, which rows are there, and notes each look that finds more: the rows became
 * visible between the look before it and this one.
 */
export function watch(writers: number, rows: number): string {
  return `
    CREATE TEMP TABLE seen (writer int, above int, upto int, before timestamptz, at timestamptz);
    DO $$
    DECLARE
      was int[] := array_fill(0, ARRAY[${writers}]);
      highest int;
      before timestamptz := clock_timestamp();
      now timestamptz;
      complete int := 0;
      give_up timestamptz := clock_timestamp() + interval '10 min';
    BEGIN
      WHILE complete < ${writers} LOOP
        now := clock_timestamp();
        FOR w IN 1..${writers} LOOP
          SELECT n INTO highest FROM item WHERE writer = w ORDER BY n DESC LIMIT 1;
          IF highest > was[w] THEN
            INSERT INTO seen VALUES (w, was[w], highest, before, clock_timestamp());
            was[w] := highest;
            IF highest = ${rows} THEN complete := complete + 1; END IF;
          END IF;
        END LOOP;
        IF now > give_up THEN RAISE 'not all rows have come: %', was; END IF;
        before := now;
        PERFORM pg_sleep(0.001);
      END LOOP;
    END $$`
}

/** Each row with the time of its commit upstream, in seconds. */
export const committed = `SELECT writer, n, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 AS at FROM item`

export const seen =
  'SELECT writer, above, upto, extract(epoch FROM before)::float8 AS before, extract(epoch FROM at)::float8 AS at FROM seen'

import { expect } from 'vitest'
import { cleanUp } from './cleanup.ts'
import { type Following, follow } from './follow.ts'
import type { Least } from './least.ts'
import { inDatabase, inEncoding, type Pair } from './servers.ts'
import { query, type Row, script, statements, value } from './sql.ts'
import { waitUntil } from './wait.ts'

/** A follow with PostgreSQL's own subscription beside it, into another database of the downstream's server. */
export interface Judged extends Following {
  /** The database of the subscription. */
  readonly judge: string
  /** Runs the script in both databases below, then upstream: for tables that all have. Schema changes are not followed. */
  everywhere(text: string): Promise<void>
  /** Runs the script upstream: for tables that are there already below, in another shape. */
  upstreamOnly(text: string): Promise<void>
  /** Runs the script in both databases below. */
  below(text: string): Promise<void>
  /** Settles; the query must give the same of both databases below. */
  alike(text: string): Promise<Row[]>
}

/** As FOR ALL TABLES, but for follower's own tables, which a subscription would want to have, too. */
const publishAll = `DO $$ DECLARE t regclass; BEGIN
    FOR t IN SELECT c.oid FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
        AND NOT EXISTS (SELECT FROM pg_publication_rel r WHERE r.prrelid = c.oid) LOOP
      EXECUTE format('ALTER PUBLICATION scenarios ADD TABLE ONLY %s', t);
    END LOOP; END $$`

/**
 * Follows with `--ddl off` and gives the judge the same publications. A missing row is skipped, as the subscription
 * does it.
 */
export async function judged(
  options: {
    pair?: Pair
    before?: readonly string[]
    publications?: readonly string[]
    /** Run in the databases below only, before all begins. */
    below?: readonly string[]
    args?: readonly string[]
    /** As of follow. */
    least?: Least | undefined
    /** Of the databases: the upstream's, and that of both below. */
    encodings?: readonly [upstream: string, downstream: string]
  } = {},
): Promise<Judged> {
  const own = options.publications ?? ['CREATE PUBLICATION scenarios FOR TABLE settled', publishAll]
  const f = await follow({
    ...(options.pair && { pair: options.pair }),
    least: options.least,
    before: options.before ?? [],
    upstreamOnly: own,
    downstreamOnly: options.below ?? [],
    ...(options.encodings && { encodings: options.encodings }),
    args: [
      ...['--ddl', 'off', '--on-conflict', 'update_missing=skip'],
      ...publicationNames(own).flatMap((name) => ['--publication', name]),
      ...(options.args ?? []),
    ],
  })
  const judge = await subscribe(
    f,
    publicationNames(own),
    [...(options.before ?? []), ...(options.below ?? [])],
    options.encodings?.[1],
  )
  const below = async (text: string): Promise<void> => {
    await Promise.all([f.downstream, judge].map((end) => script(end, text)))
  }
  const upstreamOnly = async (text: string): Promise<void> => {
    await script(f.upstream, options.publications ? text : `${text};\n${publishAll}`)
    await refresh(judge)
  }
  return {
    ...f,
    judge,
    upstreamOnly,
    get follower() {
      return f.follower
    },
    below,
    async everywhere(text) {
      await below(text)
      await upstreamOnly(text)
    },
    async alike(text) {
      await f.settle()
      const count = await value(f.downstream, 'SELECT max(n) FROM settled')
      await waitUntil(async () => (await value(judge, 'SELECT max(n) FROM settled')) === count, {
        what: 'the subscription',
      })
      const [ours, theirs] = await Promise.all([f.downstream, judge].map((end) => query(end, text)))
      expect(ours, text).toEqual(theirs)
      return ours!
    },
  }
}

/** Makes the subscription take note of tables that are new in its publications. */
export async function refresh(judge: string): Promise<void> {
  const name = new URL(judge).pathname.slice(1)
  await statements(judge, [`ALTER SUBSCRIPTION ${name} REFRESH PUBLICATION WITH (copy_data = false)`])
}

/** Of statements CREATE PUBLICATION; others are passed over. */
function publicationNames(texts: readonly string[]): string[] {
  return texts.flatMap((text) => /^CREATE PUBLICATION (\w+)/.exec(text)?.[1] ?? [])
}

async function subscribe(
  f: Following,
  publications: readonly string[],
  before: readonly string[],
  encoding = 'UTF8',
): Promise<string> {
  const name = `${f.name}_judge`
  await script(f.superuser, `CREATE DATABASE ${name} TEMPLATE template0 ${inEncoding(encoding)}`)
  cleanUp(() => script(f.superuser, `DROP DATABASE ${name} WITH (FORCE)`))
  const judge = inDatabase(f.superuser, name)
  await statements(judge, ['CREATE TABLE settled(n int PRIMARY KEY)', ...before])
  const up = new URL(f.upstream)
  const conninfo = `host=${up.hostname} port=${up.port} user=${up.username} dbname=${f.name}`
  await statements(judge, [
    `CREATE SUBSCRIPTION ${name} CONNECTION '${conninfo}' PUBLICATION ${publications.join(', ')} WITH (copy_data = false)`,
  ])
  cleanUp(() => script(judge, `DROP SUBSCRIPTION ${name}`))
  return judge
}

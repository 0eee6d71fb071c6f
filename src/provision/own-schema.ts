import type pg from 'pg'
import { type Address, cutScript, NoOrder, orderSchema, type SchemaItem } from '../copy/schema-order.ts'
import { ExitCode, FollowerError } from '../errors.ts'
import type { CopySettings } from '../model/follow.ts'
import { quoteIdentifier } from '../postgres/identifier.ts'
import { sql } from '../postgres/sql.ts'
import { sqlstate } from '../postgres/sqlstate.ts'
import type { Ends } from './ends.ts'
import { checkThere, type Outside, readNeeds, readThere } from './outside.ts'
import type { DumpedSchema } from './pg-dump.ts'
import { ask, askOne, column, inTransaction, type Row } from './query.ts'
import { schemaChanged } from './sequences.ts'
import { underSnapshot } from './snapshot.ts'

const itemFiles = [
  'database',
  'types',
  'functions',
  'tables',
  'table_parts',
  'views',
  'indexes',
  'constraints',
  'programs',
]

/** Files that ask for the other end's major. */
const ofBothMajors = ['database', 'tables']

/**
 * The schema as of the snapshot, from the catalogs. No table is locked, but those that views, rules and functions in SQL name (ACCESS SHARE, for
 * as long as reading takes): where the schema has changed since the snapshot, what was read may belong to either. Throws FollowerError:
 * FLW-124 with what is not carried, FLW-126 with what is missing downstream, FLW-128 where it changed or a lock was not to be had (all exit 6).
 */
export async function readOwnSchema(
  { upstream, downstream }: Ends,
  snapshot: string,
  settings: Pick<CopySettings, 'owner' | 'privileges'>,
  majors: { readonly upstream: number; readonly downstream: number },
): Promise<DumpedSchema> {
  const read = (file: string, params?: readonly string[]): Promise<readonly Row[]> =>
    ask(upstream, 'upstream', sql(`query/schema/${file}`), params)
  const schema = await underSnapshot(upstream, snapshot, async () => {
    // Whoever waits for a lock on a table makes everybody wait who comes later.
    await ask(upstream, 'upstream', "SET LOCAL lock_timeout = '3s'")
    await checkCarried(upstream, majors.upstream)
    // The list of reserved words differs between majors.
    await ask(upstream, 'upstream', 'SET LOCAL quote_all_identifiers = on')
    const major = [String(majors.downstream)]
    const items: Row[] = []
    for (const file of itemFiles) items.push(...(await read(file, ofBothMajors.includes(file) ? major : [])))
    return {
      items,
      settings: await read('column_settings'),
      comments: [...(await read('comments')), ...(await read('extension_needs'))],
      grants: settings.privileges ? await read('grants', major) : [],
      parts: await read('parts'),
      dependencies: await read('dependencies'),
      needs: await readNeeds(upstream),
      fingerprint: await fingerprint(upstream),
    }
  }).catch((error: unknown) => {
    throw sqlstate(error) === '55P03' ? schemaChanged(error) : error
  })
  const now = await inTransaction(upstream, 'upstream', () => fingerprint(upstream))
  if (now !== schema.fingerprint) throw schemaChanged()
  const there = await readThere(downstream)

  // Indexes that are not valid, with all that is said of them.
  const gone = schema.items.filter((row) => row.statement === null)
  const isGone = (row: Row): boolean => gone.some((it) => it.object === row.object && ofIndex(row))
  const kept = schema.items.filter(
    (row) => row.statement !== null && !isGone(row) && (settings.privileges || row.kind !== 'DEFAULT ACL'),
  )
  const separate = schema.grants.filter((row) => row.separate === 't')
  // What the server itself made may be missing in another major.
  const granted = separate.filter((row) => !ofServer(row) || there(onServer(row)))
  const additions = [
    ...schema.settings,
    ...schema.grants.filter((row) => row.separate !== 't'),
    ...schema.comments,
  ].filter((row) => !isGone(row))
  try {
    const { before, after, items, holds, homeless } = orderSchema({
      items: [...kept.map((row) => item(row, settings.owner)), ...granted.map(separateGrant)],
      additions: additions.map((row) => ({ ...address(row), statement: column(row, 'statement') })),
      parts: schema.parts.map((row) => [address(row), address(row, 'of_')] as const),
      needs: [
        ...schema.dependencies.map((row) => [address(row), address(row, 'needs_')] as const),
        ...granted.map((row) => [separateGrant(row), address(row)] as const),
      ],
    })
    const made = new Set(items.map(key))
    const needed: Outside[] = [
      ...schema.needs.filter((it) => (settings.privileges || !it.granted) && holds(it)),
      ...(settings.owner
        ? kept.filter((row) => row.alter && row.owner && made.has(key(address(row))))
        : []
      ).map((row) => ({ kind: 'role', name: column(row, 'owner') })),
      ...items.filter((it) => it.kind === 'DEFAULT ACL').map(({ name }) => ({ kind: 'role', name })),
      ...items.filter((it) => it.kind === 'EXTENSION').map(({ name }) => ({ kind: 'extension', name })),
    ]
    const missing = checkThere(needed, there)
    if (missing) throw missing
    const { script, steps } = cutScript(before)
    return {
      before: script,
      after: [...steps, ...after],
      leftOut: [
        ...gone.map((row) => `index ${column(row, 'schema')}.${column(row, 'name')}, which is not valid`),
        ...separate.filter((row) => !granted.includes(row)).map((row) => column(row, 'statement')),
        ...homeless.map((addition) => addition.statement),
      ],
    }
  } catch (error) {
    if (error instanceof NoOrder) throw notCarried(error.objects, majors.upstream, error.message, error)
    throw error
  }
}

const key = ({ catalog, object }: Address): string => `${catalog} ${object}`
const ofIndex = (row: Row): boolean => row.catalog === 'pg_class' || row.catalog === 'index partition'
const ofServer = (row: Row): boolean => Number(row.object) < 16384
const onServer = (row: Row): Outside => ({ kind: column(row, 'catalog'), name: column(row, 'named') })

/** Throws FollowerError (FLW-124, exit 6) with the objects that follower can't make without pg_dump. */
export async function checkCarried(upstream: pg.Client, major: number): Promise<void> {
  const found = await ask(upstream, 'upstream', sql('query/schema/not_carried'))
  if (found.length > 0)
    throw notCarried(
      found.map((row) => column(row, 'object')),
      major,
      'there is no fitting pg_dump here, and follower’s own copy of the schema does not carry these',
    )
}

function notCarried(objects: readonly string[], major: number, why: string, cause?: unknown): FollowerError {
  const shown = objects.slice(0, 20)
  return new FollowerError(`the copy of the schema needs pg_dump of PostgreSQL ${major} or later`, {
    code: 'FLW-124',
    exit: ExitCode.preflight,
    detail: [
      `${why}:`,
      ...shown.map((object) => `  ${object}`),
      ...(objects.length > shown.length ? [`  and ${objects.length - shown.length} more`] : []),
    ].join('\n'),
    effect: 'nothing was changed downstream',
    fix: [
      `apt install postgresql-client-${major}   # or as your system has it`,
      'or name one:  follower start --pg-dump /…/bin/pg_dump …',
      'or load the schema yourself:  follower start --copy data …',
    ],
    cause,
  })
}

async function fingerprint(upstream: pg.Client): Promise<string> {
  const row = await askOne(upstream, 'upstream', sql('query/schema/fingerprint'))
  return column(row!, 'value')
}

function address(row: Row, prefix = ''): Address {
  return { catalog: column(row, `${prefix}catalog`), object: column(row, `${prefix}object`) }
}

function item(row: Row, withOwner: boolean): SchemaItem {
  const owner =
    withOwner && row.alter && row.owner
      ? `ALTER ${row.alter} OWNER TO ${quoteIdentifier(row.owner)}`
      : undefined
  return {
    ...address(row),
    kind: column(row, 'kind'),
    schema: column(row, 'schema'),
    name: column(row, 'name'),
    statement: [column(row, 'statement').trim(), owner, row.after].filter(Boolean).join(';\n'),
  }
}

/** A grant on what the server or an extension made has no item to go with. */
function separateGrant(row: Row): SchemaItem {
  const { catalog, object } = address(row)
  const name = column(row, 'named')
  return {
    catalog: `grant on ${catalog}`,
    object,
    ...{ kind: 'ACL', schema: '-', name, statement: column(row, 'statement') },
  }
}

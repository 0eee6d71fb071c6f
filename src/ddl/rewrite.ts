import type { DdlMessage, DdlObject } from '../model/ddl-message.ts'
import { quoteIdentifier, quoteLiteral } from '../postgres/identifier.ts'
import { describeTriggers, ordinaryTriggers, triggerRemedies } from '../postgres/ordinary-triggers.ts'
import { sql } from '../postgres/sql.ts'
import type { DdlContext } from './context.ts'
import { ddlError } from './errors.ts'
import { executeAs } from './execute.ts'
import { parseStatements, type Statement, walk } from './statement.ts'

/** Code of the error that asks a person what a rewrite may do. */
export const rewriteRefused = 'FLW-326'

/** What gives existing rows of a table a value. */
interface Filling {
  readonly column: string
  readonly adds: boolean
  readonly expressions: readonly unknown[]
  /** Last names of the column's type. */
  readonly types: readonly string[]
  /** Draws from a sequence: the order of the rows decides. */
  readonly sequence: boolean
}

/** Stable functions of pg_catalog whose result is another one at another time or place. */
const changing = new Set([
  'now',
  'transaction_timestamp',
  'statement_timestamp',
  'current_database',
  'current_query',
  'session_user',
  'version',
  'txid_current',
  'txid_current_if_assigned',
  'txid_current_snapshot',
  'pg_current_xact_id',
  'pg_current_xact_id_if_assigned',
  'pg_current_snapshot',
  'pg_backend_pid',
  'pg_postmaster_start_time',
  'pg_conf_load_time',
  'inet_client_addr',
  'inet_client_port',
  'inet_server_addr',
  'inet_server_port',
  'current_setting',
  'currval',
  'lastval',
  'obj_description',
])

/**
 * Columns that ALTER TABLE fills in the rows that are there: ADD COLUMN with a default, a sequence or an identity, and
 * ALTER COLUMN TYPE with USING. Generated columns are not among them: their expressions are immutable. Pure.
 */
export function fillings(statement: Statement): Filling[] {
  const commands = statement.node.AlterTableStmt?.cmds
  if (!Array.isArray(commands)) return []
  return commands.flatMap((each): Filling[] => {
    const command = each.AlterTableCmd
    const definition = command?.def?.ColumnDef
    if (command?.subtype === 'AT_AlterColumnType' && definition?.raw_default)
      return [
        {
          column: command.name,
          adds: false,
          expressions: [definition.raw_default],
          types: [],
          sequence: false,
        },
      ]
    if (command?.subtype !== 'AT_AddColumn' || !definition) return []
    const constraints: Record<string, unknown>[] = (definition.constraints ?? []).map(
      (constraint: { Constraint?: Record<string, unknown> }) => constraint.Constraint ?? {},
    )
    const type = definition.typeName?.names?.at(-1)?.String?.sval ?? ''
    return [
      {
        column: definition.colname,
        adds: true,
        expressions: constraints.flatMap((constraint) =>
          constraint.contype === 'CONSTR_DEFAULT' ? [constraint.raw_expr] : [],
        ),
        types: [type],
        sequence:
          /^((small|big)?serial|serial[248])$/.test(type) ||
          constraints.some((constraint) => constraint.contype === 'CONSTR_IDENTITY'),
      },
    ]
  })
}

/** How far a value can be trusted to be the same downstream. */
type Sameness = 'same' | 'same in one statement' | 'different'

/**
 * Replays ALTER TABLE (`run`) and sees to the rows that are there already. A value that is one for all rows, such as
 * now(), is taken from the upstream's catalog; values that differ by row cannot be had again: that halts, or not, as
 * `onRewrite` says.
 */
export async function replayFilling(
  message: DdlMessage,
  statement: Statement,
  role: string,
  context: DdlContext,
  run: () => Promise<void>,
): Promise<void> {
  const filled = fillings(statement)
  if (setsLogged(statement) && context.onRewrite === 'halt') throw neverLogged(message, statement, context)
  const table = message.objects.find((object) => object.type === 'table')
  if (filled.length === 0 || !table) return run()
  // Not the identity: the payload is its author's, and a text of his must not become SQL of ours.
  const relation = table.names.map(quoteIdentifier).join('.')
  const before = await columnsOf(relation, context)
  const news = filled.filter((filling) => before.has(filling.column) !== filling.adds)
  const repairs: string[] = []
  for (const filling of news) {
    const sameness = await samenessOf(filling, context)
    if (sameness === 'same') continue
    const value =
      filling.adds && sameness === 'same in one statement' ? own(table.missing, filling.column) : undefined
    if (value !== undefined) repairs.push(`${quoteIdentifier(filling.column)} = ${quoteLiteral(value)}`)
    else if (context.onRewrite === 'halt' && (await hasRows(relation, false, context)))
      throw cannotRepeat(message, statement, filling, context)
  }
  // The value holds for the table and its partitions; other children are not looked at upstream.
  const partitioned = (await kindOf(relation, context)) === 'p'
  if (repairs.length > 0 && !partitioned && context.onRewrite === 'halt')
    if (await hasRows(relation, true, context)) throw cannotRepeat(message, statement, news[0]!, context)
  if (repairs.length > 0 && context.origin?.haltOnTriggers)
    await refuseTriggers(message, statement, table, context)
  await run()
  if (repairs.length > 0)
    await executeAs(
      context,
      role,
      {},
      `UPDATE ${partitioned ? '' : 'ONLY '}${relation} SET ${repairs.join(', ')}`,
    )
}

/** The UPDATE of a repair would fire them. */
async function refuseTriggers(
  message: DdlMessage,
  statement: Statement,
  { names: [schema = '', name = ''] }: DdlObject,
  context: DdlContext,
): Promise<void> {
  const query = async (text: string, values: string[][]) => (await context.client.query(text, values)).rows
  const found = await ordinaryTriggers(query, [{ schema, name }])
  if (found.length === 0) return
  throw ddlError(314, 'triggers downstream would act on the values that it sets', message, context, {
    statement: statement.text,
    detail: describeTriggers(found),
    fix: triggerRemedies(found),
  })
}

async function kindOf(table: string, context: DdlContext): Promise<string | undefined> {
  const { rows } = await context.client.query<{ relkind: string }>(
    'SELECT relkind FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass($1)',
    [table],
  )
  return rows[0]?.relkind
}

async function columnsOf(table: string, context: DdlContext): Promise<Set<string>> {
  const { rows } = await context.client.query<{ name: string }>(
    'SELECT attname AS name FROM pg_catalog.pg_attribute WHERE attrelid = pg_catalog.to_regclass($1) AND attnum > 0',
    [table],
  )
  return new Set(rows.map(({ name }) => name))
}

/**
 * Rows of the table; where the value of its own rows is known, only those of its children. Only tables are read:
 * a view would run its owner's functions with our rights.
 */
async function hasRows(table: string, childrenOnly: boolean, context: DdlContext): Promise<boolean> {
  if (!/^[rp]$/.test((await kindOf(table, context)) ?? '')) return false
  const { rows } = await context.client.query<{ any: string }>(
    `SELECT EXISTS (SELECT FROM ${table} t${childrenOnly ? ` WHERE t.tableoid <> ${quoteLiteral(table)}::regclass` : ''}) AS any`,
  )
  return rows[0]?.any === 't'
}

async function samenessOf(filling: Filling, context: DdlContext): Promise<Sameness> {
  if (filling.sequence) return 'different'
  const trees = [...filling.expressions]
  if (trees.length === 0 && filling.types.length > 0) {
    const { rows } = await context.client.query<{ expression: string }>(sql('query/domain_defaults'), [
      filling.types,
    ])
    for (const { expression } of rows)
      trees.push(parseStatements(`SELECT ${expression}`)?.map(({ node }) => node))
  }
  const functions = new Set<string>()
  let now = false
  walk(trees, (type, fields) => {
    if (type === 'SQLValueFunction') now = true
    if (type !== 'FuncCall') return
    const names = fields.funcname as { String?: { sval?: string } }[] | undefined
    functions.add(names?.at(-1)?.String?.sval ?? '')
  })
  if (functions.size === 0) return now ? 'same in one statement' : 'same'
  const { rows } = await context.client.query<Record<string, string>>(sql('query/function_volatility'), [
    [...functions],
  ])
  const known = new Map(rows.map((row) => [row.name, row]))
  let worst: Sameness = now ? 'same in one statement' : 'same'
  for (const name of functions) {
    const row = known.get(name)
    if (!row || row.volatility === '2') return 'different'
    if (row.volatility === '1' && (row.builtin !== 't' || changing.has(name))) worst = 'same in one statement'
  }
  return worst
}

/** SET LOGGED, alone or among others. Pure. */
function setsLogged(statement: Statement): boolean {
  const commands = statement.node.AlterTableStmt?.cmds
  return Array.isArray(commands) && commands.some((each) => each.AlterTableCmd?.subtype === 'AT_SetLogged')
}

function neverLogged(message: DdlMessage, statement: Statement, context: DdlContext) {
  return ddlError(326, 'rows from when the table was unlogged are not in the stream', message, context, {
    statement: statement.text,
    detail:
      'PostgreSQL neither streams the rows of an unlogged table, nor the rewrite that makes it a logged one.',
    fix: [
      'start with --on-rewrite replay  -- where the table was empty upstream',
      'or DROP the table upstream, CREATE it logged and INSERT its rows: these are followed',
    ],
  })
}

function cannotRepeat(message: DdlMessage, statement: Statement, filling: Filling, context: DdlContext) {
  return ddlError(
    326,
    `column ${filling.column} gets values that cannot be had again downstream`,
    message,
    context,
    {
      statement: statement.text,
      detail: `${statement.text.slice(0, 300)}\nPostgreSQL computes the values of existing rows anew and does not write them to the stream: downstream they would be others.`,
      fix: [
        'start with --on-rewrite replay  -- accepts other values in rows that exist already',
        'or add the column without a default, set the default, then UPDATE the rows: an UPDATE is followed',
      ],
    },
  )
}

function own(values: Readonly<Record<string, string>> | undefined, name: string): string | undefined {
  return values && Object.hasOwn(values, name) ? values[name] : undefined
}

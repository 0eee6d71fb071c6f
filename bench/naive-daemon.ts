import pg from 'pg'
import { LogicalReplicationService, type Pgoutput, PgoutputPlugin } from 'pg-logical-replication'
import { quoteIdentifier } from '../src/postgres/identifier.ts'

const [upstream, downstream, slot] = process.argv.slice(2) as [string, string, string]

const client = new pg.Client({ connectionString: downstream })
await client.connect()
// As the native subscription's worker: else each transaction waits for the disk.
await client.query('SET synchronous_commit = off; SET session_replication_role = replica')

const service = new LogicalReplicationService(
  { connectionString: upstream },
  { acknowledge: { auto: true, timeoutSeconds: 10 }, flowControl: { enabled: true } },
)
service.on('error', (error) => {
  console.error(error)
  process.exit(1)
})
service.on('start', () => console.info('started'))
// The service waits for what its handler returns.
service.on('data', (_lsn: string, message: Pgoutput.Message) =>
  apply(message).catch((error: unknown) => {
    console.error(error)
    process.exit(1)
  }),
)
await service.subscribe(new PgoutputPlugin({ protoVersion: 1, publicationNames: ['bench'] }), slot)

async function apply(message: Pgoutput.Message): Promise<void> {
  if (message.tag === 'begin') await client.query('BEGIN')
  else if (message.tag === 'commit') await client.query('COMMIT')
  else if (message.tag === 'insert') await insert(message.relation, message.new)
  else if (message.tag === 'update')
    await update(message.relation, message.new, message.key ?? message.old ?? message.new)
  else if (message.tag === 'delete') await remove(message.relation, message.key ?? message.old ?? {})
}

async function insert(relation: Pgoutput.MessageRelation, row: Row): Promise<void> {
  const names = Object.keys(row)
  const places = names.map((_, i) => `$${i + 1}`)
  await statement(
    `INSERT INTO ${table(relation)} (${names.map(quoteIdentifier).join(', ')}) VALUES (${places.join(', ')})`,
    names.map((name) => row[name]),
  )
}

async function update(relation: Pgoutput.MessageRelation, row: Row, old: Row): Promise<void> {
  const names = Object.keys(row).filter((name) => row[name] !== undefined)
  const keys = relation.keyColumns
  const set = names.map((name, i) => `${quoteIdentifier(name)} = $${i + 1}`)
  await statement(`UPDATE ${table(relation)} SET ${set.join(', ')} WHERE ${where(keys, names.length)}`, [
    ...names.map((name) => row[name]),
    ...keys.map((name) => old[name]),
  ])
}

async function remove(relation: Pgoutput.MessageRelation, old: Row): Promise<void> {
  const keys = relation.keyColumns
  await statement(
    `DELETE FROM ${table(relation)} WHERE ${where(keys, 0)}`,
    keys.map((name) => old[name]),
  )
}

/** Prepared under its own text. */
async function statement(text: string, values: unknown[]): Promise<void> {
  await client.query({ name: text.slice(0, 60), text, values })
}

function where(keys: readonly string[], before: number): string {
  return keys.map((name, i) => `${quoteIdentifier(name)} = $${before + i + 1}`).join(' AND ')
}

function table(relation: Pgoutput.MessageRelation): string {
  return `${quoteIdentifier(relation.schema)}.${quoteIdentifier(relation.name)}`
}

// biome-ignore lint/suspicious/noExplicitAny: as the package types its rows
type Row = Record<string, any>

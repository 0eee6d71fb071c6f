import { tmpdir } from 'node:os'
import type pg from 'pg'
import pino from 'pino'
import { FollowerError } from '../src/errors.ts'
import type { FollowSettings } from '../src/model/follow.ts'
import { defaultMemoryLimit, shareMemory } from '../src/model/memory.ts'
import { connect } from '../src/postgres/connect.ts'
import { parseConninfo } from '../src/postgres/conninfo.ts'
import type { Ends } from '../src/provision/ends.ts'
import { cleanUp } from './support/cleanup.ts'
import { query } from './support/sql.ts'

/** The settings of a follow between two databases, as `follower start` without options would make them. */
export function followSettings(
  ends: { readonly upstream: string; readonly downstream: string; readonly name: string },
  more: Partial<FollowSettings> = {},
): FollowSettings {
  const name = more.name ?? ends.name
  return {
    name,
    upstream: parseConninfo(ends.upstream, {}),
    downstream: parseConninfo(ends.downstream, {}),
    slot: name,
    slotGiven: false,
    publications: [],
    applicationName: `follower/${name}`,
    tables: [],
    ddl: true,
    until: undefined,
    copy: undefined,
    copying: {
      ...{ jobs: 2, splitBytes: 2 ** 28, overwrite: false },
      ...{ pgDump: undefined, owner: true, privileges: true },
    },
    noIdentity: 'refuse',
    onConflict: { insert_exists: 'halt', update_missing: 'halt', delete_missing: 'halt' },
    onRewrite: 'halt',
    ordinaryTriggers: 'halt',
    synchronousCommit: true,
    backlog: 'pull',
    streaming: true,
    onError: 'halt',
    incidentRows: false,
    wait: true,
    acceptNewUpstream: false,
    memory: shareMemory(defaultMemoryLimit),
    spill: { directory: tmpdir(), limit: 1e15 },
    plugin: 'pgoutput',
    nanAsNull: false,
    binary: true,
    ...more,
  }
}

/** Connections as a follow has them; closed at the end of the test. */
export async function openEnds(settings: FollowSettings): Promise<Ends> {
  const open = async (end: 'upstream' | 'downstream'): Promise<pg.Client> => {
    const client = await connect({ end, conninfo: settings[end], applicationName: settings.applicationName })
    cleanUp(() => client.end().catch(() => {}))
    return client
  }
  return { upstream: await open('upstream'), downstream: await open('downstream') }
}

export interface Line {
  readonly level: number
  readonly msg: string
  readonly code?: string
  readonly waitsFor?: readonly string[]
}

/** A log whose lines can be read. */
export function logToArray(): { log: pino.Logger; lines: Line[] } {
  const lines: Line[] = []
  return {
    lines,
    log: pino({ level: 'debug' }, { write: (text: string) => lines.push(JSON.parse(text) as Line) }),
  }
}

export const silent = pino({ level: 'silent' })

/** The FollowerError that a promise rejects with. */
export async function refusal(promise: Promise<unknown>): Promise<FollowerError> {
  const error = await promise.then(
    (value) =>
      new Error(
        `it was not refused: ${JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? String(v) : v))}`,
      ),
    (reason: unknown) => reason,
  )
  if (error instanceof FollowerError) return error
  throw error
}

/** Everything that stands in a database's catalogs by name, of any kind: what is there before and after must be equal. */
export async function catalog(conninfo: string): Promise<readonly string[]> {
  const rows = await query(
    conninfo,
    `SELECT 'schema ' || nspname AS object FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp'
     UNION ALL SELECT format('relation %s %s %s %s', relnamespace::regnamespace, relname, relkind, relreplident)
       FROM pg_class WHERE relnamespace <> 'pg_toast'::regnamespace
     UNION ALL SELECT 'routine ' || oid::regprocedure FROM pg_proc
     UNION ALL SELECT 'type ' || oid::regtype FROM pg_type WHERE typnamespace <> 'pg_toast'::regnamespace
     UNION ALL SELECT 'event trigger ' || evtname FROM pg_event_trigger
     UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE NOT tgisinternal
     UNION ALL SELECT 'publication ' || pubname FROM pg_publication
     UNION ALL SELECT 'slot ' || slot_name FROM pg_replication_slots WHERE database = current_database()
     UNION ALL SELECT format('default acl %s', defaclacl) FROM pg_default_acl
     ORDER BY 1`,
  )
  return rows.map((row) => row.object ?? '')
}

import { ExitCode, FollowerError } from '../errors.ts'
import type { FollowSettings } from '../model/follow.ts'
import { quoteIdentifier } from '../postgres/identifier.ts'
import type { DownstreamFacts, UpstreamFacts } from './facts.ts'
import { displayTable, type FollowedTable, lacksIdentity, type TableName, type Uncopied } from './tables.ts'

/** What a finding says; all of them are exit 6, and nothing was changed. */
interface Finding {
  readonly code: `FLW-${number}`
  readonly message: string
  readonly detail?: string
  readonly effect?: string
  readonly fix: readonly string[]
}

function finding(found: Finding): FollowerError {
  return new FollowerError(found.message, {
    code: found.code,
    exit: ExitCode.preflight,
    effect: found.effect ?? 'nothing was changed',
    fix: found.fix,
    ...(found.detail ? { detail: found.detail } : {}),
  })
}

const oldest = 140000

/** Pure: what the upstream lacks. `slotExists`: then it needs no place for one more. */
export function checkUpstream(
  settings: FollowSettings,
  facts: UpstreamFacts,
  slotExists: boolean,
): FollowerError[] {
  const found: Finding[] = []
  const role = quoteIdentifier(facts.role)
  if (facts.version < oldest)
    found.push({
      code: 'FLW-103',
      message: `the upstream is PostgreSQL ${facts.versionText}; follower needs 14 or later`,
      fix: ['upgrade the upstream'],
    })
  if (facts.inRecovery)
    found.push({
      code: 'FLW-102',
      message: 'the upstream is in recovery: following a standby is not supported',
      fix: ['connect to the primary, or promote this server'],
    })
  if (facts.walLevel !== 'logical')
    found.push({
      code: 'FLW-101',
      message: `wal_level is ${facts.walLevel} upstream; logical replication needs logical`,
      fix: ['ALTER SYSTEM SET wal_level = logical;   -- upstream, needs a restart'],
    })
  if (!slotExists && facts.slots >= facts.maxReplicationSlots)
    found.push({
      code: 'FLW-104',
      message: `max_replication_slots = ${facts.maxReplicationSlots} upstream, ${facts.slots} in use`,
      ...(facts.slotList ? { detail: facts.slotList } : {}),
      fix: [
        "drop one that nobody needs:  SELECT pg_drop_replication_slot('…');",
        `or raise it:  ALTER SYSTEM SET max_replication_slots = ${Math.max(10, facts.maxReplicationSlots * 2)};   -- needs a restart`,
      ],
    })
  if (!slotExists && facts.walSenders >= facts.maxWalSenders)
    found.push({
      code: 'FLW-105',
      message: `max_wal_senders = ${facts.maxWalSenders} upstream, ${facts.walSenders} in use`,
      fix: [
        `ALTER SYSTEM SET max_wal_senders = ${Math.max(10, facts.maxWalSenders * 2)};   -- needs a restart`,
      ],
    })
  if (!facts.mayReplicate)
    found.push({
      code: 'FLW-106',
      message: `role ${facts.role} may not replicate upstream`,
      fix: [`ALTER ROLE ${role} REPLICATION;   -- upstream, by a superuser`],
    })
  if (settings.ddl && !facts.superuser)
    found.push({
      code: 'FLW-107',
      message: `role ${facts.role} may not create event triggers upstream`,
      detail: 'DDL is captured by event triggers, and PostgreSQL lets only a superuser create them.',
      fix: [
        `ALTER ROLE ${role} SUPERUSER;   -- upstream`,
        'or follow rows only:  follower start --ddl off …',
      ],
    })
  if (!facts.mayCreate && !facts.superuser)
    found.push({
      code: 'FLW-108',
      message: `role ${facts.role} may not create a schema or publication upstream`,
      fix: [`GRANT CREATE ON DATABASE ${quoteIdentifier(facts.database)} TO ${role};   -- upstream`],
    })
  const wide =
    settings.tables.length === 0 || settings.tables.some((pattern) => pattern.table === '*') ? 'all' : 'some'
  if (settings.publications.length === 0 && !facts.superuser && wide === 'all')
    found.push({
      code: 'FLW-109',
      message: `role ${facts.role} may not create a publication of all tables upstream`,
      detail: 'FOR ALL TABLES and TABLES IN SCHEMA are for superusers.',
      fix: [
        'have a superuser make one, and name it:  CREATE PUBLICATION follower FOR ALL TABLES;   follower start --publication follower …',
        'or name tables that the role owns:  --tables …',
      ],
    })
  return found.map(finding)
}

/** Pure: what the downstream lacks. */
export function checkDownstream(facts: DownstreamFacts): FollowerError[] {
  const found: Finding[] = []
  const role = quoteIdentifier(facts.role)
  if (facts.version < oldest)
    found.push({
      code: 'FLW-103',
      message: `the downstream is PostgreSQL ${facts.versionText}; follower needs 14 or later`,
      fix: ['upgrade the downstream'],
    })
  if (facts.inRecovery || facts.readOnly)
    found.push({
      code: 'FLW-110',
      message: `the downstream is ${facts.inRecovery ? 'in recovery' : 'read-only'}`,
      fix: ['connect to the primary'],
    })
  if (!facts.maySetReplicationRole)
    found.push({
      code: 'FLW-111',
      message: `role ${facts.role} may not set session_replication_role downstream`,
      detail:
        'Without it, triggers and foreign keys downstream would act on what they acted on upstream already.',
      fix: [
        facts.version >= 150000
          ? `GRANT SET ON PARAMETER session_replication_role TO ${role};   -- downstream, by a superuser`
          : `ALTER ROLE ${role} SUPERUSER;   -- downstream; from PostgreSQL 15 on a GRANT is enough`,
      ],
    })
  if (!facts.mayCreate)
    found.push({
      code: 'FLW-113',
      message: `role ${facts.role} may not create a schema downstream`,
      fix: [`GRANT CREATE ON DATABASE ${quoteIdentifier(facts.database)} TO ${role};   -- downstream`],
    })
  return found.map(finding)
}

/** Pure: both ends are one database. */
export function checkDistinct(same: boolean, settings: FollowSettings): FollowerError[] {
  if (!same) return []
  return [
    finding({
      code: 'FLW-114',
      message: 'upstream and downstream are the same database',
      detail: `${settings.upstream.display} and ${settings.downstream.display}`,
      effect: 'nothing was changed; every change would be applied to itself',
      fix: ['name another database in --downstream'],
    }),
  ]
}

/** Pure: patterns that name nothing. */
export function checkPatterns(unknown: readonly TableName[]): FollowerError[] {
  if (unknown.length === 0) return []
  return [
    finding({
      code: 'FLW-118',
      message: `there is no such table upstream: ${list(unknown, 5).join(', ')}`,
      fix: ['correct --tables: schema.table, or schema.* for all tables of a schema'],
    }),
  ]
}

/** Pure: tables whose UPDATE and DELETE would begin to fail upstream. */
export function checkIdentities(
  settings: FollowSettings,
  tables: readonly FollowedTable[],
  superuser: boolean,
): FollowerError[] {
  const lacking = tables.filter(lacksIdentity)
  if (lacking.length === 0) return []
  // The capture objects give and take back FULL, and only a superuser has them made.
  if (settings.noIdentity === 'full' && superuser) return []
  // A publication that the user made isn't ours to change.
  if (settings.noIdentity === 'insert-only' && settings.publications.length === 0) return []
  const [first] = lacking
  return [
    finding({
      code: 'FLW-131',
      message: `${count(lacking.length, 'table has', 'tables have')} no usable replica identity: UPDATE and DELETE there would fail upstream`,
      detail: lacking
        .slice(0, listed)
        .map((table) => `${displayTable(table)}: ${table.identity}`)
        .concat(lacking.length > listed ? [`and ${lacking.length - listed} more`] : [])
        .join('\n'),
      fix: [
        `ALTER TABLE ${displayTable(first!)} ADD PRIMARY KEY (…);   -- upstream, for each of them`,
        `or ALTER TABLE ${displayTable(first!)} REPLICA IDENTITY USING INDEX …;   -- a unique index over NOT NULL columns`,
        'or let follower use whole rows (more WAL, slower):  follower start --no-identity full …',
        'or follow only their inserts:  follower start --no-identity insert-only …',
      ],
    }),
  ]
}

/** Pure: what is there upstream and would never arrive, since nothing is copied. */
export function checkUncopied(uncopied: Uncopied): FollowerError[] {
  const found: Finding[] = []
  if (uncopied.missing.length > 0)
    found.push({
      code: 'FLW-119',
      message: `${count(uncopied.missing.length, 'table is', 'tables are')} missing downstream`,
      detail: list(uncopied.missing, listed).join('\n'),
      effect: 'nothing was changed; follower brings what changes from now on, not what is there',
      fix: ['pg_dump --schema-only <upstream> | psql <downstream>', 'follower start …'],
    })
  if (uncopied.empty.length > 0)
    found.push({
      code: 'FLW-120',
      message: `${count(uncopied.empty.length, 'table holds', 'tables hold')} rows upstream and none downstream`,
      detail: list(uncopied.empty, listed).join('\n'),
      effect: 'nothing was changed; follower brings what changes from now on, not the rows that are there',
      fix: [
        'pg_dump --data-only <upstream> | psql <downstream>   # while nothing writes upstream',
        'follower start …',
        'or, if those rows shall stay away:  follower start --copy none …',
      ],
    })
  return found.map(finding)
}

/** Names in one message at most. */
const listed = 20

function list(tables: readonly TableName[], most: number): string[] {
  const names = tables.slice(0, most).map(displayTable)
  return tables.length > most ? [...names, `and ${tables.length - most} more`] : names
}

function count(n: number, one: string, many: string): string {
  return n === 1 ? `1 ${one}` : `${n} ${many}`
}

/** Nothing for no finding, the finding itself for one, else one error that tells all of them. */
export function oneError(found: readonly FollowerError[]): FollowerError | undefined {
  if (found.length <= 1) return found[0]
  return new FollowerError(`${found.length} checks failed before anything was created`, {
    code: 'FLW-100',
    exit: ExitCode.preflight,
    detail: found
      .map((error) => [`${error.code} ${error.message}`, ...indented(error.detail)].join('\n'))
      .join('\n'),
    effect: 'nothing was changed',
    fix: found.flatMap((error) => [`${error.code}:`, ...error.fix.map((line) => `  ${line}`)]),
    context: { codes: found.map((error) => error.code).join(' ') },
  })
}

function indented(text: string | undefined): string[] {
  return text === undefined ? [] : text.split('\n').map((line) => `  ${line}`)
}

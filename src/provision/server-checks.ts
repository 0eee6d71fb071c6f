import type { FollowerError } from '../errors.ts'
import type { FollowSettings } from '../model/follow.ts'
import { quoteIdentifier, shellWord } from '../postgres/identifier.ts'
import type { DownstreamFacts, UpstreamFacts } from './facts.ts'
import { type Finding, finding } from './findings.ts'

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
  if (settings.ddl && facts.capture !== 'usable') found.push(noCapture(settings, facts))
  if (!facts.mayCreate && !facts.superuser)
    found.push({
      code: 'FLW-108',
      message: `role ${facts.role} may not create a schema or publication upstream`,
      fix: [`GRANT CREATE ON DATABASE ${quoteIdentifier(facts.database)} TO ${role};   -- upstream`],
    })
  return found.map(finding)
}

/** Only a superuser can make event triggers; what he has to run is printed. */
function noCapture(settings: FollowSettings, facts: UpstreamFacts): Finding {
  const { host, port } = settings.upstream
  const detail = {
    usable: '',
    absent: 'DDL is captured by event triggers, and PostgreSQL lets only a superuser create them.',
    'other version': 'The capture in schema follower is of another version of follower.',
    'not handed over': 'There is a capture in schema follower; this role may not use it.',
  }[facts.capture]
  return {
    code: 'FLW-107',
    message: `role ${facts.role} has no capture of schema changes upstream, and may not install it`,
    detail,
    fix: [
      `follower print capture --role ${shellWord(facts.role)} | psql -X -v ON_ERROR_STOP=1 ${shellWord(`host=${host} port=${port} dbname=${facts.database}`)}   # as a superuser, once`,
      'or follow rows only:  follower start --ddl off …',
    ],
  }
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

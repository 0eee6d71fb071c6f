import type { FollowerError } from '../errors.ts'
import type { FollowSettings } from '../model/follow.ts'
import { quoteIdentifier, quoteLiteral, shellWord } from '../postgres/identifier.ts'
import { describeTriggers, type OrdinaryTrigger, triggerRemedies } from '../postgres/ordinary-triggers.ts'
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
      fix: [
        'connect to the primary, or promote this server',
        'or name all servers:  host=db1,db2 target_session_attrs=read-write',
      ],
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
  if (!facts.mayCreate)
    found.push({
      code: 'FLW-113',
      message: `role ${facts.role} may not create a schema downstream`,
      fix: [`GRANT CREATE ON DATABASE ${quoteIdentifier(facts.database)} TO ${role};   -- downstream`],
    })
  return found.map(finding)
}

/** Pure: schema follower is another role's, so that nothing in it can be asked. */
export function checkSchemaOwner(facts: DownstreamFacts): FollowerError[] {
  if (facts.foreignOwner === undefined) return []
  const role = quoteIdentifier(facts.role)
  return [
    finding({
      code: 'FLW-137',
      message: `schema follower downstream belongs to role ${facts.foreignOwner}, not to ${facts.role}`,
      detail: 'A follower that connects as another role has made it.',
      fix: [
        `connect as ${facts.foreignOwner}, or hand the schema over:`,
        `ALTER SCHEMA follower OWNER TO ${role};   -- downstream, by a superuser`,
        `ALTER TABLE follower.progress OWNER TO ${role};   -- downstream, by a superuser`,
        `ALTER TABLE follower.copied_table OWNER TO ${role};   -- downstream, by a superuser`,
        `DO $$DECLARE f oid; BEGIN FOR f IN SELECT oid FROM pg_proc WHERE pronamespace = 'follower'::regnamespace LOOP EXECUTE format('ALTER ROUTINE %s OWNER TO %I', f::regprocedure, ${quoteLiteral(facts.role)}); END LOOP; END$$;   -- downstream, by a superuser`,
      ],
    }),
  ]
}

/** Pure: what would give the role replica mode. */
export function grantReplicationRole(facts: DownstreamFacts): string {
  const role = quoteIdentifier(facts.role)
  return facts.version >= 150000
    ? `GRANT SET ON PARAMETER session_replication_role TO ${role};   -- downstream, by a superuser`
    : `ALTER ROLE ${role} SET session_replication_role = replica;   -- downstream, by a superuser`
}

/** Pure: tables at which the follow would stop, since their triggers and rules would act otherwise than under a replication role. */
export function checkOrdinaryTriggers(
  found: readonly OrdinaryTrigger[],
  facts: DownstreamFacts,
): FollowerError[] {
  if (found.length === 0) return []
  return [
    finding({
      code: 'FLW-138',
      message: `triggers or rules downstream would act on what the follow brings, since role ${facts.role} may not set session_replication_role`,
      detail: describeTriggers(found),
      effect: 'nothing was changed; the follow would stop at the first row of such a table',
      fix: [grantReplicationRole(facts), ...triggerRemedies(found)],
    }),
  ]
}

/** Pure: tables that can't be filled one by one, since their foreign keys would be checked meanwhile. */
export function checkForeignKeys(found: readonly string[], facts: DownstreamFacts): FollowerError[] {
  if (found.length === 0) return []
  return [
    finding({
      code: 'FLW-123',
      message: `foreign keys downstream would be checked while tables are copied, since role ${facts.role} may not set session_replication_role`,
      detail: found.slice(0, 20).join('\n'),
      fix: [
        grantReplicationRole(facts),
        'or drop these foreign keys downstream, and make them again once the copy is done',
      ],
    }),
  ]
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

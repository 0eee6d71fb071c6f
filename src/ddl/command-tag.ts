/** A node of libpg-query's JSON: one key, the node's type. */
export type ParseNode = Readonly<Record<string, Readonly<Record<string, unknown>>>>

/** ObjectType → words of a command tag, where they aren't the type's own name. */
const objectWords: Readonly<Record<string, string>> = {
  ATTRIBUTE: 'TYPE',
  COLUMN: 'TABLE',
  DOMCONSTRAINT: 'DOMAIN',
  FDW: 'FOREIGN DATA WRAPPER',
  FOREIGN_SERVER: 'SERVER',
  LARGEOBJECT: 'LARGE OBJECT',
  MATVIEW: 'MATERIALIZED VIEW',
  OPCLASS: 'OPERATOR CLASS',
  OPFAMILY: 'OPERATOR FAMILY',
  STATISTIC_EXT: 'STATISTICS',
  TABCONSTRAINT: 'TABLE',
  TSCONFIGURATION: 'TEXT SEARCH CONFIGURATION',
  TSDICTIONARY: 'TEXT SEARCH DICTIONARY',
  TSPARSER: 'TEXT SEARCH PARSER',
  TSTEMPLATE: 'TEXT SEARCH TEMPLATE',
}

/** Nodes with one tag. */
const fixed: Readonly<Record<string, string>> = {
  AlterCollationStmt: 'ALTER COLLATION',
  AlterDefaultPrivilegesStmt: 'ALTER DEFAULT PRIVILEGES',
  AlterDomainStmt: 'ALTER DOMAIN',
  AlterEnumStmt: 'ALTER TYPE',
  AlterEventTrigStmt: 'ALTER EVENT TRIGGER',
  AlterExtensionContentsStmt: 'ALTER EXTENSION',
  AlterExtensionStmt: 'ALTER EXTENSION',
  AlterFdwStmt: 'ALTER FOREIGN DATA WRAPPER',
  AlterForeignServerStmt: 'ALTER SERVER',
  AlterOpFamilyStmt: 'ALTER OPERATOR FAMILY',
  AlterOperatorStmt: 'ALTER OPERATOR',
  AlterPolicyStmt: 'ALTER POLICY',
  AlterPublicationStmt: 'ALTER PUBLICATION',
  AlterSeqStmt: 'ALTER SEQUENCE',
  AlterStatsStmt: 'ALTER STATISTICS',
  AlterSubscriptionStmt: 'ALTER SUBSCRIPTION',
  AlterTSConfigurationStmt: 'ALTER TEXT SEARCH CONFIGURATION',
  AlterTSDictionaryStmt: 'ALTER TEXT SEARCH DICTIONARY',
  AlterTypeStmt: 'ALTER TYPE',
  AlterUserMappingStmt: 'ALTER USER MAPPING',
  CommentStmt: 'COMMENT',
  CompositeTypeStmt: 'CREATE TYPE',
  CreateAmStmt: 'CREATE ACCESS METHOD',
  CreateCastStmt: 'CREATE CAST',
  CreateConversionStmt: 'CREATE CONVERSION',
  CreateDomainStmt: 'CREATE DOMAIN',
  CreateEnumStmt: 'CREATE TYPE',
  CreateExtensionStmt: 'CREATE EXTENSION',
  CreateFdwStmt: 'CREATE FOREIGN DATA WRAPPER',
  CreateForeignServerStmt: 'CREATE SERVER',
  CreateForeignTableStmt: 'CREATE FOREIGN TABLE',
  CreateOpClassStmt: 'CREATE OPERATOR CLASS',
  CreateOpFamilyStmt: 'CREATE OPERATOR FAMILY',
  CreatePLangStmt: 'CREATE LANGUAGE',
  CreatePolicyStmt: 'CREATE POLICY',
  CreatePublicationStmt: 'CREATE PUBLICATION',
  CreateRangeStmt: 'CREATE TYPE',
  CreateSchemaStmt: 'CREATE SCHEMA',
  CreateSeqStmt: 'CREATE SEQUENCE',
  CreateStatsStmt: 'CREATE STATISTICS',
  CreateStmt: 'CREATE TABLE',
  CreateSubscriptionStmt: 'CREATE SUBSCRIPTION',
  CreateTransformStmt: 'CREATE TRANSFORM',
  CreateTrigStmt: 'CREATE TRIGGER',
  CreateUserMappingStmt: 'CREATE USER MAPPING',
  DropOwnedStmt: 'DROP OWNED',
  DropSubscriptionStmt: 'DROP SUBSCRIPTION',
  DropUserMappingStmt: 'DROP USER MAPPING',
  ImportForeignSchemaStmt: 'IMPORT FOREIGN SCHEMA',
  IndexStmt: 'CREATE INDEX',
  RefreshMatViewStmt: 'REFRESH MATERIALIZED VIEW',
  ReindexStmt: 'REINDEX',
  RuleStmt: 'CREATE RULE',
  SecLabelStmt: 'SECURITY LABEL',
  ViewStmt: 'CREATE VIEW',
}

/**
 * The command tag that event triggers see for a statement; undefined for what fires none.
 * As CreateCommandTag() of PostgreSQL: https://www.postgresql.org/docs/current/event-trigger-matrix.html
 */
export function commandTag(node: ParseNode): string | undefined {
  const [type, fields] = Object.entries(node)[0] ?? []
  if (!type || !fields) return undefined
  const words = (field: string): string => {
    const object = String(fields[field] ?? '').replace(/^OBJECT_/, '')
    return objectWords[object] ?? object.replaceAll('_', ' ')
  }
  switch (type) {
    case 'AlterTableStmt':
      return `ALTER ${words('objtype')}`
    case 'RenameStmt':
      return `ALTER ${words(fields.renameType === 'OBJECT_COLUMN' ? 'relationType' : 'renameType')}`
    case 'AlterObjectSchemaStmt':
    case 'AlterObjectDependsStmt':
    case 'AlterOwnerStmt':
      return `ALTER ${words('objectType')}`
    case 'AlterFunctionStmt':
      return `ALTER ${words('objtype')}`
    case 'CreateFunctionStmt':
      return fields.is_procedure ? 'CREATE PROCEDURE' : 'CREATE FUNCTION'
    case 'CreateTableAsStmt':
      if (fields.objtype === 'OBJECT_MATVIEW') return 'CREATE MATERIALIZED VIEW'
      return fields.is_select_into ? 'SELECT INTO' : 'CREATE TABLE AS'
    case 'SelectStmt':
      return fields.intoClause ? 'SELECT INTO' : undefined
    case 'DefineStmt':
      return `CREATE ${words('kind')}`
    case 'DropStmt':
      return `DROP ${words('removeType')}`
    case 'GrantStmt':
      return fields.is_grant ? 'GRANT' : 'REVOKE'
    default:
      return fixed[type]
  }
}
